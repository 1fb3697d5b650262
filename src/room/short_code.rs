//! Six digits for two members to read to each other: equal at both ends, unless somebody stands between them.
//!
//! ```text
//!   ana, who asks                                  ben, who is asked
//!     nonce a ── Commit: SHA-256 of a ───────────►   (agrees, and only then:)
//!             ◄───────────────────── Nonce: b ──   nonce b
//!     code    ── Reveal: a ──────────────────────►   checks a against the commit: code
//! ```
//!
//! Why six digits are enough: the code is a hash of both nonces, both keys and the room code of one epoch. Somebody in
//! the middle runs one exchange with each end, under other keys or in another room, and needs both codes to be equal.
//! Towards whoever asks they must choose their nonce before theirs is revealed, towards whoever is asked they are
//! bound by a commit before theirs is drawn; so the last honest nonce comes after all their choices, and both codes
//! are equal once in a million tries. Nor are tries free: no nonce is given out before the person at this end has
//! agreed to the comparison ([`Exchanges::begin`]), every time anew, so that nobody tries in silence; and a try that
//! fails is seen, as other digits, an error, or an exchange that lapses ([`Exchanges::expire`]).
//!
//! Invariant: at most one exchange for each member and [`MAX_EXCHANGES`] in all, none older than [`PATIENCE`]; a nonce
//! is used for one exchange, and wiped with it. Who said a message is for the room to prove, by its MLS signature. A
//! hostile member can leave an exchange hanging, and nothing more.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt, mem,
    time::Duration,
};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    error::{Denial, Error, Item, Result},
    identity::{MemberId, RoomCode},
    random,
};

/// The most exchanges at once.
pub(crate) const MAX_EXCHANGES: usize = 16;

/// How long an exchange may take, the time that people take to agree to it included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The room codes of this many past epochs are kept: people take longer to answer than a busy room to change.
const PAST_EPOCHS: usize = 32;

const VERSION: u8 = 1;

/// Six digits to read aloud, in the exchange that they came from and no other.
///
/// Equal at both ends: the two hold each other's keys and were in the same epoch of the same room, or somebody in the
/// middle had the luck of one in a million. Different: do not trust the room.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortCode(u32);

impl fmt::Display for ShortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03} {:03}", self.0 / 1000, self.0 % 1000)
    }
}

impl fmt::Debug for ShortCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShortCode({self})")
    }
}

/// Names one exchange: random, so that no message of one fits another.
type Round = [u8; 16];
type Nonce = Box<Zeroizing<[u8; 32]>>;

/// What the two ends say to each other. Nothing in it is secret once it is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    /// Opens an exchange about the room as it is in `epoch`.
    Commit { round: Round, epoch: u64, hash: [u8; 32] },
    /// The nonce of whoever was asked.
    Nonce { round: Round, nonce: [u8; 32] },
    /// The nonce that was committed to.
    Reveal { round: Round, nonce: [u8; 32] },
}

impl Message {
    /// Version, kind, round, the epoch in a commit, 32 bytes.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Commit { round, epoch, hash } => {
                [[VERSION, 1].as_slice(), &round, &epoch.to_be_bytes(), &hash].concat()
            }
            Self::Nonce { round, nonce } => [[VERSION, 2].as_slice(), &round, &nonce].concat(),
            Self::Reveal { round, nonce } => [[VERSION, 3].as_slice(), &round, &nonce].concat(),
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let refused = |why| Error::Malformed { what: Item::Message, why };
        let [VERSION, kind @ 1..=3, rest @ ..] = bytes else {
            return Err(refused("it is no message of a short code that this version knows"));
        };
        let length = || refused("a message of a short code has one length, and this is another");
        let (round, rest) = rest.split_first_chunk().ok_or_else(length)?;
        if *kind == 1 {
            let (epoch, hash) = rest.split_first_chunk().ok_or_else(length)?;
            let hash = hash.try_into().map_err(|_| length())?;
            return Ok(Self::Commit { round: *round, epoch: u64::from_be_bytes(*epoch), hash });
        }
        let nonce = rest.try_into().map_err(|_| length())?;
        Ok(if *kind == 2 { Self::Nonce { round: *round, nonce } } else { Self::Reveal { round: *round, nonce } })
    }
}

/// What a message calls for.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// They ask to compare: tell the person, who agrees by [`Exchanges::begin`] or leaves it.
    Asked,
    /// Send this to them.
    Send(Message),
    /// Send this to them, and show the code.
    SendAndCode(Message, ShortCode),
    /// Show the code.
    Code(ShortCode),
    /// Nothing is to be done, and why.
    Ignored(&'static str),
}

/// One exchange, from one end.
pub(crate) struct Exchange {
    me: MemberId,
    other: MemberId,
    epoch: u64,
    code: RoomCode,
    round: Round,
    state: State,
}

enum State {
    /// One has asked.
    Committed {
        nonce: Nonce,
    },
    /// The other has asked, and the person at this end has not agreed.
    Asked {
        commit: [u8; 32],
    },
    /// One has agreed.
    Answered {
        commit: [u8; 32],
        nonce: Nonce,
    },
    Over,
}

impl Exchange {
    /// Asks `other` to compare the room as `code` shows it in `epoch`.
    pub(crate) fn begin(me: MemberId, other: MemberId, epoch: u64, code: RoomCode) -> Result<(Self, Message)> {
        let (round, nonce) = (*random::bytes()?, draw()?);
        let hash = commitment(&round, &me, &other, &nonce);
        let state = State::Committed { nonce };
        Ok((Self { me, other, epoch, code, round, state }, Message::Commit { round, epoch, hash }))
    }

    /// `other` asks, with a commit of that round, epoch and hash; `code` is this end's of that epoch.
    fn asked(me: MemberId, other: MemberId, code: RoomCode, round: Round, epoch: u64, commit: [u8; 32]) -> Self {
        Self { me, other, epoch, code, round, state: State::Asked { commit } }
    }

    /// Agrees to what was asked.
    fn agree(&mut self) -> Result<Message> {
        let State::Asked { commit } = self.state else {
            return Err(Error::Unusable {
                what: "member",
                why: "a comparison with them is under way: wait for its code, or for its minute to pass",
            });
        };
        let nonce = draw()?;
        let message = Message::Nonce { round: self.round, nonce: **nonce };
        self.state = State::Answered { commit, nonce };
        Ok(message)
    }

    /// Takes what `from` said. After an error the exchange is over.
    pub(crate) fn take(&mut self, from: &MemberId, message: &Message) -> Result<Step> {
        if *from != self.other {
            return Ok(Step::Ignored("it is from somebody else than the exchange is with"));
        }
        match (&self.state, message) {
            (State::Committed { nonce: mine }, Message::Nonce { round, nonce }) if *round == self.round => {
                let code = self.short_code(&self.me, &self.other, mine, nonce);
                let reveal = Message::Reveal { round: self.round, nonce: ***mine };
                self.state = State::Over;
                Ok(Step::SendAndCode(reveal, code))
            }
            (State::Answered { .. }, Message::Reveal { round, nonce }) if *round == self.round => {
                let State::Answered { commit, nonce: mine } = mem::replace(&mut self.state, State::Over) else {
                    return Ok(Step::Ignored("the exchange is over"));
                };
                if commitment(round, from, &self.me, nonce) != commit {
                    return Err(broken(from));
                }
                Ok(Step::Code(self.short_code(from, &self.me, nonce, &mine)))
            }
            _ => Ok(Step::Ignored("it is of another exchange, or out of its turn")),
        }
    }

    /// `round`, epoch and room code, then who asked and who was asked, then their nonces.
    fn short_code(
        &self,
        asker: &MemberId,
        asked: &MemberId,
        askers_nonce: &[u8; 32],
        askeds_nonce: &[u8; 32],
    ) -> ShortCode {
        let hash = Sha256::new()
            .chain_update(b"parlor short code 1\0")
            .chain_update(self.round)
            .chain_update(self.epoch.to_be_bytes())
            .chain_update(self.code.as_bytes())
            .chain_update(asker.as_bytes())
            .chain_update(asked.as_bytes())
            .chain_update(askers_nonce)
            .chain_update(askeds_nonce)
            .finalize();
        // 2^64 over 10^6: no bias worth a name.
        let number = hash.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte)) % 1_000_000;
        ShortCode(u32::try_from(number).unwrap_or_default())
    }
}

/// What a commit is to the nonce of `asker`. It binds the two as well, so that nobody can pass it on as their own.
fn commitment(round: &Round, asker: &MemberId, asked: &MemberId, nonce: &[u8; 32]) -> [u8; 32] {
    Sha256::new()
        .chain_update(b"parlor short code commit 1\0")
        .chain_update(round)
        .chain_update(asker.as_bytes())
        .chain_update(asked.as_bytes())
        .chain_update(nonce)
        .finalize()
        .into()
}

fn draw() -> Result<Nonce> {
    random::bytes().map(Box::new)
}

#[cold]
fn broken(from: &MemberId) -> Error {
    Error::Denied(Box::new(Denial {
        actor: from.to_string(),
        action: "reveal another number than the one they committed to".to_owned(),
        why:
            "somebody may be trying for a short code of their choice; trust no code of this exchange, and compare the \
              room code's words instead"
                .into(),
    }))
}

/// The exchanges of one member of a room.
pub(crate) struct Exchanges {
    me: MemberId,
    current: (u64, RoomCode),
    past: VecDeque<(u64, RoomCode)>,
    open: BTreeMap<MemberId, Open>,
    /// Ran out of time, and not told yet.
    lapsed: BTreeSet<MemberId>,
}

struct Open {
    exchange: Exchange,
    since: Duration,
}

impl Exchanges {
    pub(crate) fn new(me: MemberId, epoch: u64, code: RoomCode) -> Self {
        Self { me, current: (epoch, code), past: VecDeque::new(), open: BTreeMap::new(), lapsed: BTreeSet::new() }
    }

    /// The room is in `epoch`. Exchanges go on with the room code of the epoch that they began in.
    pub(crate) fn enter(&mut self, epoch: u64, code: RoomCode) {
        let before = mem::replace(&mut self.current, (epoch, code));
        self.past.push_front(before);
        self.past.truncate(PAST_EPOCHS);
    }

    /// The person at this end wants to compare with `other`: asks them, or agrees to what they asked.
    ///
    /// # Errors
    /// [`Error::Unusable`] if `other` is oneself, an exchange with them is under way, or [`MAX_EXCHANGES`] are that
    /// one has begun oneself; [`Error::Randomness`].
    pub(crate) fn begin(&mut self, other: &MemberId, now: Duration) -> Result<Message> {
        self.lapse(now);
        if *other == self.me {
            return Err(Error::Unusable { what: "member", why: "that is you: compare with somebody else" });
        }
        if let Some(open) = self.open.get_mut(other) {
            return open.exchange.agree();
        }
        self.make_room()?;
        let (epoch, code) = self.current;
        let (exchange, message) = Exchange::begin(self.me, *other, epoch, code)?;
        self.open.insert(*other, Open { exchange, since: now });
        Ok(message)
    }

    /// Takes what `from` said.
    ///
    /// # Errors
    /// [`Error::Denied`] if they reveal another nonce than they committed to: the exchange is over, and somebody may
    /// be in the middle. [`Error::Randomness`].
    pub(crate) fn take(&mut self, from: &MemberId, message: &Message, now: Duration) -> Result<Step> {
        self.lapse(now);
        if let Message::Commit { round, epoch, hash } = *message {
            return self.asked(from, round, epoch, hash, now);
        }
        let Some(open) = self.open.get_mut(from) else {
            return Ok(Step::Ignored("no exchange with them is under way"));
        };
        let step = open.exchange.take(from, message);
        if matches!(open.exchange.state, State::Over) {
            self.open.remove(from);
        }
        step
    }

    /// Drops the exchanges that took longer than [`PATIENCE`], and gives whom they were with.
    ///
    /// Show it: who breaks off each exchange whose code they do not like needs the person at this end to try again and
    /// again.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<MemberId> {
        self.lapse(now);
        mem::take(&mut self.lapsed).into_iter().collect()
    }

    /// Drops the exchange with `other`: they are out of the room, or the person at this end does not want it.
    pub(crate) fn forget(&mut self, other: &MemberId) {
        self.open.remove(other);
        self.lapsed.remove(other);
    }

    fn asked(&mut self, from: &MemberId, round: Round, epoch: u64, hash: [u8; 32], now: Duration) -> Result<Step> {
        if *from == self.me {
            return Ok(Step::Ignored("it is one's own, sent back"));
        }
        let codes = std::iter::once(&self.current).chain(&self.past);
        let Some((_, code)) = codes.into_iter().find(|(of, _)| *of == epoch) else {
            return Ok(Step::Ignored("the room code of its epoch is not known here"));
        };
        let exchange = Exchange::asked(self.me, *from, *code, round, epoch, hash);
        let mut theirs = Open { exchange, since: now };
        let full = self.open.len() >= MAX_EXCHANGES;
        match self.open.get_mut(from) {
            None if full => Ok(Step::Ignored("as many exchanges as may be are under way")),
            None => {
                self.open.insert(*from, theirs);
                Ok(Step::Asked)
            }
            Some(open) => match open.exchange.state {
                // Both have asked. Both ends go on with the later epoch's, and in one epoch with the lower id's.
                State::Committed { .. } if (open.exchange.epoch, *from) > (epoch, self.me) => {
                    Ok(Step::Ignored("both asked at once, and one's own exchange goes on"))
                }
                State::Committed { .. } => {
                    let message = theirs.exchange.agree()?;
                    *open = theirs;
                    Ok(Step::Send(message))
                }
                State::Asked { .. } => {
                    *open = theirs;
                    Ok(Step::Ignored("they asked before: the later question stands"))
                }
                State::Answered { .. } | State::Over => {
                    *open = theirs;
                    Ok(Step::Asked)
                }
            },
        }
    }

    /// Room for one more: a question that nobody has agreed to gives way.
    fn make_room(&mut self) -> Result<()> {
        if self.open.len() < MAX_EXCHANGES {
            return Ok(());
        }
        let asked = self.open.iter().filter(|(_, open)| matches!(open.exchange.state, State::Asked { .. }));
        let Some(oldest) = asked.min_by_key(|(_, open)| open.since).map(|(id, _)| *id) else {
            return Err(Error::Unusable {
                what: "member",
                why: "16 comparisons are under way: wait for one to end, a minute at most",
            });
        };
        self.open.remove(&oldest);
        Ok(())
    }

    fn lapse(&mut self, now: Duration) {
        let lapsed = &mut self.lapsed;
        self.open.retain(|other, open| {
            let patient = now.saturating_sub(open.since) < PATIENCE;
            if !patient {
                lapsed.insert(*other);
            }
            patient
        });
    }
}

impl fmt::Debug for Exchanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchanges").field("open", &self.open.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn id(n: u8) -> MemberId {
        MemberId::from_bytes([n; 32])
    }

    fn end(n: u8, room: &[u8]) -> Exchanges {
        Exchanges::new(id(n), 7, RoomCode::of(room))
    }

    fn commit(from: &mut Exchanges, to: u8) -> Message {
        let message = from.begin(&id(to), NOW).unwrap();
        assert!(matches!(message, Message::Commit { .. }));
        message
    }

    /// `asker` asks, `asked` agrees, and both follow to the end.
    fn compare(asker: &mut Exchanges, asked: &mut Exchanges) -> (ShortCode, ShortCode) {
        let (a, b) = (asker.me, asked.me);
        let commit = asker.begin(&b, NOW).unwrap();
        assert_eq!(asked.take(&a, &commit, NOW).unwrap(), Step::Asked);
        let nonce = asked.begin(&a, NOW).unwrap();
        let Step::SendAndCode(reveal, at_asker) = asker.take(&b, &nonce, NOW).unwrap() else { panic!() };
        let Step::Code(at_asked) = asked.take(&a, &reveal, NOW).unwrap() else { panic!() };
        (at_asker, at_asked)
    }

    #[test]
    fn two_honest_ends_read_the_same_digits_and_others_in_each_exchange() {
        let (mut ana, mut ben) = (end(1, b"room"), end(2, b"room"));
        let mut seen = BTreeSet::new();
        for _ in 0..50 {
            for (one, other) in [compare(&mut ana, &mut ben), compare(&mut ben, &mut ana)] {
                assert_eq!(one, other);
                seen.insert(one.0);
            }
        }
        assert!(seen.len() > 95, "{} of 100 codes differ", seen.len());
        assert!(ana.open.is_empty() && ben.open.is_empty());
    }

    #[test]
    fn the_digits_are_what_the_documentation_says() {
        let exchange = Exchange {
            me: id(1),
            other: id(2),
            epoch: 7,
            code: RoomCode::of(b"room"),
            round: [3; 16],
            state: State::Over,
        };
        let mut input = b"parlor short code 1\0".to_vec();
        input.extend([[3; 16].as_slice(), &7_u64.to_be_bytes()].concat());
        input.extend(Sha256::digest(b"parlor room code 1\0room"));
        input.extend([[1; 32], [2; 32], [4; 32], [5; 32]].concat());
        let hash = Sha256::digest(&input);
        let number = u64::from_be_bytes(hash[..8].try_into().unwrap()) % 1_000_000;
        let code = exchange.short_code(&id(1), &id(2), &[4; 32], &[5; 32]);
        assert_eq!(u64::from(code.0), number);
        assert_eq!(ShortCode(7_042).to_string(), "007 042");
    }

    #[test]
    fn who_splits_the_room_gets_no_equal_digits() {
        let mut equal = 0;
        for _ in 0..10_000 {
            let (at_ana, at_ben) = compare(&mut end(1, b"ana's room"), &mut end(2, b"ben's room"));
            equal += u32::from(at_ana == at_ben);
        }
        assert!(equal <= 1, "{equal} of 10,000");
    }

    #[test]
    fn who_stands_in_between_with_keys_of_their_own_gets_no_equal_digits() {
        // To ana they are 12 in ben's place, to ben they are 11 in ana's, and everybody is in one room.
        let mut equal = 0;
        for _ in 0..10_000 {
            let (at_ana, _) = compare(&mut end(1, b"room"), &mut end(12, b"room"));
            let (_, at_ben) = compare(&mut end(11, b"room"), &mut end(2, b"room"));
            equal += u32::from(at_ana == at_ben);
        }
        assert!(equal <= 1, "{equal} of 10,000");
    }

    #[test]
    fn nobody_reveals_another_nonce_than_they_committed_to() {
        for i in 0..256_u32 {
            let (mut mal, mut ben) = (end(1, b"room"), end(2, b"room"));
            let question = commit(&mut mal, 2);
            ben.take(&id(1), &question, NOW).unwrap();
            let nonce = ben.begin(&id(1), NOW).unwrap();
            let Step::SendAndCode(Message::Reveal { round, nonce: mut other }, _) =
                mal.take(&id(2), &nonce, NOW).unwrap()
            else {
                panic!()
            };
            other[i as usize / 8] ^= 1 << (i % 8);
            let refused = ben.take(&id(1), &Message::Reveal { round, nonce: other }, NOW).unwrap_err();
            assert!(matches!(refused, Error::Denied(_)), "{refused}");
            assert!(refused.to_string().contains("committed"), "{refused}");
            // And no second try, not even with the right one.
            other[i as usize / 8] ^= 1 << (i % 8);
            let late = ben.take(&id(1), &Message::Reveal { round, nonce: other }, NOW).unwrap();
            assert!(matches!(late, Step::Ignored(_)));
        }
    }

    #[test]
    fn a_commit_passed_on_by_another_is_of_no_use_to_them() {
        let (mut ana, mut ben) = (end(1, b"room"), end(2, b"room"));
        let question = commit(&mut ana, 3);
        // Mal, 3, says ana's commit to ben as their own, and later what ana reveals.
        ben.take(&id(3), &question, NOW).unwrap();
        let nonce = ben.begin(&id(3), NOW).unwrap();
        let Step::SendAndCode(reveal, _) = ana.take(&id(3), &nonce, NOW).unwrap() else { panic!() };
        assert!(matches!(ben.take(&id(3), &reveal, NOW), Err(Error::Denied(_))));
    }

    #[test]
    fn no_nonce_is_given_out_before_the_person_has_agreed_to_each_exchange() {
        let mut ben = end(2, b"room");
        for _ in 0..100 {
            let question = commit(&mut end(1, b"room"), 2);
            let step = ben.take(&id(1), &question, NOW).unwrap();
            assert!(matches!(step, Step::Asked | Step::Ignored(_)), "{step:?}");
        }
        assert!(matches!(ben.begin(&id(1), NOW).unwrap(), Message::Nonce { .. }));
        let again = commit(&mut end(1, b"room"), 2);
        assert_eq!(ben.take(&id(1), &again, NOW).unwrap(), Step::Asked, "the next try asks the person anew");
    }

    #[test]
    fn when_both_ask_at_once_they_end_up_in_one_exchange() {
        for (epochs, winner) in [((7, 7), 1), ((7, 8), 2), ((8, 7), 1)] {
            let code = |epoch: u64| RoomCode::of(&epoch.to_be_bytes());
            let at = |n, epoch| {
                let mut end = Exchanges::new(id(n), 7, code(7));
                (8..=epoch).for_each(|epoch| end.enter(epoch, code(epoch)));
                end
            };
            let (mut ana, mut ben) = (at(1, epochs.0), at(2, epochs.1));
            let (from_ana, from_ben) = (commit(&mut ana, 2), commit(&mut ben, 1));
            // Both are in epoch 8 when they hear of each other.
            for end in [&mut ana, &mut ben].into_iter().filter(|end| end.current.0 == 7) {
                end.enter(8, code(8));
            }
            let at_ana = ana.take(&id(2), &from_ben, NOW).unwrap();
            let at_ben = ben.take(&id(1), &from_ana, NOW).unwrap();
            let (nonce, ((asker, a), (asked, b))) = match (at_ana, at_ben) {
                (Step::Ignored(_), Step::Send(nonce)) => (nonce, ((&mut ana, 1), (&mut ben, 2))),
                (Step::Send(nonce), Step::Ignored(_)) => (nonce, ((&mut ben, 2), (&mut ana, 1))),
                other => panic!("{other:?}"),
            };
            assert_eq!(a, winner);
            let Step::SendAndCode(reveal, one) = asker.take(&id(b), &nonce, NOW).unwrap() else { panic!() };
            assert_eq!(asked.take(&id(a), &reveal, NOW).unwrap(), Step::Code(one));
        }
    }

    #[test]
    fn an_exchange_goes_on_while_the_epochs_do() {
        let (mut ana, mut ben) = (end(1, b"room"), end(2, b"room"));
        let question = commit(&mut ana, 2);
        for end in [&mut ana, &mut ben] {
            (8..20).for_each(|epoch| end.enter(epoch, RoomCode::of(&[epoch as u8])));
        }
        assert_eq!(ben.take(&id(1), &question, NOW).unwrap(), Step::Asked);
        let nonce = ben.begin(&id(1), NOW).unwrap();
        let Step::SendAndCode(reveal, code) = ana.take(&id(2), &nonce, NOW).unwrap() else { panic!() };
        assert_eq!(ben.take(&id(1), &reveal, NOW).unwrap(), Step::Code(code));

        let old = commit(&mut ana, 2);
        (20..20 + PAST_EPOCHS as u64 + 1).for_each(|epoch| ben.enter(epoch, RoomCode::of(&[epoch as u8])));
        assert!(matches!(ben.take(&id(1), &old, NOW).unwrap(), Step::Ignored(_)), "long gone by");
    }

    #[test]
    fn messages_out_of_turn_or_of_another_exchange_or_member_change_nothing() {
        let (mut ana, mut ben) = (end(1, b"room"), end(2, b"room"));
        let question = commit(&mut ana, 2);
        let (round, nonce) = ([9; 16], [9; 32]);
        let Message::Commit { round: mine, .. } = question else { panic!() };
        for stray in
            [Message::Nonce { round, nonce }, Message::Reveal { round, nonce }, Message::Reveal { round: mine, nonce }]
        {
            assert!(matches!(ana.take(&id(2), &stray, NOW).unwrap(), Step::Ignored(_)));
        }
        let forged = Message::Nonce { round: mine, nonce };
        assert!(matches!(ana.take(&id(3), &forged, NOW).unwrap(), Step::Ignored(_)));
        assert!(matches!(ana.take(&id(1), &question, NOW).unwrap(), Step::Ignored(_)));
        assert!(ana.begin(&id(1), NOW).is_err());
        assert!(ana.begin(&id(2), NOW).is_err(), "one exchange with ben at a time");

        ben.take(&id(1), &question, NOW).unwrap();
        assert!(matches!(ben.take(&id(1), &Message::Reveal { round: mine, nonce }, NOW).unwrap(), Step::Ignored(_)));
        let nonce = ben.begin(&id(1), NOW).unwrap();
        assert!(matches!(ana.take(&id(2), &nonce, NOW).unwrap(), Step::SendAndCode(..)));
        assert!(matches!(ana.take(&id(2), &nonce, NOW).unwrap(), Step::Ignored(_)), "once only");
    }

    #[test]
    fn an_exchange_left_hanging_is_dropped_and_told() {
        let (mut ana, mut ben) = (end(1, b"room"), end(2, b"room"));
        let question = commit(&mut ana, 2);
        ben.take(&id(1), &question, NOW).unwrap();
        let nonce = ben.begin(&id(1), NOW).unwrap();
        let late = PATIENCE;
        assert_eq!(ana.expire(late - Duration::from_millis(1)), []);
        assert!(matches!(ana.take(&id(2), &nonce, late).unwrap(), Step::Ignored(_)));
        assert_eq!(ana.expire(late), [id(2)]);
        assert_eq!(ana.expire(late), []);
        assert_eq!(ben.expire(late), [id(1)]);
    }

    #[test]
    fn the_exchanges_are_bounded_and_questions_of_others_do_not_keep_one_from_asking() {
        let mut ana = end(0, b"room");
        for n in 1..=16 {
            let question = commit(&mut end(n, b"room"), 0);
            assert_eq!(ana.take(&id(n), &question, Duration::from_secs(n.into())).unwrap(), Step::Asked);
        }
        let question = commit(&mut end(17, b"room"), 0);
        assert!(matches!(ana.take(&id(17), &question, Duration::from_secs(17)).unwrap(), Step::Ignored(_)));
        for n in 101..=116 {
            assert!(matches!(ana.begin(&id(n), Duration::from_secs(18)).unwrap(), Message::Commit { .. }));
            assert_eq!(ana.open.len(), MAX_EXCHANGES);
        }
        assert!(matches!(ana.begin(&id(117), Duration::from_secs(18)), Err(Error::Unusable { .. })));
        ana.forget(&id(101));
        ana.begin(&id(117), Duration::from_secs(18)).unwrap();
    }

    #[test]
    fn a_message_has_one_encoding_and_other_bytes_are_refused() {
        let (round, nonce) = ([1; 16], [2; 32]);
        let messages = [
            Message::Commit { round, epoch: u64::MAX - 1, hash: [3; 32] },
            Message::Nonce { round, nonce },
            Message::Reveal { round, nonce },
        ];
        for message in messages {
            let bytes = message.to_bytes();
            assert_eq!(Message::from_bytes(&bytes).unwrap(), message);
            for len in 0..bytes.len() {
                assert!(Message::from_bytes(&bytes[..len]).is_err());
            }
            assert!(Message::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
            for kind in (4..=255).chain([0]) {
                assert!(Message::from_bytes(&[&[VERSION, kind], &bytes[2..]].concat()).is_err());
            }
            assert!(Message::from_bytes(&[&[2], &bytes[1..]].concat()).is_err());
        }
    }
}
