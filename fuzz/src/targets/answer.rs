//! Answers to a knock, by whoever could read it.

use std::cell::RefCell;

use parlor::{Error, Role, room::door::Waiting};

use super::{
    input::Input,
    porch::{NOW, Porch, WALL, guest, key_pair, seal},
    reach,
};

/// What sealing adds: version, encapsulated key, tag.
const SEAL: usize = 1 + 32 + 16;

thread_local! {
    static CALL: RefCell<Option<Call>> = const { RefCell::new(None) };
}

struct Call {
    /// `None` once they are in.
    waiting: Option<Waiting>,
    reply: [u8; 32],
    /// The welcome that the room has for them.
    welcome: Vec<u8>,
    /// What its host then has of it.
    commit: Vec<u8>,
    porch: Porch,
    tried: u32,
}

/// Who waits goes in by the room's own welcome, or waits as before and can be turned away.
pub fn answer(data: &[u8]) {
    CALL.with_borrow_mut(|kept| {
        let call = kept.get_or_insert_with(Call::new);
        call.answered(&mut Input::new(data));
        if call.waiting.is_none() {
            *kept = None;
        }
    });
}

impl Call {
    fn new() -> Self {
        let mut porch = Porch::new();
        let (secret, public) = key_pair(1);
        let plate = porch.link.read_doorplate(&porch.plate_with(&public)).unwrap();
        let (waiting, knock) = guest("ben", 6).0.knock(&porch.link, &plate, "", WALL).unwrap();
        let body = porch.open_knock(&secret, &knock);
        let admission = porch.room.admit(waiting.card(), Role::Listener).unwrap();
        Self {
            reply: body[8..40].try_into().unwrap(),
            waiting: Some(waiting),
            welcome: admission.welcome,
            commit: admission.commit,
            porch,
            tried: 0,
        }
    }

    fn seal(&self, plain: &[u8], length: usize) -> Vec<u8> {
        let mut plain = plain.to_vec();
        plain.resize(plain.len().max(length - SEAL), 0);
        let id = self.waiting.as_ref().unwrap().id();
        let aad = [&[2][..], id.as_bytes()].concat();
        [vec![2], seal(&self.reply, b"parlor answer 1", &aad, &plain).unwrap()].concat()
    }

    fn answered(&mut self, input: &mut Input<'_>) {
        let (mut is_yes, mut altered) = (false, true);
        let mut names_a_tree = false;
        let answer = match input.below(5) {
            0 => input.rest().to_vec(),
            1 => {
                let whole = self.seal(&[0, 0, 2, b'n', b'o'], 4_096);
                input.mutate(&whole)
            }
            2 => self.seal(input.rest(), 4_096),
            3 => {
                let reason = input.run();
                let plain = [&[0, input.byte() & 3, reason.len() as u8], reason, input.run()].concat();
                self.seal(&plain, [4_096, 8_192, 5_000][input.below(3)])
            }
            _ => {
                let welcome = input.mutate(&self.welcome);
                (is_yes, altered) = (true, welcome != self.welcome);
                let length = welcome.len() as u32;
                // Zeros where the tree is inside; an answer that names another than is given lets nobody in.
                let tree = [input.byte() & 1; 32];
                names_a_tree = tree[0] != 0;
                let plain = [&[1], &tree[..], &length.to_be_bytes()[..], &welcome].concat();
                self.seal(&plain, (plain.len() + SEAL).next_power_of_two().max(4_096))
            }
        };
        let waiting = self.waiting.take().unwrap();
        let id = waiting.id();
        let named = waiting.tree_of(&answer);
        match waiting.enter(&answer, None) {
            Ok((room, _)) => {
                assert!(is_yes && !altered && !names_a_tree, "they went in by an answer that nobody gave");
                reach("in");
                self.porch.room.receive(&self.commit, NOW).unwrap();
                assert_eq!((room.code(), room.id()), (self.porch.room.code(), self.porch.room.id()));
                return;
            }
            Err(failed) => {
                assert!(!is_yes || altered || names_a_tree, "the room's own welcome is refused: {failed}");
                assert_eq!(matches!(failed.error, Error::NeedsTree { .. }), matches!(named, Ok(Some(_))), "{failed}");
                assert!(!failed.to_string().is_empty());
                assert_eq!(failed.waiting.id(), id);
                self.waiting = Some(*failed.waiting);
            }
        }
        self.tried += 1;
        if self.tried.is_multiple_of(32) {
            let no = self.seal(&[0, 1, 4, b'f', b'u', b'l', b'l'], 4_096);
            let failed = self.waiting.take().unwrap().enter(&no, None).unwrap_err();
            assert!(matches!(failed.error, Error::TurnedAway { for_good: true, .. }), "{failed}");
            self.waiting = Some(*failed.waiting);
        }
    }
}
