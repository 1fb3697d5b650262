//! Knocks: from outsiders, and from whoever holds the link and can sign and seal any body.

use std::{cell::RefCell, time::Duration};

use ed25519_dalek::SigningKey;
use parlor::{Event, room::door::GATHERING};

use super::{
    input::Input,
    porch::{NOW, Porch, WALL, guest, key_pair},
    reach,
};

thread_local! {
    static DOOR: RefCell<Option<Door>> = const { RefCell::new(None) };
}

struct Door {
    porch: Porch,
    door_key: [u8; 32],
    /// Ben's knock as he made it; what he signed of its body; his key.
    knock: Vec<u8>,
    signed: Vec<u8>,
    ben: SigningKey,
    tried: u32,
    /// Somebody was let in: the next one is at another door.
    is_over: bool,
}

/// Who is at the door is who has signed their knock; what is no knock changes nothing, and others are heard after it.
pub fn knock(data: &[u8]) {
    DOOR.with_borrow_mut(|kept| {
        let door = kept.get_or_insert_with(Door::new);
        door.come(&mut Input::new(data));
        door.tried += 1;
        if door.tried >= 256 {
            door.still_open();
        }
        if door.is_over || door.tried >= 256 {
            *kept = None;
        }
    });
}

impl Door {
    fn new() -> Self {
        let porch = Porch::new();
        let ((ben, key), (secret, public)) = (guest("ben", 6), key_pair(1));
        // Ben is shown a doorplate by which the test can read his knock.
        let plate = porch.link.read_doorplate(&porch.plate_with(&public)).unwrap();
        let (_, theirs) = ben.knock(&porch.link, &plate, "may I?", WALL).unwrap();
        let body = porch.open_knock(&secret, &theirs);
        let card = usize::from(u16::from_be_bytes([body[47], body[48]]));
        let signed = body[..49 + card].to_vec();
        let door_key = porch.door_key();
        let knock = porch.seal_knock(&door_key, &[3; 32], &porch.sign_body(&key, &signed));
        Self { porch, door_key, knock, signed, ben: key, tried: 0, is_over: false }
    }

    fn come(&mut self, input: &mut Input<'_>) {
        // Whether all of it is ben's word, sealed as it should be.
        let (bytes, in_order) = match input.below(6) {
            0 => (input.rest().to_vec(), false),
            1 => {
                let bytes = input.mutate(&self.knock);
                let same = bytes == self.knock;
                (bytes, same)
            }
            // Sealed anew by another holder of the link, and signed by nobody.
            2 => {
                let honest = self.porch.sign_body(&self.ben, &self.signed);
                let body = input.mutate(&honest);
                let same = body == honest;
                (self.porch.seal_knock(&self.door_key, &[4; 32], &body), same)
            }
            // Ben's own, whatever it says.
            3 => {
                let signed = input.mutate(&self.signed);
                (self.porch.seal_knock(&self.door_key, &[4; 32], &self.porch.sign_body(&self.ben, &signed)), true)
            }
            // In the form of a body, with any time, reply key, note and card.
            4 => {
                let time = if input.flag() { WALL.0 + u64::from(input.byte()) } else { input.u64() };
                let reply: [u8; 32] = if input.flag() { key_pair(input.byte()).1 } else { input.array() };
                let note = input.run();
                let card = input.mutate(&self.signed[49..]);
                let length = (card.len() as u16).to_be_bytes();
                let note_length = [note.len() as u8];
                let signed = [&time.to_be_bytes()[..], &reply, &note_length, note, &length, &card].concat();
                (self.porch.seal_knock(&self.door_key, &[4; 32], &self.porch.sign_body(&self.ben, &signed)), true)
            }
            // A body key of another length, or none that opens.
            _ => {
                let body = self.porch.sign_body(&self.ben, &self.signed);
                let key = input.run();
                (self.porch.seal_knock(&self.door_key, key, &body), true)
            }
        };
        let room = &mut self.porch.room;
        let before: Vec<_> = room.knocks().map(parlor::room::door::Knock::id).collect();
        let epoch = room.epoch();
        let passes = self.porch.link.gate().check(&bytes).is_ok();
        // A second has time for so many.
        let now = NOW + Duration::from_secs(u64::from(self.tried) / 64);
        match room.knocked(&bytes, now, WALL) {
            Ok(events) => {
                assert!(in_order && passes, "a knock that nobody made is taken");
                assert!(events.len() <= 3);
                for knock in room.knocks() {
                    assert_eq!(knock.member().as_bytes(), self.ben.verifying_key().as_bytes());
                    assert!(knock.note().len() <= 200 && !knock.note().chars().any(char::is_control));
                    assert!(knock.made_at().0.abs_diff(WALL.0) <= 15 * 60, "{:?}", knock.made_at());
                }
                assert!(room.knocks().len() <= 1, "one person waits once");
                if input.below(4) == 3 {
                    self.open();
                }
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert!(room.knocks().map(parlor::room::door::Knock::id).eq(before), "{error}");
            }
        }
        assert!(self.is_over || self.porch.room.epoch() == epoch);
    }

    /// Lets in whoever waits.
    fn open(&mut self) {
        let room = &mut self.porch.room;
        let Some(id) = room.knocks().next().map(parlor::room::door::Knock::id) else { return };
        if room.let_in(&id, NOW).is_ok() {
            if let Some(commit) = room.open_door(NOW + GATHERING).unwrap() {
                let events = room.receive(&commit, NOW).unwrap();
                assert!(matches!(events[..], [Event::Rekeyed(_), ..]));
                reach("in");
                assert!(room.roster().len() == 2, "{events:?}");
            } else {
                panic!("a card that was taken at the door cannot be admitted");
            }
        }
        self.is_over = true;
    }

    fn still_open(&mut self) {
        if self.is_over {
            return;
        }
        let plate = self.porch.link.read_doorplate(&self.porch.room.doorplate(&self.porch.link).unwrap()).unwrap();
        let (_, knock) = guest("eve", 8).0.knock(&self.porch.link, &plate, "", WALL).unwrap();
        let later = NOW + Duration::from_secs(u64::from(self.tried));
        let events = self.porch.room.knocked(&knock, later, WALL).unwrap();
        assert!(matches!(events[..], [Event::Knocked { .. }]), "{events:?}");
    }
}
