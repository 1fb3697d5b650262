//! The guest's side of the door: knock, wait, enter or be turned away.

use std::fmt;

use super::{
    Doorplate, KnockId, Link, UnixTime,
    answer::{self, Opened},
    knock,
};
use crate::{
    error::{Error, Result},
    media::Voice,
    room::{
        Card, EnterError, Guest, MAX_TREE, Room, TreeId,
        group::{self, DoorKey},
        judge::denial,
    },
};

impl Guest {
    /// Knocks at the door of `link`, whose doorplate the relay gave, with a note to those who may let in; `wall` is the
    /// time of day. The bytes are for the relay to keep at the link's address.
    ///
    /// # Errors
    /// [`KnockError`] brings the guest back as it was, with the reason: [`Error::Denied`] if the link has expired;
    /// [`Error::Unusable`] if the doorplate is another link's, or the note is longer than
    /// [`MAX_NOTE`](super::MAX_NOTE) bytes, does not show, or turns or breaks a line; [`Error::Malformed`] if nobody whom the
    /// doorplate names can read a knock; [`Error::Randomness`].
    pub fn knock(
        self,
        link: &Link,
        plate: &Doorplate,
        note: &str,
        wall: UnixTime,
    ) -> Result<(Waiting, Vec<u8>), KnockError> {
        match self.make_knock(link, plate, note, wall) {
            Ok((card, reply, bytes)) => {
                let id = KnockId::of(&bytes);
                Ok((Waiting { guest: self, card, plate: plate.clone(), reply, id }, bytes))
            }
            Err(error) => Err(KnockError { guest: Box::new(self), error }),
        }
    }

    fn make_knock(
        &self,
        link: &Link,
        plate: &Doorplate,
        note: &str,
        wall: UnixTime,
    ) -> Result<(Card, DoorKey, Vec<u8>)> {
        if plate.link() != link.id() {
            let why = "it is another link's: give the one that `Link::read_doorplate` read";
            return Err(Error::Unusable { what: "doorplate", why });
        }
        knock::check_note(note)?;
        if plate.terms().expires.is_some_and(|expires| expires.plus(UnixTime::SLACK) < wall) {
            let why = "its time is over; ask a host for another";
            return Err(Error::Denied(Box::new(denial(self.identity.name(), "knock with this link", why))));
        }
        let reply = DoorKey::random()?;
        let proof = link.prove(plate.room(), &self.identity.id())?;
        let card = group::new_card(&self.provider, &self.identity, Some(proof), None, plate.is_for_stage())?;
        match knock::make(link, plate, &self.identity, &card, note, wall, &reply.public()) {
            Ok(bytes) => Ok((card, reply, bytes)),
            Err(error) => {
                group::forget_card(&self.provider, &card);
                Err(error)
            }
        }
    }
}

/// Somebody who has knocked. They hold no key of the room: that comes with the answer.
///
/// ```compile_fail,E0599
/// fn overhear(waiting: &mut parlor::room::door::Waiting, packet: &mut Vec<u8>, now: std::time::Duration) {
///     let _ = waiting.open(packet, now);
/// }
/// ```
///
/// What they do hold (the keys of their card, and the key that the answer is sealed to) is wiped when this is dropped.
pub struct Waiting {
    guest: Guest,
    /// The card in the knock: another than the guest's own.
    card: Card,
    plate: Doorplate,
    pub(super) reply: DoorKey,
    id: KnockId,
}

impl Waiting {
    /// What the knock, and so its answer, is known by.
    pub const fn id(&self) -> KnockId {
        self.id
    }

    /// The card in the knock.
    pub const fn card(&self) -> &Card {
        &self.card
    }

    /// The doorplate that an answer is held against.
    pub const fn doorplate(&self) -> &Doorplate {
        &self.plate
    }

    /// Takes the doorplate that has replaced the one that the knock was made with: who may let in changes.
    ///
    /// # Errors
    /// [`Error::Unusable`] if it is of another link or another room.
    pub fn renew(&mut self, plate: &Doorplate) -> Result<()> {
        if plate.link() != self.plate.link() || plate.room() != self.plate.room() {
            let why = "it is of another link or room than the one knocked at";
            return Err(Error::Unusable { what: "doorplate", why });
        }
        self.plate = plate.clone();
        Ok(())
    }

    /// Which sealed ratchet tree [`enter`](Self::enter) needs beside `answer`: it is in
    /// [`Event::Answered`](crate::Event::Answered), for the relay to keep by this id. `None` if the tree is in the
    /// answer, or the answer is a no.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::TooLarge`] if it is not the answer to this knock.
    pub fn tree_of(&self, answer: &[u8]) -> Result<Option<TreeId>> {
        Ok(match answer::open(answer, &self.reply, &self.id)? {
            Opened::Admitted { tree, .. } => tree,
            Opened::Refused { .. } => None,
        })
    }

    /// Reads the answer and enters, with the room's ratchet tree if the answer names one
    /// ([`tree_of`](Self::tree_of)).
    ///
    /// Beyond what [`Guest::enter`] checks, it must be the room on the doorplate; whoever signed the welcome must be
    /// among those whom the doorplate names; and the host who signed the doorplate must be in there, as a host.
    ///
    /// # Errors
    /// [`WaitError`] brings this back as it was, with the reason: [`Error::TurnedAway`]; [`Error::NeedsTree`] if the
    /// answer names a tree and it is not the one given; [`Error::Malformed`] or [`Error::TooLarge`] if it is not the
    /// answer to this knock or what it holds is no good; [`Error::Denied`] if who answered may not let in; and all that
    /// [`Guest::enter`] gives.
    pub fn enter(self, answer: &[u8], tree: Option<&[u8]>) -> Result<(Room, Voice), WaitError> {
        let Self { guest, card, plate, reply, id } = self;
        let (guest, error) = match answer::open(answer, &reply, &id) {
            Ok(Opened::Admitted { tree: Some(needed), .. })
                if tree.is_none_or(|tree| tree.len() <= MAX_TREE && TreeId::of(tree) != needed) =>
            {
                (guest, Error::NeedsTree { tree: Box::new(needed), given: tree.map(TreeId::of).map(Box::new) })
            }
            Ok(Opened::Admitted { welcome, .. }) => match guest.go_in(&welcome, tree, Some(&plate)) {
                Ok(entered) => return Ok(entered),
                Err(EnterError { guest, error }) => (*guest, error),
            },
            Ok(Opened::Refused { for_good, reason }) => {
                (guest, Error::TurnedAway { room: plate.title().into(), for_good, reason: reason.into() })
            }
            Err(error) => (guest, error),
        };
        Err(WaitError { waiting: Box::new(Self { guest, card, plate, reply, id }), error })
    }

    /// Waits no longer: an answer is of no use any more.
    pub fn give_up(self) -> Guest {
        group::forget_card(&self.guest.provider, &self.card);
        self.guest
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("guest", &self.guest).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why somebody could not knock, and the guest.
#[derive(Debug)]
pub struct KnockError {
    /// The guest, as it was.
    pub guest: Box<Guest>,
    /// What was wrong.
    pub error: Error,
}

impl fmt::Display for KnockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot knock: {}", self.guest.identity.name(), self.error)
    }
}

impl std::error::Error for KnockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<KnockError> for Error {
    fn from(failed: KnockError) -> Self {
        failed.error
    }
}

/// Why somebody could not enter, and their place at the door.
#[derive(Debug)]
pub struct WaitError {
    /// To try again with another answer, or to give up.
    pub waiting: Box<Waiting>,
    /// What was wrong.
    pub error: Error,
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot enter: {}", self.waiting.guest.identity.name(), self.error)
    }
}

impl std::error::Error for WaitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<WaitError> for Error {
    fn from(failed: WaitError) -> Self {
        failed.error
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{
            Verdict, bucket_for,
            party::{self, Door, END, LATER, guest},
            seal_answer,
        },
        *,
    };
    use crate::{
        error::{Denial, Item},
        identity::Role,
    };

    const NOW: Duration = Duration::ZERO;

    fn no(knock: &super::super::Knock, for_good: bool) -> Vec<u8> {
        seal_answer(&Verdict::Refused { for_good, reason: "not tonight" }, knock, bucket_for(0)).unwrap()
    }

    #[track_caller]
    fn denied(failed: &WaitError) -> &Denial {
        match &failed.error {
            Error::Denied(why) => why,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn many_knock_and_each_enters_by_their_own_answer() {
        let mut door = Door::new();
        let plate = door.plate(3);
        let (waiting, knocks): (Vec<_>, Vec<_>) = (0..5)
            .map(|n| guest(&format!("guest {n}")).knock(&door.link, &plate, "hello", LATER).unwrap())
            .map(|(waiting, knock)| (waiting, door.open(&knock).unwrap()))
            .unzip();
        let (answers, tree) = door.let_in(&knocks.iter().collect::<Vec<_>>());
        assert!(tree.is_none());
        let no = seal_answer(&Verdict::Refused { for_good: false, reason: "" }, &knocks[0], answers[0].len()).unwrap();
        assert!(answers.iter().all(|answer| answer.len() == no.len()));

        for (n, mut waiting) in waiting.into_iter().enumerate() {
            let other = &answers[(n + 1) % answers.len()];
            let failed = waiting.enter(other, None).unwrap_err();
            assert!(matches!(failed.error, Error::Malformed { what: Item::Answer, .. }), "{failed}");
            waiting = *failed.waiting;
            let (room, _) = waiting.enter(&answers[n], None).unwrap();
            assert_eq!((room.code(), room.settings()), (door.host.code(), door.host.settings()));
            assert_eq!(room.me().unwrap().name, format!("guest {n}"));
            // The card that was not used left nothing behind.
            assert_eq!(room.group().unwrap().records(), 1);
        }
    }

    #[test]
    fn a_room_whose_tree_travels_apart_is_entered_with_it() {
        let mut door = Door::new();
        let crowd: Vec<_> = (0..64).map(|n| guest(&format!("guest {n}"))).collect();
        let crowd: Vec<_> = crowd.iter().map(|guest| (guest.card().clone(), Role::Listener)).collect();
        let admission = door.host.admit_all(&crowd).unwrap();
        door.host.receive(&admission.commit, NOW).unwrap();
        let (waiting, knock) = guest("ben").knock(&door.link, &door.plate(1), "", LATER).unwrap();
        let (answers, tree) = door.let_in(&[&door.open(&knock).unwrap()]);
        assert_eq!(answers[0].len(), 4_096);
        let needed = TreeId::of(tree.as_deref().unwrap());
        assert_eq!(waiting.tree_of(&answers[0]).unwrap(), Some(needed));
        let failed = waiting.enter(&answers[0], None).unwrap_err();
        assert!(matches!(&failed.error, Error::NeedsTree { tree, given: None } if **tree == needed), "{failed}");
        assert!(failed.to_string().contains(&needed.to_string()), "{failed}");
        let other = vec![7; 900];
        let failed = failed.waiting.enter(&answers[0], Some(&other)).unwrap_err();
        let given = TreeId::of(&other);
        assert!(matches!(&failed.error, Error::NeedsTree { given: Some(is), .. } if **is == given), "{failed}");
        assert!(failed.to_string().contains(&needed.to_string()), "{failed}");
        let (room, _) = failed.waiting.enter(&answers[0], tree.as_deref()).unwrap();
        assert_eq!(room.code(), door.host.code());
    }

    #[test]
    fn who_is_turned_away_is_told_and_may_still_be_let_in() {
        let mut door = Door::new();
        let (mut waiting, bytes) = guest("ben").knock(&door.link, &door.plate(1), "", LATER).unwrap();
        let knock = door.open(&bytes).unwrap();
        for (for_good, says) in [(false, "you may knock once more"), (true, "do not knock again")] {
            let failed = waiting.enter(&no(&knock, for_good), None).unwrap_err();
            let text = failed.to_string();
            assert!(text.contains("“an evening” (“not tonight”)") && text.contains(says), "{text}");
            assert!(matches!(failed.error, Error::TurnedAway { for_good: said, .. } if said == for_good));
            waiting = *failed.waiting;
        }
        let (answers, _) = door.let_in(&[&knock]);
        waiting.enter(&answers[0], None).unwrap();
    }

    #[test]
    fn a_link_that_has_expired_is_not_knocked_with() {
        let door = Door::new();
        let mut ben = guest("ben");
        let card = ben.card().clone();
        let failed = ben.knock(&door.link, &door.plate(1), "", END.plus(UnixTime::SLACK + 1)).unwrap_err();
        assert!(matches!(&failed.error, Error::Denied(why) if why.why.contains("its time is over")), "{failed}");
        ben = *failed.guest;
        assert_eq!(*ben.card(), card);
        // Clocks may be a little off.
        ben.knock(&door.link, &door.plate(1), "", END.plus(UnixTime::SLACK)).unwrap();
    }

    #[test]
    fn what_cannot_be_knocked_with_leaves_the_guest_as_they_were() {
        let (door, other) = (Door::new(), Door::new());
        let mut ben = guest("ben");
        let before = ben.provider.records();
        for (plate, note) in [(other.plate(1), ""), (door.plate(1), "a\nb"), (door.plate(1), &*"x".repeat(201))] {
            let failed = ben.knock(&door.link, &plate, note, LATER).unwrap_err();
            assert!(matches!(failed.error, Error::Unusable { .. }), "{failed}");
            ben = *failed.guest;
            assert_eq!(ben.provider.records(), before);
        }
    }

    #[test]
    fn another_room_than_the_one_on_the_doorplate_is_not_entered() {
        // mal may read knocks. She lets ben into a room of her own, which looks the same.
        let door = Door::new();
        let (mut mal, _) = Room::create(party::identity("mal"), door.host.settings().clone()).unwrap();
        let key = mal.group().unwrap().door_key().public();
        let plate = door.plate_of(&[(door.host.identity.id(), door.key().public()), (mal.identity.id(), key)]);
        let (waiting, bytes) = guest("ben").knock(&door.link, &plate, "", LATER).unwrap();
        let (answers, _) = party::let_in(&mut mal, &[&door.open(&bytes).unwrap()]);
        let failed = waiting.enter(&answers[0], None).unwrap_err();
        assert!(failed.to_string().contains("another room"), "{failed}");
        // Nothing was lost.
        let mut door = door;
        let (answers, _) = door.let_in(&[&door.open(&bytes).unwrap()]);
        failed.waiting.enter(&answers[0], None).unwrap();
    }

    #[test]
    fn only_who_is_on_the_doorplate_lets_in_until_it_is_renewed() {
        let mut door = Door::new();
        let mo = guest("mo");
        let admission = door.host.admit(mo.card(), Role::Moderator).unwrap();
        door.host.receive(&admission.commit, NOW).unwrap();
        let (mut mo, _) = mo.enter(&admission.welcome).unwrap();
        let (waiting, bytes) = guest("ben").knock(&door.link, &door.plate(1), "", LATER).unwrap();
        // Ana tells mo what is in the knock; the doorplate has no word of him.
        let (answers, _) = party::let_in(&mut mo, &[&door.open(&bytes).unwrap()]);
        let mut failed = waiting.enter(&answers[0], None).unwrap_err();
        assert_eq!(denied(&failed).actor, "mo");
        assert!(failed.to_string().contains("Waiting::renew"), "{failed}");

        let other = Door::new();
        assert!(matches!(failed.waiting.renew(&other.plate(1)), Err(Error::Unusable { .. })));
        let keys = [&door.host, &mo].map(|room| (room.identity.id(), room.group().unwrap().door_key().public()));
        failed.waiting.renew(&door.plate_of(&keys)).unwrap();
        let (room, _) = failed.waiting.enter(&answers[0], None).unwrap();
        assert_eq!(room.code(), mo.code());
    }

    #[test]
    fn a_room_whose_host_is_not_the_one_on_the_doorplate_any_more_is_not_entered() {
        let mut door = Door::new();
        let zoe = guest("zoe");
        let admission = door.host.admit(zoe.card(), Role::Host).unwrap();
        door.host.receive(&admission.commit, NOW).unwrap();
        let (mut zoe, _) = zoe.enter(&admission.welcome).unwrap();
        let keys = [&door.host, &zoe].map(|room| (room.identity.id(), room.group().unwrap().door_key().public()));
        let (waiting, bytes) = guest("ben").knock(&door.link, &door.plate_of(&keys), "", LATER).unwrap();
        let knock = door.open(&bytes).unwrap();
        let demotion = zoe.set_role(&door.host.identity.id(), Role::Speaker).unwrap();
        zoe.receive(&demotion, NOW).unwrap();
        let (answers, _) = party::let_in(&mut zoe, &[&knock]);
        let failed = waiting.enter(&answers[0], None).unwrap_err();
        assert!(failed.to_string().contains("no host of this room"), "{failed}");
    }

    #[test]
    fn who_gives_up_has_their_own_card_and_nothing_of_the_knock() {
        let mut door = Door::new();
        let ben = guest("ben");
        let (card, before) = (ben.card().clone(), ben.provider.records());
        let (waiting, bytes) = ben.knock(&door.link, &door.plate(1), "", LATER).unwrap();
        let knock = door.open(&bytes).unwrap();
        assert_ne!(*knock.card(), card);
        let ben = waiting.give_up();
        assert_eq!((ben.card(), ben.provider.records()), (&card, before));
        // What was meant for the knock comes too late; the guest's own card is as good as before.
        let late = door.host.admit(knock.card(), Role::Listener).unwrap();
        let ben = *ben.enter(&late.welcome).unwrap_err().guest;
        door.host.abandon();
        let admission = door.host.admit(&card, Role::Listener).unwrap();
        door.host.receive(&admission.commit, NOW).unwrap();
        ben.enter(&admission.welcome).unwrap();
    }

    #[test]
    fn an_answer_that_was_altered_changes_nothing() {
        let mut door = Door::new();
        let (mut waiting, bytes) = guest("ben").knock(&door.link, &door.plate(1), "", LATER).unwrap();
        let (answers, _) = door.let_in(&[&door.open(&bytes).unwrap()]);
        for at in (0..answers[0].len()).step_by(97) {
            let mut altered = answers[0].clone();
            altered[at] ^= 1;
            for bad in [&altered[..], &answers[0][..at]] {
                let failed = waiting.enter(bad, None).unwrap_err();
                assert!(matches!(failed.error, Error::Malformed { what: Item::Answer, .. }), "byte {at}: {failed}");
                waiting = *failed.waiting;
            }
        }
        waiting.enter(&answers[0], None).unwrap();
    }

    #[test]
    fn a_welcome_inside_an_answer_is_checked_like_any_other() {
        let door = Door::new();
        let (waiting, bytes) = guest("ben").knock(&door.link, &door.plate(1), "", LATER).unwrap();
        let knock = door.open(&bytes).unwrap();
        let answer = seal_answer(&Verdict::Admitted { welcome: b"no welcome", tree: None }, &knock, 4_096).unwrap();
        let failed = waiting.enter(&answer, None).unwrap_err();
        assert!(matches!(failed.error, Error::Malformed { what: Item::Welcome, .. }), "{failed}");
    }
}
