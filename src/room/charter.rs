//! What a room agrees on by MLS itself: its settings, who is more than a listener, who is muted or banned, and its
//! links.
//!
//! All of it lives in one GroupContext extension of our own type (RFC 9420 §8.1, §17.3), so that every member of an
//! epoch holds the same charter or does not share the epoch. The relay never sees it. A host may have written any
//! bytes there: the decoder is strict, bounded, and has one encoding for each value.
//!
//! ```text
//! version = 3 (1) ‖ suite id (2) ‖ S (1) ‖ E (1)
//!   ‖ entry (1): 0 invited, 1 link, 2 knock
//!   ‖ flags (1): 1 everybody speaks, 2 unsealed frames are held, 4 recording, 8 locked, 16 ended
//!   ‖ seals (1): 0 off, 1 live, 2 strict ‖ frames a seal (1), 1 to 50 ‖ what seals prove (1): 0 deniable, 1 evidence
//!   ‖ capacity (4), 0 for none ‖ title length (1) ‖ title ‖ topic length (2) ‖ topic
//!   ‖ count (2) ‖ count × standing, ascending by key
//!   ‖ count (2) ‖ count × banned Ed25519 public key (32), ascending
//!   ‖ count (1) ‖ count × link, ascending by key
//!   ‖ count (1), at most 16 ‖ if any, the first epoch in which none of them is asked to commit any more (8)
//!     ‖ count × first half of the encryption key of a leaf (16), ascending
//!
//! standing = Ed25519 public key (32) ‖ role (1): 0 listener, 1 speaker, 2 moderator, 3 host
//!   ‖ epoch since which they have that role (8), 0 for a listener
//!   ‖ marks (1): 1 muted, 2 leaving, 4 came back ‖ if muted, by whom: Ed25519 public key (32)
//!   ‖ if they came back, when they asked to: seconds since 1970 (8), for a host or a moderator only
//! link = Ed25519 public key (32) ‖ role (1) ‖ one-shot (1) ‖ end in seconds since 1970 (8), 0 for none
//!   ‖ its issuer's Ed25519 public key (32)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    bytes::Reader,
    error::{Error, Item, Result},
    identity::{MemberId, Role},
    media::{
        KeyIdLayout, OffStage, Suite,
        seal::{Proof, SealMode, SealRules, Unsealed},
    },
    room::{
        door::{LinkEntry, LinkId, Terms, UnixTime},
        garden::{Garden, MAX_GARDENERS},
        settings::{Entry, Settings, Speaking},
    },
};

/// The most members who may be more than listeners.
pub const MAX_ON_STAGE: usize = 1_000;

/// The most people who may be banned.
pub const MAX_BANNED: usize = 1_000;

/// The most links a room may have.
pub const MAX_LINKS: usize = 64;

const VERSION: u8 = 3;

/// What the charter says of one member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) role: Role,
    /// The epoch since which they have that role; 0 for a listener.
    pub(crate) since: u64,
    /// The host or moderator who muted them.
    pub(crate) muted_by: Option<MemberId>,
    /// A host who has left and waits to be let go.
    pub(crate) leaving: bool,
    /// When a host or a moderator last asked to be brought back, in seconds since 1970; 0 for never in that role.
    pub(crate) returned: u64,
}

/// The settings, and everything else that all members of an epoch agree on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Charter {
    pub(crate) settings: Settings,
    /// Whether a host has ended the room.
    pub(crate) ended: bool,
    /// No plain listener is in here.
    standings: BTreeMap<MemberId, Standing>,
    banned: BTreeSet<MemberId>,
    links: BTreeMap<LinkId, LinkEntry>,
    /// Who is asked to commit.
    pub(crate) garden: Option<Garden>,
}

impl Charter {
    pub(crate) fn new(settings: Settings, host: MemberId) -> Self {
        let standing = Standing { role: Role::Host, ..Standing::default() };
        Self { settings, standings: BTreeMap::from([(host, standing)]), ..Self::default() }
    }

    pub(crate) fn standing(&self, id: &MemberId) -> Standing {
        self.standings.get(id).copied().unwrap_or_default()
    }

    pub(crate) fn role(&self, id: &MemberId) -> Role {
        self.standing(id).role
    }

    /// Everybody who is more than a plain listener.
    pub(crate) fn standings(&self) -> impl Iterator<Item = (&MemberId, &Standing)> {
        self.standings.iter()
    }

    /// Of whom `other` does not say the same.
    pub(crate) fn standings_unlike<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = MemberId> {
        let unlike = |one: &'a Self, other: &'a Self| {
            one.standings.iter().filter(move |(id, was)| other.standing(id) != **was).map(|(id, _)| *id)
        };
        unlike(self, other).chain(unlike(other, self))
    }

    /// Gives `id` another role from `epoch` on. What they asked in the one before counts no more.
    pub(crate) fn set_role(&mut self, id: MemberId, role: Role, epoch: u64) {
        let since = if role == Role::Listener { 0 } else { epoch };
        self.stand(id, Standing { role, since, returned: 0, ..self.standing(&id) });
    }

    /// `id` is brought back who asked at `returned`, all else about them as it was.
    pub(crate) fn set_returned(&mut self, id: MemberId, returned: u64) {
        self.stand(id, Standing { returned, ..self.standing(&id) });
    }

    pub(crate) fn set_muted(&mut self, id: MemberId, by: Option<MemberId>) {
        self.stand(id, Standing { muted_by: by, ..self.standing(&id) });
    }

    /// `id`, a listener from here on, waits to be let go.
    pub(crate) fn set_leaving(&mut self, id: MemberId) {
        let muted_by = self.standing(&id).muted_by;
        self.stand(id, Standing { leaving: true, muted_by, ..Standing::default() });
    }

    /// Whatever is said of `id` goes with them.
    pub(crate) fn forget(&mut self, id: &MemberId) {
        self.standings.remove(id);
    }

    fn stand(&mut self, id: MemberId, standing: Standing) {
        if standing == Standing::default() {
            self.standings.remove(&id);
        } else {
            self.standings.insert(id, standing);
        }
    }

    pub(crate) fn hosts(&self) -> usize {
        self.with_role(Role::Host).count()
    }

    /// Who may let people in by the links of `issuer`: the issuer, then hosts and moderators, each by seniority.
    pub(crate) fn admitters(&self, issuer: &MemberId) -> Vec<MemberId> {
        let mut admitters = self.in_charge();
        admitters.sort_by_key(|id| id != issuer);
        admitters
    }

    /// Hosts, then moderators, each by seniority.
    pub(crate) fn in_charge(&self) -> Vec<MemberId> {
        let mut all: Vec<_> = self.standings().filter(|(_, standing)| standing.role >= Role::Moderator).collect();
        all.sort_by_key(|(_, standing)| (std::cmp::Reverse(standing.role), standing.since));
        all.into_iter().map(|(id, _)| *id).collect()
    }

    /// Why frames of `id`, a member, are not played; `None` if they are. `hosted` is whether there is a host.
    pub(crate) fn off_stage(&self, id: &MemberId, hosted: bool) -> Option<OffStage> {
        let Standing { role, muted_by, leaving, .. } = self.standing(id);
        if !hosted {
            return Some(OffStage::NoHost);
        }
        if let Some(by) = muted_by {
            return Some(OffStage::MutedBy(by));
        }
        let may_speak = role.on_stage() || (self.settings.speaking == Speaking::Everybody && !leaving);
        (!may_speak).then_some(OffStage::Listener)
    }

    /// Whether `id` has a place on stage, muted or not.
    pub(crate) fn has_a_place_on_stage(&self, id: &MemberId) -> bool {
        self.role(id).on_stage() || self.settings.speaking == Speaking::Everybody
    }

    /// Whether `id` is a host, and nobody else is a host or a moderator.
    pub(crate) fn is_alone_in_charge(&self, id: &MemberId) -> bool {
        let mut in_charge = self.standings().filter(|(_, standing)| standing.role >= Role::Moderator);
        self.role(id) == Role::Host && in_charge.all(|(other, _)| other == id)
    }

    /// The moderator of longest standing, who takes over from the last host.
    pub(crate) fn eldest_moderator(&self) -> Option<MemberId> {
        self.with_role(Role::Moderator).min_by_key(|(id, standing)| (standing.since, **id)).map(|(id, _)| *id)
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = (&MemberId, &Standing)> {
        self.standings().filter(move |(_, standing)| standing.role == role)
    }

    pub(crate) fn is_banned(&self, id: &MemberId) -> bool {
        self.banned.contains(id)
    }

    pub(crate) const fn banned(&self) -> &BTreeSet<MemberId> {
        &self.banned
    }

    pub(crate) fn ban(&mut self, id: MemberId) {
        self.banned.insert(id);
    }

    pub(crate) fn lift_ban(&mut self, id: &MemberId) {
        self.banned.remove(id);
    }

    pub(crate) fn link(&self, id: &LinkId) -> Option<&LinkEntry> {
        self.links.get(id)
    }

    pub(crate) fn links(&self) -> impl ExactSizeIterator<Item = &LinkEntry> {
        self.links.values()
    }

    pub(crate) fn add_link(&mut self, link: LinkEntry) {
        self.links.insert(link.id, link);
    }

    pub(crate) fn revoke_link(&mut self, id: &LinkId) {
        self.links.remove(id);
    }

    /// Whether `link` may stand in this charter: its room has links, and its issuer is a host.
    pub(crate) fn carries(&self, link: &LinkEntry) -> bool {
        self.settings.entry != Entry::Invited && self.role(&link.issuer) == Role::Host
    }

    /// Drops the links that may not stand any longer.
    pub(crate) fn prune_links(&mut self) {
        let gone: Vec<LinkId> = self.links().filter(|link| !self.carries(link)).map(|link| link.id).collect();
        gone.iter().for_each(|id| self.revoke_link(id));
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let Self { settings, ended, standings, banned, links, garden } = self;
        let unusable = |what, why| Err(Error::Unusable { what, why });
        if standings.len() > MAX_ON_STAGE {
            return unusable("role", "1,000 members are on stage or muted already: move one off first");
        }
        if banned.len() > MAX_BANNED {
            return unusable("ban", "1,000 people are banned already: lift a ban first");
        }
        if links.len() > MAX_LINKS {
            return unusable("link", "the room has 64 links already: revoke one first");
        }
        settings.check()?;
        // Checked above, each is within its bytes.
        let count = |len: usize| u16::try_from(len).map_err(|_| malformed("it is too long"));

        let Settings { suite, layout, title, topic, entry, speaking, seals, recording, locked, capacity } = settings;
        let mut out = vec![VERSION];
        out.extend_from_slice(&suite.id().to_be_bytes());
        out.extend_from_slice(&[layout.sender_bits(), layout.epoch_bits()]);
        out.push(match entry {
            Entry::Invited => 0,
            Entry::Link => 1,
            Entry::Knock => 2,
        });
        let SealRules { mode, every, unsealed, proof } = seals;
        let flags = [*speaking == Speaking::Everybody, *unsealed == Unsealed::Hold, *recording, *locked, *ended];
        out.push(flags.iter().rev().fold(0, |flags, flag| (flags << 1) | u8::from(*flag)));
        out.push(match mode {
            SealMode::Off => 0,
            SealMode::Live => 1,
            SealMode::Strict => 2,
        });
        out.push(*every);
        out.push(match proof {
            Proof::Deniable => 0,
            Proof::Evidence => 1,
        });
        out.extend_from_slice(&capacity.unwrap_or(0).to_be_bytes());
        out.extend(count(title.len())?.to_be_bytes().last());
        out.extend_from_slice(title.as_bytes());
        out.extend_from_slice(&count(topic.len())?.to_be_bytes());
        out.extend_from_slice(topic.as_bytes());

        out.extend_from_slice(&count(standings.len())?.to_be_bytes());
        for (id, Standing { role, since, muted_by, leaving, returned }) in standings {
            out.extend_from_slice(id.as_bytes());
            out.push(role_byte(*role));
            out.extend_from_slice(&since.to_be_bytes());
            out.push(u8::from(muted_by.is_some()) | (u8::from(*leaving) << 1) | (u8::from(*returned > 0) << 2));
            out.extend_from_slice(muted_by.as_ref().map_or(&[][..], |by| by.as_bytes()));
            out.extend((*returned > 0).then(|| returned.to_be_bytes()).into_iter().flatten());
        }
        out.extend_from_slice(&count(banned.len())?.to_be_bytes());
        banned.iter().for_each(|id| out.extend_from_slice(id.as_bytes()));
        out.extend(count(links.len())?.to_be_bytes().last());
        for LinkEntry { id, terms, issuer } in links.values() {
            out.extend_from_slice(id.as_bytes());
            out.extend_from_slice(&[role_byte(terms.role), u8::from(terms.one_shot)]);
            out.extend_from_slice(&terms.expires.map_or(0, |at| at.0).to_be_bytes());
            out.extend_from_slice(issuer.as_bytes());
        }
        let names = garden.as_ref().map_or(0, |garden| garden.names.len());
        if names > MAX_GARDENERS || garden.is_some() && names == 0 {
            return unusable("members who are asked to commit", "there are one to sixteen at a time");
        }
        out.extend(count(names)?.to_be_bytes().last());
        if let Some(Garden { until, names }) = garden {
            out.extend_from_slice(&until.to_be_bytes());
            names.iter().for_each(|name| out.extend_from_slice(name));
        }
        Ok(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut rest = Reader::new(Item::Settings, bytes);
        if rest.array()? != [VERSION] {
            return Err(malformed("its version is unknown: update parlor"));
        }
        let suite = Suite::from_id(u16::from_be_bytes(rest.array()?));
        let suite = suite.ok_or_else(|| malformed("its frame suite is unknown: update parlor"))?;
        let [sender_bits, epoch_bits] = rest.array()?;
        let layout = KeyIdLayout::new(sender_bits, epoch_bits)?;
        let [entry, flags] = rest.array()?;
        let entry = match entry {
            0 => Entry::Invited,
            1 => Entry::Link,
            2 => Entry::Knock,
            _ => return Err(malformed("it says an unknown way to enter: update parlor")),
        };
        if flags >= 1 << 5 {
            return Err(malformed("it sets an unknown flag: update parlor"));
        }
        let flag = |bit: u8| flags & (1 << bit) != 0;
        let speaking = if flag(0) { Speaking::Everybody } else { Speaking::OnStage };
        let unsealed = if flag(1) { Unsealed::Hold } else { Unsealed::Play };
        let [mode, every, proof] = rest.array()?;
        let mode = match mode {
            0 => SealMode::Off,
            1 => SealMode::Live,
            2 => SealMode::Strict,
            _ => return Err(malformed("it says an unknown use of seals: update parlor")),
        };
        let proof = match proof {
            0 => Proof::Deniable,
            1 => Proof::Evidence,
            _ => return Err(malformed("it says an unknown worth of seals: update parlor")),
        };
        let seals = SealRules { mode, every, unsealed, proof };
        let capacity = Some(u32::from_be_bytes(rest.array()?)).filter(|capacity| *capacity > 0);
        let [title_len] = rest.array()?;
        let title = text(&mut rest, title_len.into())?;
        let topic_len = u16::from_be_bytes(rest.array()?);
        let topic = text(&mut rest, topic_len.into())?;
        let (recording, locked, ended) = (flag(2), flag(3), flag(4));
        let settings = Settings { suite, layout, title, topic, entry, speaking, seals, recording, locked, capacity };
        settings.check()?;

        let mut charter = Self { settings, ended, ..Self::default() };
        for _ in 0..count(&mut rest, MAX_ON_STAGE)? {
            let id = MemberId::from_bytes(rest.array()?);
            let [role] = rest.array()?;
            let role = role_of(role)?;
            let since = u64::from_be_bytes(rest.array()?);
            let [marks] = rest.array()?;
            let muted_by = if marks & 1 == 0 { None } else { Some(MemberId::from_bytes(rest.array()?)) };
            let returned = if marks & 4 == 0 { None } else { Some(u64::from_be_bytes(rest.array()?)) };
            let standing =
                Standing { role, since, muted_by, leaving: marks & 2 != 0, returned: returned.unwrap_or_default() };
            if marks >= 8 || (role == Role::Listener && since != 0) || standing == Standing::default() {
                return Err(malformed("what it says of a member has another form than it should"));
            }
            if standing.leaving && role != Role::Listener {
                return Err(malformed("somebody who is leaving has a role"));
            }
            if returned == Some(0) || (returned.is_some() && role < Role::Moderator) {
                return Err(malformed("it says of somebody that they came back of whom it need not"));
            }
            ascending(charter.standings.last_key_value().map(|(last, _)| last), &id)?;
            charter.standings.insert(id, standing);
        }
        for _ in 0..count(&mut rest, MAX_BANNED)? {
            let id = MemberId::from_bytes(rest.array()?);
            ascending(charter.banned.last(), &id)?;
            charter.banned.insert(id);
        }
        let [links] = rest.array()?;
        if usize::from(links) > MAX_LINKS {
            return Err(malformed("it lists too many links"));
        }
        for _ in 0..links {
            let id = LinkId::from_bytes(rest.array()?);
            let [role, one_shot] = rest.array()?;
            let role = role_of(role)?;
            if role > Role::Speaker || one_shot > 1 {
                return Err(malformed("it lists a link of terms that no link has"));
            }
            let expires = Some(u64::from_be_bytes(rest.array()?)).filter(|at| *at > 0).map(UnixTime);
            let issuer = MemberId::from_bytes(rest.array()?);
            ascending(charter.links.last_key_value().map(|(last, _)| last), &id)?;
            charter.add_link(LinkEntry { id, terms: Terms { role, one_shot: one_shot == 1, expires }, issuer });
        }
        charter.garden = read_garden(&mut rest)?;
        rest.end()?;
        Ok(charter)
    }
}

fn read_garden(rest: &mut Reader<'_>) -> Result<Option<Garden>> {
    let [count] = rest.array()?;
    if count == 0 {
        return Ok(None);
    }
    if usize::from(count) > MAX_GARDENERS {
        return Err(malformed("it asks more than sixteen members to commit"));
    }
    let mut garden = Garden { until: u64::from_be_bytes(rest.array()?), names: BTreeSet::new() };
    for _ in 0..count {
        let name = rest.array()?;
        ascending(garden.names.last(), &name)?;
        garden.names.insert(name);
    }
    Ok(Some(garden))
}

pub(super) const fn role_byte(role: Role) -> u8 {
    match role {
        Role::Listener => 0,
        Role::Speaker => 1,
        Role::Moderator => 2,
        Role::Host => 3,
    }
}

pub(super) const fn role_of(byte: u8) -> Result<Role> {
    Ok(match byte {
        0 => Role::Listener,
        1 => Role::Speaker,
        2 => Role::Moderator,
        3 => Role::Host,
        _ => return Err(malformed("it lists an unknown role")),
    })
}

fn text(rest: &mut Reader<'_>, len: usize) -> Result<String> {
    let text = std::str::from_utf8(rest.bytes(len)?).map_err(|_| malformed("the title or the topic is not UTF-8"))?;
    Ok(text.to_owned())
}

fn count(rest: &mut Reader<'_>, most: usize) -> Result<usize> {
    let count = usize::from(u16::from_be_bytes(rest.array()?));
    if count > most { Err(malformed("it lists too many people")) } else { Ok(count) }
}

fn ascending<T: Ord>(last: Option<&T>, next: &T) -> Result<()> {
    if last.is_some_and(|last| last >= next) { Err(malformed("it lists something out of order")) } else { Ok(()) }
}

const fn malformed(why: &'static str) -> Error {
    Error::Malformed { what: Item::Settings, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::settings::Setting;

    fn id(n: u8) -> MemberId {
        MemberId::from_bytes([n; 32])
    }

    fn link(n: u8) -> LinkEntry {
        let terms = Terms { role: Role::Speaker, one_shot: n.is_multiple_of(2), expires: Some(UnixTime(n.into())) };
        LinkEntry { id: LinkId::from_bytes([n; 32]), terms, issuer: id(7) }
    }

    fn charter() -> Charter {
        let mut settings = Settings::default()
            .with_suite(Suite::Aes256Gcm)
            .with_layout(KeyIdLayout::new(7, 9).unwrap())
            .with_title("the back room")
            .unwrap();
        for setting in [
            Setting::Topic("what we never said".into()),
            Setting::Entry(Entry::Knock),
            Setting::Speaking(Speaking::Everybody),
            Setting::Seals(SealMode::Strict),
            Setting::SealEvery(50),
            Setting::Unsealed(Unsealed::Hold),
            Setting::Recording(true),
            Setting::Capacity(Some(50)),
        ] {
            settings = settings.with(setting).unwrap();
        }
        let mut charter = Charter::new(settings, id(7));
        charter.set_role(id(9), Role::Speaker, 3);
        charter.set_role(id(1), Role::Moderator, 4);
        charter.set_returned(id(1), 1_800_000_000);
        charter.set_muted(id(9), Some(id(1)));
        charter.set_muted(id(8), Some(id(7)));
        charter.set_leaving(id(2));
        charter.ban(id(5));
        charter.ban(id(4));
        charter.add_link(link(3));
        charter.add_link(link(2));
        charter
    }

    #[test]
    fn a_charter_comes_back_as_it_was_written() {
        let mut charter = charter();
        assert_eq!(Charter::decode(&charter.encode().unwrap()).unwrap(), charter);
        charter.ended = true;
        charter.settings = charter.settings.with(Setting::Locked(true)).unwrap().with_proof(Proof::Evidence);
        assert_eq!(Charter::decode(&charter.encode().unwrap()).unwrap(), charter);
        let plain = Charter::new(Settings::default(), id(1));
        assert_eq!(Charter::decode(&plain.encode().unwrap()).unwrap(), plain);
    }

    #[test]
    fn every_byte_means_something_and_every_value_has_one_form() {
        let charter = charter();
        let good = charter.encode().unwrap();
        for len in 0..good.len() {
            assert!(Charter::decode(&good[..len]).is_err(), "cut to {len}");
        }
        assert!(Charter::decode(&[&good[..], &[0]].concat()).is_err(), "a byte to spare");
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut other = good.clone();
                other[at] ^= 1 << bit;
                if let Ok(read) = Charter::decode(&other) {
                    assert_ne!(read, charter, "byte {at}, bit {bit}");
                    assert_eq!(read.encode().unwrap(), other, "byte {at}, bit {bit}: two forms of one value");
                }
            }
        }
    }

    #[test]
    fn seals_are_of_a_known_kind_and_cover_a_bounded_number_of_frames() {
        let good = Charter::new(Settings::default(), id(1)).encode().unwrap();
        let rules = 1 + 2 + 2 + 1 + 1;
        assert_eq!(good[rules..rules + 3], [1, 25, 0]);
        for (at, known) in [(0, 0..=2), (1, 1..=50), (2, 0..=1)] {
            for value in 0..=u8::MAX {
                let mut other = good.clone();
                other[rules + at] = value;
                assert_eq!(Charter::decode(&other).is_ok(), known.contains(&value), "byte {at}: {value}");
            }
        }
    }

    #[test]
    fn lists_are_in_order_and_bounded() {
        let charter = charter();
        let good = charter.encode().unwrap();
        let banned = good.len() - 1 - 2 * 74 - 2 * 32;
        let mut swapped = good.clone();
        swapped[banned..banned + 32].copy_from_slice(&good[banned + 32..banned + 64]);
        swapped[banned + 32..banned + 64].copy_from_slice(&good[banned..banned + 32]);
        assert!(Charter::decode(&swapped).is_err(), "banned out of order");

        let mut many = charter.clone();
        (0..=MAX_LINKS).for_each(|n| many.add_link(link(u8::try_from(n).unwrap())));
        assert!(many.encode().is_err());
        let mut many = charter;
        for n in 0..=MAX_BANNED {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            many.ban(MemberId::from_bytes(key));
        }
        assert!(many.encode().is_err());
    }

    #[test]
    fn each_list_is_as_long_as_it_may_be_and_no_longer() {
        let number = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(n + 1).to_be_bytes());
            bytes
        };
        type Fill = fn(&mut Charter, [u8; 32]);
        let lists: [(usize, Fill); 4] = [
            (MAX_ON_STAGE, |charter, id| charter.set_role(MemberId::from_bytes(id), Role::Speaker, 1)),
            (MAX_ON_STAGE, |charter, id| {
                charter.set_muted(MemberId::from_bytes(id), Some(MemberId::from_bytes([7; 32])));
            }),
            (MAX_BANNED, |charter, id| charter.ban(MemberId::from_bytes(id))),
            (MAX_LINKS, |charter, id| charter.add_link(LinkEntry { id: LinkId::from_bytes(id), ..link(1) })),
        ];
        for (most, fill) in lists {
            let mut charter = Charter::default();
            (0..most).for_each(|n| fill(&mut charter, number(n)));
            let full = charter.encode().unwrap();
            assert_eq!(Charter::decode(&full).unwrap(), charter);
            fill(&mut charter, number(most));
            assert!(matches!(charter.encode(), Err(Error::Unusable { .. })), "{most}");
        }
    }

    #[test]
    fn a_plain_listener_is_not_listed() {
        let mut charter = charter();
        let before = charter.standings().count();
        charter.set_role(id(9), Role::Listener, 5);
        assert_eq!(charter.standing(&id(9)).muted_by, Some(id(1)), "a mute outlives the role");
        charter.set_muted(id(9), None);
        assert_eq!(charter.standings().count(), before - 1);
        assert_eq!(charter.role(&id(9)), Role::Listener);
    }

    #[test]
    fn when_somebody_came_back_is_kept_for_hosts_and_moderators_and_goes_with_the_role() {
        let mut charter = charter();
        assert_eq!(charter.standing(&id(1)).returned, 1_800_000_000);
        charter.set_role(id(1), Role::Host, 5);
        assert_eq!(charter.standing(&id(1)).returned, 0);
        for (role, may) in
            [(Role::Listener, false), (Role::Speaker, false), (Role::Moderator, true), (Role::Host, true)]
        {
            charter.set_role(id(1), role, 6);
            charter.set_returned(id(1), 7);
            assert_eq!(Charter::decode(&charter.encode().unwrap()).is_ok(), may, "{role}");
        }
    }

    #[test]
    fn the_eldest_moderator_is_the_one_of_longest_standing() {
        let mut charter = charter();
        charter.set_role(id(3), Role::Moderator, 2);
        charter.set_role(id(2), Role::Moderator, 2);
        assert_eq!(charter.eldest_moderator(), Some(id(2)));
    }

    #[test]
    fn a_link_ends_with_its_issuers_office_and_with_the_rooms_links() {
        let mut demoted = charter();
        demoted.set_role(id(7), Role::Moderator, 9);
        demoted.prune_links();
        assert_eq!(demoted.links().len(), 0);
        let mut closed = charter();
        closed.settings.entry = Entry::Invited;
        closed.prune_links();
        assert_eq!(closed.links().len(), 0);
    }
}
