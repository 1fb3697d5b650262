//! The control plane: who is in the room, and what they may do.
//!
//! A [`Room`] is one member's end of an MLS group (RFC 9420); a [`Guest`] is somebody who is not in yet, and
//! holds no key of any room. Commands ([`Room::admit`], [`Room::remove`], [`Room::set_role`], …) make bytes for
//! the relay and change nothing; only [`Room::receive`] changes the room, one's own commits included. So the
//! relay's order is the room's order, and who loses a race loses nothing but a retry.
//!
//! ```
//! # fn main() -> parlor::Result<()> {
//! # use std::time::Duration;
//! use parlor::{Event, Guest, Identity, Role, Room, room::Settings};
//!
//! let now = Duration::ZERO;
//! let (mut ana, mut ana_voice) = Room::create(Identity::generate("ana")?, Settings::default())?;
//! let ben = Guest::new(Identity::generate("ben")?)?;
//!
//! let admission = ana.admit(ben.card(), Role::Listener)?;
//! for event in ana.receive(&admission.commit, now)? {
//!     if let Event::Rekeyed(keys) = event {
//!         ana_voice.rekey(keys)?;
//!     }
//! }
//! let (ben, ben_voice) = ben.enter(&admission.welcome)?;
//! assert_eq!(ana.code(), ben.code());
//! # Ok(())
//! # }
//! ```
//!
//! # What every member checks
//!
//! The relay and the other members may be hostile. Every commit is checked by every member before it is merged,
//! and what is not allowed is refused: the [`policy`] table says who may do what; and whatever their role, nobody
//! commits another's proposals, proposals by reference, pre-shared keys, restarts, external commits or unknown
//! proposals; nobody's name or signature key changes; no key is in the room twice; roles belong to members
//! present, and go with them; nobody comes into a locked or a full room, nor whoever is banned; who claims to hold a
//! link proves it; who comes back is who they were, and has asked for it where the policy wants that; frame suite,
//! key-id layout, what seals prove and all other extensions stay as they were made; a host stays, until the
//! last one leaves. A refused commit leaves the room as it was and is an [`Event::Refused`] that names who wanted what.

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::print_stdout, reason = "a test that says what it found")]
mod after_leaving;
mod card;
mod charter;
mod chat;
mod comeback;
mod command;
pub mod door;
mod draft;
mod event;
mod failures;
mod flood;
mod garden;
mod group;
mod guest;
pub mod heartbeat;
mod judge;
mod kept;
mod leaves;
pub mod policy;
mod publication;
mod receive;
mod roster;
mod said;
mod settings;
mod short_code;
mod slots;
mod snapshot;
mod stage;
mod stagger;
mod talk;
mod tree;
mod trust;
mod vouch;
mod words;

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    time::Duration,
};

use self::{
    charter::Charter,
    comeback::Comeback,
    door::{Keeper, LinkEntry},
    failures::Failures,
    flood::Floods,
    garden::Gardening,
    group::Group,
    heartbeat::Heart,
    judge::MAX_STREAK,
    leaves::Leaves,
    publication::Spent,
    receive::{Echoes, Hash, Pending},
    roster::Roster,
    snapshot::Journal,
    stage::Stage,
    stagger::Stagger,
    talk::Talk,
};
use crate::{
    error::{Error, Item, Result},
    identity::{Identity, Member, MemberId, Role, RoomCode},
    media::{
        BASE_KEY_LABEL, EpochKeys, EpochOf, Voice,
        seal::{MediaCertificate, Proof, SealKeys, SealMode},
    },
};

pub use self::{
    card::{Card, MAX_CARD},
    charter::{MAX_BANNED, MAX_LINKS, MAX_ON_STAGE},
    chat::{MAX_REACTION, MAX_TEXT, Message, MessageId, Reaction},
    comeback::{ComeBackError, REQUEST_LEN, RequestId, ReturnError, Returning, Ticket},
    command::{Admission, Retried, TREE_APART},
    event::{Event, Intent},
    guest::{EnterError, Guest},
    kept::{Kept, Restored, Unsaved},
    leaves::LEAVES_WAIT,
    publication::{PUBLISH_AFTER, PublishedKeys},
    settings::{Entry, MAX_TITLE, MAX_TOPIC, Setting, Settings, Speaking},
    short_code::ShortCode,
    stagger::STAGGER,
    tree::{MAX_TREE, TreeId},
    trust::{IdentityCheck, Trust, TrustOnFirstUse},
};

/// The largest control message or welcome in bytes; larger ones are not parsed.
///
/// A commit in a flat room of 5,000 is 411 kB. A welcome of nothing but empty secrets, three bytes each, takes 54
/// times its size in memory: 27 MiB at this limit.
pub const MAX_MESSAGE: usize = 512 * 1024;

/// The oldest an epoch should get while somebody speaks: what a stolen device opens of the past.
pub const MAX_EPOCH_AGE: Duration = Duration::from_secs(5 * 60);

/// One member's end of a room.
///
/// It is `Send`: it may live on another thread than its [`Voice`]. It has no clock: `now` is the caller's, counts
/// from when the room was made or entered, and never goes back.
pub struct Room {
    identity: Identity,
    /// `None` once one is out, so that no secret outlives the membership.
    group: Option<Group>,
    id: Box<[u8]>,
    epoch: u64,
    code: RoomCode,
    charter: Charter,
    roster: Roster,
    /// When this epoch was entered.
    since: Duration,
    /// One's own commit on its way.
    pending: Option<Pending>,
    /// One's own messages that come back.
    echoes: Echoes,
    /// The last commits of this epoch that were refused.
    refused: VecDeque<Hash>,
    /// What was spent on messages that do not authenticate.
    failures: Failures,
    /// Who asked to leave, all of them in the roster.
    leaving: BTreeSet<MemberId>,
    /// Since when.
    leaves: Leaves,
    /// Whom nobody waits for who may do the same.
    stagger: Stagger,
    /// What members have said of hands and microphones.
    stage: Stage,
    /// Words, chat and codes; `None` once one is out, as the group.
    talk: Option<Talk>,
    /// Which media keys one has used, where they are to be published.
    spent: Spent,
    /// Who is at the door, for those who may let in.
    door: Keeper,
    /// What keeps the relay from keeping commits back unnoticed.
    heart: Heart,
    /// Who asks to be brought back, and whether oneself should.
    comeback: Comeback,
    trust: Box<dyn IdentityCheck>,
    /// Whether nobody else can have one's keys of this epoch: not from a restore on, until a commit made since is merged.
    speaks: bool,
    /// How many commits in a row were made by members who let nobody in and put nobody out.
    streak: u8,
    /// Who is asked to commit, so that commits cost less.
    gardening: Gardening,
    /// How much each member says.
    floods: Floods,
    /// What has changed since the last snapshot.
    journal: Journal,
    /// What lets those in whom one's own last commit admitted, in a room that is kept.
    admitted: Option<Admitted>,
}

impl Room {
    /// Makes a room, with oneself as its host.
    ///
    /// # Errors
    /// [`Error::Randomness`]; [`Error::Group`] if the group layer fails.
    pub fn create(identity: Identity, settings: Settings) -> Result<(Self, Voice)> {
        let charter = Charter::new(settings, identity.id());
        let group = Group::create(&identity, &charter)?;
        let roster = Roster::new(group.seats()?, &charter, group.epoch());
        let entrance = Entrance::new(identity.id(), &group, &charter, &roster)?;
        let (mut room, voice) = Self::begin(identity, group, charter, roster, entrance);
        room.heart = Heart::of_creator();
        Ok((room, voice))
    }

    fn begin(
        identity: Identity,
        group: Group,
        charter: Charter,
        roster: Roster,
        Entrance { keys, talk }: Entrance,
    ) -> (Self, Voice) {
        let mut stage = Stage::default();
        for muted in roster.members().filter(|member| member.muted_by.is_some()) {
            stage.muted(muted.id, group.epoch(), false);
        }
        let leaving = charter.standings().filter(|(_, standing)| standing.leaving).map(|(id, _)| *id).collect();
        let mut trust = TrustOnFirstUse::new();
        for member in roster.members() {
            trust.check(&member.name, &member.id);
        }
        let mut room = Self {
            id: group.id().into(),
            epoch: group.epoch(),
            code: group.code(),
            roster,
            identity,
            group: Some(group),
            charter,
            since: Duration::ZERO,
            pending: None,
            echoes: Echoes::default(),
            refused: VecDeque::new(),
            failures: Failures::default(),
            leaving,
            leaves: Leaves::default(),
            stagger: Stagger::default(),
            stage,
            talk: Some(talk),
            spent: Spent::default(),
            door: Keeper::default(),
            heart: Heart::default(),
            comeback: Comeback::default(),
            trust: Box::new(trust),
            speaks: true,
            streak: 0,
            gardening: Gardening::default(),
            floods: Floods::default(),
            journal: Journal::default(),
            admitted: None,
        };
        room.leaves.hear(room.leaving.iter(), Duration::ZERO);
        room.note_media_key();
        room.tend(true, Duration::ZERO);
        (room, Voice::new(keys))
    }

    /// Lets go of the room, whose secrets are erased, and gives the identity back: to come again as the same person,
    /// or to enter another room.
    ///
    /// The others do not learn of it: ask to be let out first ([`Room::leave`]). In a deniable room one's media keys go
    /// unpublished with it, and what one has sealed can still be proved to whoever believes that they are gone: once
    /// out, wait until [`Room::next_tick`] has nothing more.
    pub fn into_identity(self) -> Identity {
        self.identity
    }

    /// Everybody in the room, by leaf: exactly those who can decrypt.
    pub fn roster(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.roster.members()
    }

    /// The member of that id, if they are in the room.
    pub fn member(&self, id: &MemberId) -> Option<&Member> {
        self.roster.find(id)
    }

    /// The media keys by which a member on stage seals in this epoch; `None` for who is off stage, or makes no seals:
    /// in a deniable room, for who has made no commit yet ([`Room::refresh_due`]).
    pub fn media_keys(&self, member: &MemberId) -> Option<&MediaCertificate> {
        self.roster.media_keys(member)
    }

    /// Oneself; `None` once one is out.
    pub fn me(&self) -> Option<&Member> {
        self.roster.at(self.group.as_ref()?.me())
    }

    /// The epoch: it grows by one with every change.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The words to compare with other members' in the same epoch.
    pub const fn code(&self) -> RoomCode {
        self.code
    }

    /// What holds for the whole room.
    pub const fn settings(&self) -> &Settings {
        &self.charter.settings
    }

    /// Who is kept out, by identity key.
    pub fn banned(&self) -> impl ExactSizeIterator<Item = &MemberId> {
        self.charter.banned().iter()
    }

    /// The room's links: their public halves and terms.
    pub fn links(&self) -> impl ExactSizeIterator<Item = &LinkEntry> {
        self.charter.links()
    }

    /// Who asked to leave and is still in.
    pub fn leaving(&self) -> impl ExactSizeIterator<Item = &MemberId> {
        self.leaving.iter()
    }

    /// Whether the room has no host any more: nobody is on stage, nobody can be let in.
    pub fn is_listen_only(&self) -> bool {
        self.charter.hosts() == 0
    }

    /// The room's id as the relay sees it: the MLS group id, random bytes.
    pub const fn id(&self) -> &[u8] {
        &self.id
    }

    /// The confirmed transcript hash of the epoch (RFC 9420 §8.2), for the [`SealKeys`] of a media layer other than
    /// [`Voice`]; empty once one is out.
    pub fn transcript(&self) -> &[u8] {
        self.group.as_ref().map(Group::transcript).unwrap_or_default()
    }

    /// Whether one is in the room.
    pub const fn is_open(&self) -> bool {
        self.group.is_some()
    }

    /// Whether a commit of one's own is on its way.
    pub const fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether one should call [`Room::refresh`]. Ask each second, and after each message. It is so for
    ///
    /// - a host, while somebody speaks in an epoch older than [`MAX_EPOCH_AGE`], or when eight members have committed in a
    ///   row, who wait for a host now;
    /// - whoever has come on stage and whose seals do not count yet, which they do from their first commit there on; in a
    ///   deniable room of two there is no need of seals;
    /// - whoever is on stage of a room that was restored: they may speak once a commit made since is received;
    /// - whoever asked to be brought back, and gave it up;
    /// - whoever is [asked to](Room::gardeners), at a moment of their own;
    /// - a host or a moderator for whom it is time to ask others, because commits have come to cost much.
    pub fn refresh_due(&self, now: Duration) -> bool {
        let is_host = self.charter.role(&self.identity.id()) == Role::Host;
        let is_turn = self.streak >= MAX_STREAK && self.charter.hosts() > 0;
        let may_moderate = self.charter.role(&self.identity.id()) >= Role::Moderator;
        if is_turn && !may_moderate && !self.is_gardener() {
            return false;
        }
        let is_old = is_turn && may_moderate || is_host && now.saturating_sub(self.since) >= MAX_EPOCH_AGE;
        let is_mute = !self.speaks && self.is_on_stage();
        let has_words_out = self.group.as_ref().is_some_and(Group::has_words_out);
        // Between two a frame's tag proves whose it is, and in a deniable room nobody else is to learn.
        let is_sealed = self.roster.len() > 2 || self.charter.settings.seals().proof == Proof::Evidence;
        self.is_open()
            && !self.is_pending()
            && (is_old || is_mute || has_words_out || is_sealed && self.is_to_bind() || self.garden_due(now))
    }

    /// Whether frames of one's own may be played, as far as the charter says.
    fn is_on_stage(&self) -> bool {
        self.charter.off_stage(&self.identity.id(), self.charter.hosts() > 0).is_none()
    }

    /// Whether one is on stage, and has no media keys that count until one has made a commit. A leaf has none while its owner
    /// is off stage; and those on a card count only where they are never published, for whoever has the card can bring it
    /// into another room.
    fn is_to_bind(&self) -> bool {
        let (rules, me) = (self.charter.settings.seals(), self.identity.id());
        rules.mode != SealMode::Off && self.is_on_stage() && self.roster.media_keys(&me).is_none()
    }

    /// Notes the media key of this epoch, if it is to be published one day: off stage too, so that what comes of it does
    /// not tell who spoke.
    fn note_media_key(&mut self) {
        let rules = self.charter.settings.seals();
        if let Some(group) = &self.group
            && rules.mode != SealMode::Off
            && rules.proof == Proof::Deniable
        {
            self.spent.uses(group.media_key());
        }
    }

    const fn group(&self) -> Result<&Group> {
        match &self.group {
            Some(group) => Ok(group),
            None => Err(Error::Closed { epoch: self.epoch }),
        }
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room")
            .field("me", &self.identity)
            .field("epoch", &self.epoch)
            .field("members", &self.roster.len())
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// What lets those in whom a commit admitted.
struct Admitted {
    welcome: Vec<u8>,
    tree: Option<Vec<u8>>,
}

/// What may fail about entering a room.
struct Entrance {
    keys: EpochKeys,
    talk: Talk,
}

impl Entrance {
    fn new(me: MemberId, group: &Group, charter: &Charter, roster: &Roster) -> Result<Self> {
        Ok(Self { keys: epoch_keys(group, charter, roster, Duration::ZERO, true)?, talk: Talk::begin(me, group)? })
    }
}

/// The frame keys of the group's epoch, to speak with or only to listen. Called once an epoch for those who speak: a
/// second voice over the same keys would repeat nonces.
fn epoch_keys(group: &Group, charter: &Charter, roster: &Roster, since: Duration, speaks: bool) -> Result<EpochKeys> {
    let (suite, layout) = (charter.settings.suite(), charter.settings.layout());
    let base_key = group.export(BASE_KEY_LABEL, suite.key_len())?;
    let company = &roster.company(charter);
    let epoch = EpochOf { room: group.id(), suite, layout, epoch: group.epoch(), me: group.me(), company, since };
    let rules = charter.settings.seals();
    let seals = (rules.mode != SealMode::Off).then(|| {
        let mut seals = SealKeys::new(rules, group.transcript());
        for (Member { id, leaf, name, .. }, certificate) in roster.sealing() {
            if *leaf == group.me() {
                seals = seals.with_signer(group.media_key().again());
            }
            seals = seals.with_speaker(*leaf, *id, name, *certificate);
        }
        seals
    });
    let keys = EpochKeys::of(epoch, base_key, seals)?;
    Ok(if speaks { keys } else { keys.listen_only() })
}

/// The group of a room in `epoch` that one may be out of.
fn open(group: &mut Option<Group>, epoch: u64) -> Result<&mut Group> {
    group.as_mut().ok_or(Error::Closed { epoch })
}

/// Refuses what is too large to be parsed.
const fn check_size(what: Item, bytes: &[u8], limit: usize) -> Result<()> {
    if bytes.len() > limit { Err(Error::TooLarge { what, bytes: bytes.len(), limit }) } else { Ok(()) }
}
