//! The member's side of coming back: ask, wait, enter.

use std::{fmt, time::Duration};

use super::{
    ReturnWord,
    request::{RequestId, State, make},
};
use crate::{
    bytes::Reader,
    error::{Error, Item, Result},
    identity::{Identity, MemberId, Role},
    media::{Voice, seal::Proof},
    room::{
        Card, Entrance, MAX_MESSAGE, MAX_TREE, Room, check_size,
        door::{MAX_ADMITTERS, UnixTime},
        group::{self, DoorKeyPublic, Doorstep, Group, Joined, Provider},
        guest::check_room,
        judge::denial,
        policy::{Action, needs_no_word, permits},
        roster::Roster,
    },
};

/// What a member needs to ask their way back when all else is lost but their identity: which room, and whom to ask.
///
/// No key is in it. It names the room and members of it, whom the relay is not to know: keep it beside the identity.
/// Make it anew when one's own role changes, after coming back or being let in anew, and when hosts or moderators change: who has come back since, or is no host any
/// more, cannot be asked with an old one.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    room: Box<[u8]>,
    /// The epoch in which it was made.
    epoch: u64,
    /// Since when one has one's role, as the charter says.
    since: u64,
    /// One's own leaf: its door key and its date.
    leaf: (DoorKeyPublic, u64),
    /// Whether one is on stage of a room that keeps evidence, so that one's card certifies media keys.
    for_stage: bool,
    readers: Vec<(MemberId, DoorKeyPublic)>,
}

impl Ticket {
    /// Reads what [`Ticket::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(Item::Ticket, bytes);
        reader.version(VERSION)?;
        let [epoch, since] = [reader.array()?, reader.array()?].map(u64::from_be_bytes);
        let leaf = (DoorKeyPublic(reader.array()?), reader.number()?);
        let for_stage = reader.flag()?;
        let room = reader.short()?.into();
        let count = usize::from(reader.byte()?);
        if count == 0 || count > MAX_ADMITTERS {
            return Err(reader.malformed("it names nobody, or too many"));
        }
        let mut readers = Vec::with_capacity(count);
        for _ in 0..count {
            readers.push((MemberId::from_bytes(reader.array()?), DoorKeyPublic(reader.array()?)));
        }
        reader.end()?;
        Ok(Self { room, epoch, since, leaf, for_stage, readers })
    }

    /// The ticket to keep: version 2 (1) ‖ epoch (8) ‖ since when one has one's role (8)
    /// ‖ the door key (32) and the date (8) of one's own leaf ‖ whether one is on stage of a room that keeps evidence (1)
    /// ‖ room id's length (1) ‖ room id ‖ count (1), 1 to 8 ‖ count × [member's Ed25519 key (32) ‖ door key (32)].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.since.to_be_bytes());
        out.extend_from_slice(&self.leaf.0.0);
        out.extend_from_slice(&self.leaf.1.to_be_bytes());
        out.push(u8::from(self.for_stage));
        // Both fit: a ticket is made or read with no more.
        out.push(u8::try_from(self.room.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&self.room);
        out.push(u8::try_from(self.readers.len()).unwrap_or(u8::MAX));
        for (id, door) in &self.readers {
            out.extend_from_slice(id.as_bytes());
            out.extend_from_slice(&door.0);
        }
        out
    }

    /// The room's id as the relay sees it.
    pub const fn room(&self) -> &[u8] {
        &self.room
    }
}

const VERSION: u8 = 2;

/// How long an answer may take before one asks by another request, in seconds.
const ANSWERED_WITHIN: u64 = 5;

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// Coming back oneself.
impl Room {
    /// What one needs to ask one's way back when this room is lost: to be kept beside the identity.
    ///
    /// # Errors
    /// [`Error::Unusable`] if there is nobody else to ask; [`Error::Closed`].
    pub fn ticket(&self) -> Result<Ticket> {
        let group = self.group()?;
        let me = self.identity.id();
        let leaf = group.dated_leaf();
        let with_door = |id: MemberId| Some((id, self.roster.door_key(&id)?));
        let others = |id: &MemberId| *id != me;
        let mut readers: Vec<_> =
            self.charter.admitters(&me).into_iter().filter(others).filter_map(with_door).collect();
        if readers.is_empty() {
            // Whoever is left may bring the only host back.
            let mut members: Vec<_> = self.roster().filter(|member| others(&member.id)).collect();
            members.sort_by_key(|member| std::cmp::Reverse(member.role));
            readers.extend(members.into_iter().filter_map(|member| with_door(member.id)));
        }
        readers.truncate(MAX_ADMITTERS);
        if readers.is_empty() || self.id.len() > usize::from(u8::MAX) {
            return Err(Error::Unusable { what: "room", why: "nobody else is in it who could be asked" });
        }
        let since = self.charter.standing(&me).since;
        let keeps_evidence = self.charter.settings.seals().proof == Proof::Evidence;
        let for_stage = keeps_evidence && self.charter.has_a_place_on_stage(&me);
        Ok(Ticket { room: self.id.clone(), epoch: self.epoch, since, leaf, for_stage, readers })
    }

    /// Asks to be brought back into this room, whose keys are old or of no use: a request for the relay to hand to
    /// everybody in the room, and to keep the answer under its [id](Returning::id). Hosts and moderators can read it, or
    /// anybody if there are none. `wall` is the time of day.
    ///
    /// Call it when [`Room::come_back_due`] says so; without a heartbeat when messages are missing for good ([`Error::WrongEpoch`] of a later epoch), after
    /// [`Event::Stuck`](crate::Event::Stuck), or when a commit of one's own was taken that one abandoned. What one knows
    /// of chat, of people and of the door goes along, and what media keys are to be published; what was on its way does
    /// not. The old [`Voice`] is of no more use: drop it.
    ///
    /// # Errors
    /// [`ComeBackError`] brings the room back as it was, with the reason: [`Error::Closed`] if one was put out;
    /// [`Error::Unusable`] if there is nobody else to ask, or the time of day is 1970; [`Error::Randomness`].
    pub fn come_back(mut self, now: Duration, wall: UnixTime) -> Result<(Returning, Vec<u8>), ComeBackError> {
        let state = self.comeback.stuck.map_or(State::In(self.epoch), State::Stuck);
        let last = self.group.as_ref().map_or(UnixTime(0), Group::date);
        let asked = self.ticket().and_then(|it| Ok((Asked::new(&self.identity, &it, state, last, wall)?, it)));
        match asked {
            Ok((asked, ticket)) => {
                self.asks(asked.at());
                let (stale, request) = (Stale::Room(Box::new(self)), asked.request.clone());
                Ok((Returning { stale, ticket, state, asked, now }, request))
            }
            Err(error) => Err(ComeBackError { room: Box::new(self), error }),
        }
    }
}

impl Room {
    fn asks(&mut self, at: UnixTime) {
        if let Some(group) = &mut self.group {
            group.asks(at);
        }
        self.identity.asks(at.0);
        self.journal.whole();
    }
}

/// Somebody on their way back. What they hold is a fresh card and, if it is not lost, the room as they last saw it.
pub struct Returning {
    stale: Stale,
    ticket: Ticket,
    state: State,
    asked: Asked,
    now: Duration,
}

/// Who asks, with what they have left.
enum Stale {
    Room(Box<Room>),
    Nothing(Identity),
}

/// A request, and its secrets.
struct Asked {
    provider: Box<Provider>,
    card: Card,
    request: Vec<u8>,
    /// The time of day it was.
    made: UnixTime,
}

impl Asked {
    /// A request of who has asked at `last` before, or whose leaf is of then.
    fn new(identity: &Identity, ticket: &Ticket, state: State, last: UnixTime, made: UnixTime) -> Result<Self> {
        if made.0 == 0 {
            let why = "it is 1970 by it: others could not tell this request from none; set the clock";
            return Err(Error::Unusable { what: "time of day", why });
        }
        // It counts only after the last; which a clock that was put right since may show as yet to come. Then it is good
        // for the leaf that they know.
        let next = last.plus(1);
        let at = if next <= made.plus(UnixTime::SLACK) { made.max(next) } else { made };
        let provider = Provider::new()?;
        let word = ReturnWord::new(&ticket.room, ticket.since, at, ticket.leaf);
        let card = group::new_card(&provider, identity, None, Some(word), ticket.for_stage)?;
        let readers = ticket.readers.iter().filter(|(id, _)| *id != identity.id()).map(|(_, door)| *door);
        let request = make(&ticket.room, readers, identity, &card, state)?;
        Ok(Self { provider, card, request, made })
    }

    /// When that was, as the request says.
    fn at(&self) -> UnixTime {
        self.card.asked_back_at().unwrap_or(self.made)
    }
}

impl Returning {
    /// Asks to be brought back when nothing is left but the identity and a ticket of the room: the request is as that of
    /// [`Room::come_back`].
    ///
    /// It counts if one's leaf is the one that the ticket names, or is dated earlier than this: to who has come back since
    /// the ticket was made, a clock that is behind by as much gives a wait.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the ticket names nobody else, or the time of day is 1970; [`Error::Randomness`].
    pub fn with_ticket(mut identity: Identity, ticket: &Ticket, wall: UnixTime) -> Result<(Self, Vec<u8>)> {
        let asked = Asked::new(&identity, ticket, State::Lost, UnixTime(ticket.leaf.1), wall)?;
        identity.asks(asked.at().0);
        let (stale, request) = (Stale::Nothing(identity), asked.request.clone());
        Ok((Self { stale, ticket: ticket.clone(), state: State::Lost, asked, now: Duration::ZERO }, request))
    }

    /// Asks once more, as an app does every second or two until it is answered. For five seconds it is the same request,
    /// whose answer may be on its way; then a new one, under a new id, and an answer to the one before is of no use any
    /// more. Where answers take longer than that, call it as seldom as they come.
    ///
    /// # Errors
    /// As [`Room::come_back`]; the request before is as good as it was.
    pub fn ask_again(&mut self, wall: UnixTime) -> Result<Vec<u8>> {
        if wall.0.abs_diff(self.asked.made.0) >= ANSWERED_WITHIN {
            self.asked = Asked::new(self.identity(), &self.ticket, self.state, self.asked.at(), wall)?;
            match &mut self.stale {
                Stale::Room(room) => room.asks(self.asked.at()),
                Stale::Nothing(identity) => identity.asks(self.asked.at().0),
            }
        }
        Ok(self.asked.request.clone())
    }

    /// What the request, and so its answer, is known by.
    pub fn id(&self) -> RequestId {
        RequestId::of(&self.asked.request)
    }

    /// The card in the request: it may be handed to a host by any other way, too.
    pub const fn card(&self) -> &Card {
        &self.asked.card
    }

    /// The room as one last saw it, if that is not lost.
    pub fn room(&self) -> Option<&Room> {
        match &self.stale {
            Stale::Room(room) => Some(room),
            Stale::Nothing(_) => None,
        }
    }

    /// Waits no longer: the room as it was, if it is not lost. What one has asked stands until a commit of one's own is
    /// received: make one soon ([`Room::refresh_due`]).
    pub fn give_up(self) -> Option<Room> {
        match self.stale {
            Stale::Room(room) => Some(*room),
            Stale::Nothing(_) => None,
        }
    }

    /// Waits no longer, and gives the identity back.
    pub fn into_identity(self) -> Identity {
        self.stale.into_identity()
    }

    fn identity(&self) -> &Identity {
        self.stale.identity()
    }

    /// Enters by the welcome that somebody brings one back with, and the ratchet tree if it travels apart
    /// ([`Admission::tree`](crate::Admission::tree)).
    ///
    /// What [`Guest::enter`](crate::Guest::enter) checks is checked; and that it is the room one asked to come back to,
    /// in a later epoch than one knows; and that who signed the welcome may bring one back. Doorplates of one's own links
    /// are to be made anew.
    ///
    /// # Errors
    /// [`ReturnError`] brings this back as it was, with the reason: as [`Guest::enter`](crate::Guest::enter).
    pub fn enter(self, welcome: &[u8], tree: Option<&[u8]>) -> Result<(Room, Voice), ReturnError> {
        let sizes = check_size(Item::Welcome, welcome, MAX_MESSAGE)
            .and_then(|()| check_size(Item::Tree, tree.unwrap_or_default(), MAX_TREE));
        if let Err(error) = sizes {
            return Err(ReturnError { returning: Box::new(self), error });
        }
        let Self { stale, ticket, state, asked: Asked { provider, card, request, made }, now } = self;
        let identity = stale.identity();
        let me = identity.id();
        let entered = group::join(provider, welcome, tree, |doorstep| check(doorstep, identity, &ticket, &card));
        let (provider, error) = match entered {
            Ok(Joined { group, charter, seats, undo }) => {
                let roster = Roster::new(seats, &charter, group.epoch());
                match Entrance::new(me, &group, &charter, &roster) {
                    Ok(entrance) => {
                        return Ok(match stale {
                            Stale::Room(old) => {
                                resume(*old, now, |identity| Room::begin(identity, group, charter, roster, entrance))
                            }
                            Stale::Nothing(identity) => Room::begin(identity, group, charter, roster, entrance),
                        });
                    }
                    Err(error) => (group.undo_join(undo), error),
                }
            }
            Err(failed) => failed,
        };
        let returning = Self { stale, ticket, state, asked: Asked { provider, card, request, made }, now };
        Err(ReturnError { returning: Box::new(returning), error })
    }
}

impl Stale {
    fn identity(&self) -> &Identity {
        match self {
            Self::Room(room) => &room.identity,
            Self::Nothing(identity) => identity,
        }
    }

    fn into_identity(self) -> Identity {
        match self {
            Self::Room(room) => room.into_identity(),
            Self::Nothing(identity) => identity,
        }
    }
}

/// What a member checks about the room that they are brought back into.
fn check(room: &Doorstep, identity: &Identity, ticket: &Ticket, card: &Card) -> Result<()> {
    let elsewhere = |why| Error::Malformed { what: Item::Welcome, why };
    if *room.room != *ticket.room {
        return Err(elsewhere("it is for another room than the one you asked to come back to"));
    }
    if room.epoch <= ticket.epoch {
        return Err(elsewhere("it is of an epoch that you know: the room has gone on since"));
    }
    let inviter = check_room(room, identity.id(), identity.name())?;
    let (me, by) = (room.charter.standing(&identity.id()), room.charter.role(&inviter.id));
    let alone = by < Role::Moderator && room.charter.is_alone_in_charge(&identity.id());
    let action = if alone { Action::BringBackLastHost } else { Action::BringBack { role: me.role } };
    let asked_at = card.asked_back_at().map(|at| at.0);
    let why = match permits(by, action) {
        Err(why) => why,
        Ok(()) if needs_no_word(by, me.role) || asked_at == Some(me.returned) => return Ok(()),
        Ok(()) => "the room does not note that you have asked for it; ask again",
    };
    let what = format!("bring back {}, a {}", identity.name(), me.role);
    Err(Error::Denied(Box::new(denial(&inviter.name, &what, why))))
}

/// Begins the room again, with what the old one knew that holds as before.
fn resume(old: Room, now: Duration, begin: impl FnOnce(Identity) -> (Room, Voice)) -> (Room, Voice) {
    let Room { identity, spent, talk, mut door, mut trust, comeback, .. } = old;
    let (mut room, voice) = begin(identity);
    room.since = now;
    room.spent = spent;
    room.note_media_key();
    if let (Some(talk), Some(old)) = (&mut room.talk, talk) {
        talk.resume(old);
    }
    door.clear();
    room.door = door;
    room.comeback.resume(comeback, &room.roster);
    for member in room.roster.members() {
        trust.check(&member.name, &member.id);
    }
    room.trust = trust;
    (room, voice)
}

impl fmt::Debug for Returning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Returning").field("identity", self.identity()).field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Why somebody could not ask to come back, and their room.
#[derive(Debug)]
pub struct ComeBackError {
    /// The room, as it was.
    pub room: Box<Room>,
    /// What was wrong.
    pub error: Error,
}

/// Why somebody could not come back, and their place on the way.
#[derive(Debug)]
pub struct ReturnError {
    /// To try again with another welcome, to ask again, or to give up.
    pub returning: Box<Returning>,
    /// What was wrong.
    pub error: Error,
}

impl fmt::Display for ComeBackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot ask to come back: {}", self.room.identity.name(), self.error)
    }
}

impl fmt::Display for ReturnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot come back: {}", self.returning.identity().name(), self.error)
    }
}

impl std::error::Error for ComeBackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl std::error::Error for ReturnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<ComeBackError> for Error {
    fn from(failed: ComeBackError) -> Self {
        failed.error
    }
}

impl From<ReturnError> for Error {
    fn from(failed: ReturnError) -> Self {
        failed.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_comes_back_as_it_was_written_and_has_one_form() {
        let reader = |n: u8| (MemberId::from_bytes([n; 32]), DoorKeyPublic([n; 32]));
        let to_ask = |count: u8| Ticket {
            for_stage: count.is_multiple_of(2),
            room: vec![7; 16].into(),
            epoch: 5,
            since: 3,
            leaf: (DoorKeyPublic([9; 32]), 11),
            readers: (0..count).map(reader).collect(),
        };
        for count in 1..=8 {
            let ticket = to_ask(count);
            let bytes = ticket.to_bytes();
            assert_eq!(Ticket::from_bytes(&bytes).unwrap(), ticket);
            for length in 0..bytes.len() {
                assert!(Ticket::from_bytes(&bytes[..length]).is_err(), "cut to {length}");
            }
            assert!(Ticket::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
            let mut other = bytes.clone();
            other[0] = VERSION + 1;
            assert!(Ticket::from_bytes(&other).is_err());
        }
        for count in [0, 9] {
            assert!(Ticket::from_bytes(&to_ask(count).to_bytes()).is_err(), "{count} to ask");
        }
    }
}
