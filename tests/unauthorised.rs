//! Every kind of change that somebody may not make, made in earnest: by a listener, a speaker, a moderator, a host
//! beyond a host's rights, one who was a host, one who was removed, and the relay.
//!
//! One seed is one history of five rooms, mal in another role in each: other people, settings, leaves, targets and
//! values with every seed. Each attempt must be refused by every honest member, with who wanted what wherever that
//! is provable, must leave each of them as it was, and must leave the room able to go on. `PARLOR_SEEDS` sets how
//! many seeds are played, `PARLOR_SEED` plays one.
//!
//! `PARLOR_SEEDS=1000 cargo test --release --test unauthorised -- --nocapture`

mod party;

use std::collections::BTreeSet;

use openmls::{
    messages::external_proposals::{ExternalProposal, JoinProposal},
    prelude::{tls_codec::DeserializeBytes as _, *},
    schedule::{ExternalPsk, PreSharedKeyId, Psk, psk::ResumptionPsk, psk::ResumptionPskUsage},
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use parlor::{
    Error, Event, Item, KeyIdLayout, LeafIndex, MemberId, Role, Room, Settings, Suite,
    media::sframe::{Backend, Sealer},
    room::{Entry, Setting, Speaking},
};
use party::{
    NOW, Party,
    charter::{
        Charter, ENDED, EVERYBODY_SPEAKS, HOST, Key, LISTENER, LOCKED, Link, MODERATOR, RECORDING, SEALS, SPEAKER,
        Standing,
    },
    gists, guest,
    mal::{Bare, CHARTER, Mal, Part, SUITE, add, capabilities, join_config, psk, remove, state},
    room_of,
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

/// Where mal stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seat {
    Listener,
    Speaker,
    Moderator,
    /// A moderator who was a host and handed over.
    ExHost,
    Host,
}

const SEATS: [Seat; 5] = [Seat::Listener, Seat::Speaker, Seat::Moderator, Seat::ExHost, Seat::Host];
const ALL: &[Seat] = &SEATS;
/// Who does not run the room.
const FLOOR: &[Seat] = &[Seat::Listener, Seat::Speaker];
const MODERATORS: &[Seat] = &[Seat::Moderator, Seat::ExHost];
const NO_HOST: &[Seat] = &[Seat::Listener, Seat::Speaker, Seat::Moderator, Seat::ExHost];
/// Who may admit.
const DOOR: &[Seat] = &[Seat::Moderator, Seat::ExHost, Seat::Host];
const HOSTS: &[Seat] = &[Seat::Host];

/// What every honest member must make of an attempt.
enum Expect {
    /// Refused, proved to be mal's, and told so.
    Mal(String),
    /// Refused, with what was wanted; nothing proves by whom.
    Somebody(&'static str),
    /// Refused, with what was wanted; some can prove by whom, some cannot.
    Either(&'static str),
    /// An error: it does not authenticate, or its time is over.
    Fails(fn(&Error) -> bool),
    /// Its time is over, or it is one's own and lost its race.
    Late,
    /// It says nothing.
    Nothing,
}

type Attempt = (Vec<u8>, Expect);

/// Each with the places from which it is unauthorised.
type Kind = (&'static str, &'static [Seat], fn(&mut Evening) -> Attempt);

const KINDS: &[Kind] = &[
    // Who comes in.
    ("a ghost, let in by who may not", FLOOR, ghost),
    ("a ghost with a role, let in by who may not", NO_HOST, ghost_with_a_role),
    ("somebody banned", DOOR, banned),
    ("somebody banned, the ban lifted by the same commit", DOOR, banned_and_lifted),
    ("into a locked room", DOOR, into_a_locked_room),
    ("into a full room", DOOR, into_a_full_room),
    ("into a full room, made larger by the same commit", HOSTS, into_a_room_made_larger),
    ("under a name nobody could show", DOOR, unshowable_name),
    ("with a card valid for years", DOOR, long_card),
    ("with more in their leaf than a name and a key", DOOR, leaf_with_extras),
    ("with a swollen leaf", DOOR, swollen_card),
    ("in a role with a forged date", DOOR, newcomer_with_seniority),
    ("muted or leaving from the start", DOOR, newcomer_with_marks),
    // Who goes.
    ("removal by who may not", FLOOR, removal),
    ("removal of a host or a moderator by a moderator", MODERATORS, removal_of_equals),
    ("removal of several, one of them a host", MODERATORS, removal_among_others),
    ("removal of a member but not of their role", DOOR, removal_without_role),
    // Roles.
    ("raising one's own role", NO_HOST, own_promotion),
    ("promotion of an accomplice", FLOOR, accomplice),
    ("appointment by a moderator", MODERATORS, appointment),
    ("demotion by who may not", NO_HOST, demotion),
    ("a right removal with a wrong promotion", MODERATORS, smuggled_promotion),
    ("stepping down to a role of forged age", DOOR, step_down_with_seniority),
    ("a role of forged age for another", DOOR, promotion_with_seniority),
    ("another age for a role", ALL, seniority),
    ("a role for somebody outside", ALL, role_for_a_stranger),
    ("a room without a host", HOSTS, no_host),
    ("leaving past the heir", HOSTS, past_the_heir),
    ("leaving, said for another", ALL, leaving_for_another),
    // Mutes.
    ("speaking again by oneself", NO_HOST, own_mute_lifted),
    ("letting another speak again", NO_HOST, mute_lifted),
    ("a mute by who may not", FLOOR, mute),
    ("a mute of a host or a moderator by a moderator", MODERATORS, mute_of_equals),
    ("a mute in another's name", DOOR, mute_in_anothers_name),
    ("a mute taken over from who made it", FLOOR, mute_taken_over),
    ("a mute of oneself", ALL, mute_of_oneself),
    ("a mute of somebody outside", ALL, mute_of_a_stranger),
    ("a microphone switched on while muted", ALL, microphone_while_muted),
    // Bans.
    ("a ban by who may not", FLOOR, ban),
    ("a ban of a host or a moderator by a moderator", MODERATORS, ban_of_equals),
    ("a ban of a member who stays", DOOR, ban_without_removal),
    ("a ban lifted by who may not", NO_HOST, ban_lifted),
    // Settings.
    ("another title", NO_HOST, title),
    ("another topic", NO_HOST, topic),
    ("another way in", NO_HOST, entry),
    ("other speakers", NO_HOST, speaking),
    ("seals on or off", NO_HOST, seals),
    ("recording allowed or forbidden", NO_HOST, recording),
    ("another capacity", NO_HOST, capacity),
    ("the lock, by who may not", FLOOR, lock),
    ("another suite or layout", ALL, suite_or_layout),
    ("settings that cannot be read", ALL, unreadable),
    ("no settings at all", ALL, no_settings),
    ("the room's end", NO_HOST, end),
    ("the room's end beside a right lock", MODERATORS, smuggled_end),
    // Links.
    ("a link by who may not", NO_HOST, link),
    ("a link in another host's name", HOSTS, link_in_anothers_name),
    ("other terms for a link", ALL, link_terms),
    ("a link that outlives its issuer's office", HOSTS, link_without_office),
    ("a link that outlives its issuer's stay", HOSTS, link_without_issuer),
    ("a link in a room of invitations", HOSTS, link_by_invitation),
    ("a link revoked by who may not", FLOOR, link_revoked),
    // What no room takes.
    ("an outsider who may propose", ALL, external_senders),
    ("other required capabilities", ALL, required_capabilities),
    ("another's name", ALL, credential),
    ("another signature key", ALL, signature_key),
    ("more in one's own leaf", ALL, own_leaf_with_extras),
    ("one's own leaf swollen", ALL, own_leaf_swollen),
    ("a key of the group's past", ALL, past_key),
    ("a key from outside", ALL, outside_key),
    ("an external init from inside", ALL, external_init),
    ("proposals by reference", ALL, by_reference),
    ("a proposal of its own", ALL, standalone),
    ("a commit in the clear", ALL, in_the_clear),
    ("an invitation to speak by who may not", FLOOR, invitation),
    ("words of no form", ALL, garbled_words),
    // The relay, with what a member may have leaked to it.
    ("the relay's external commit", ALL, external_commit),
    ("the relay's external proposal", ALL, external_proposal),
    ("a commit said again", ALL, replay),
    ("a commit that lost its race, later", ALL, late_loser),
    ("a commit with a byte changed", ALL, bit_flip),
    ("a commit cut short or drawn out", ALL, wrong_length),
    ("a commit of another room", ALL, another_room),
    ("a message that is no control message", ALL, wrong_kind),
    // Out of their time.
    ("a commit of an epoch gone by", ALL, stale),
    ("a commit of an epoch gone by under the epoch's number", ALL, stale_renumbered),
    ("a commit of a removed member", ALL, of_the_removed),
    ("a commit of a removed member under the epoch's number", ALL, of_the_removed_renumbered),
];

#[test]
fn no_kind_of_unauthorised_change_is_merged_by_any_honest_member() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("seeds are numbers"));
    let seeds: Vec<u64> = match number("PARLOR_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("PARLOR_SEEDS").unwrap_or(25)).collect(),
    };
    let names: BTreeSet<_> = KINDS.iter().map(|(name, ..)| name).collect();
    assert_eq!(names.len(), KINDS.len(), "each kind is listed once");
    let judged: u64 = std::thread::scope(|scope| {
        let (even, odd): (Vec<u64>, Vec<u64>) = seeds.iter().partition(|seed| *seed % 2 == 0);
        let threads = [even, odd].map(|seeds| scope.spawn(move || seeds.into_iter().map(play).sum::<u64>()));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!(
        "{} kinds of unauthorised change x {} seeds: {} attempts, each judged by all honest members ({judged} \
         judgements): 0 merged",
        KINDS.len(),
        seeds.len(),
        KINDS.len() * seeds.len(),
    );
}

/// Tells where it was if a test fails.
struct At(u64, Seat, &'static str);

impl Drop for At {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("PARLOR_SEED={}: {:?} attempts {:?}", self.0, self.1, self.2);
        }
    }
}

/// Every kind once, each from one of the places it is for. Gives back how often an honest member judged one.
fn play(seed: u64) -> u64 {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut by_seat: Vec<(Seat, &Kind)> =
        KINDS.iter().map(|kind| (kind.1[rng.random_range(0..kind.1.len())], kind)).collect();
    by_seat.shuffle(&mut rng);
    let mut judged = 0;
    for seat in SEATS {
        let at = At(seed, seat, "to be there at all");
        let mut evening = Evening::new(&mut rng, seat);
        drop(at);
        for (_, (name, _, make)) in by_seat.iter().filter(|(of, _)| *of == seat) {
            let _at = At(seed, seat, name);
            let (message, expect) = make(&mut evening);
            judged += evening.judged(&message, &expect);
        }
    }
    judged
}

/// A room with honest members of every role, mal, a host on a bare client who behaves, and somebody who was removed.
struct Evening {
    rng: StdRng,
    seat: Seat,
    party: Party,
    mal: Mal,
    hal: Mal,
    /// With the state she had when she was removed.
    rex: Mal,
    /// Somebody who is banned.
    zed: Bare,
    /// The commits so far.
    log: Vec<Vec<u8>>,
}

impl Evening {
    fn new(rng: &mut StdRng, seat: Seat) -> Self {
        let mut rng = StdRng::seed_from_u64(rng.random());
        let layout = KeyIdLayout::new(rng.random_range(5..13), rng.random_range(5..10)).unwrap();
        let entry = [Entry::Invited, Entry::Link, Entry::Knock][rng.random_range(0..3)];
        let mut settings = Settings::default().with_layout(layout);
        for setting in [
            Setting::Title(["", "a room", "Küche"][rng.random_range(0..3)].into()),
            Setting::Entry(entry),
            Setting::Speaking(if rng.random() { Speaking::Everybody } else { Speaking::OnStage }),
            Setting::Seals(rng.random()),
            Setting::Recording(rng.random()),
        ] {
            settings = settings.with(setting).unwrap();
        }
        let mut people = vec![("mo", Role::Moderator), ("ben", Role::Speaker), ("eve", Role::Listener)];
        if seat == Seat::ExHost {
            // One of them gets the office.
            people.extend([("sam", Role::Speaker), ("liv", Role::Listener)]);
        }
        let more = [("bo", Role::Host), ("mia", Role::Moderator), ("zoe", Role::Speaker), ("lea", Role::Listener)];
        people.extend(more.into_iter().filter(|_| rng.random_bool(0.4)));
        people.shuffle(&mut rng);
        let mut party = Party::with(&[("ana", Role::Host)], settings);
        while !people.is_empty() {
            let batch = people.split_off(people.len() - rng.random_range(1..=people.len()));
            party.admit(0, batch.iter().map(|(name, role)| (guest(name), *role)).collect());
        }
        let role = match seat {
            Seat::Listener => Role::Listener,
            Seat::Speaker => Role::Speaker,
            Seat::Moderator => Role::Moderator,
            Seat::ExHost | Seat::Host => Role::Host,
        };
        let mut bare = [("mal", role), ("hal", Role::Host), ("rex", Role::Host)];
        bare.shuffle(&mut rng);
        let mut inside: Vec<Mal> = Vec::new();
        let mut log = Vec::new();
        for (name, role) in bare {
            let client = Bare::new(name);
            let admission = party.rooms[0].admit(&client.card(), role).unwrap();
            party.deliver(&admission.commit);
            inside.iter_mut().for_each(|mal| mal.follow(&admission.commit));
            inside.push(client.enter(&admission));
            log.push(admission.commit);
        }
        let mut take = |name| inside.remove(inside.iter().position(|mal| mal.client.name == name).unwrap());
        let (mal, hal, rex) = (take("mal"), take("hal"), take("rex"));
        let mut evening = Self { rng, seat, party, mal, hal, rex, zed: Bare::new("zed"), log };
        let (rex, zed) = (evening.rex.client.id(), evening.zed.id());
        evening.honest("ana", |room| room.remove(&rex));
        evening.honest("ana", |room| room.ban(&zed));
        if seat == Seat::ExHost {
            let heir = evening.someone(&[Role::Moderator, Role::Speaker, Role::Listener]).id;
            let handed = evening.mal.give(&[(heir, HOST), (evening.mal.client.id(), MODERATOR)]);
            let (commit, _) = evening.mal.commit_and_welcome(LeafNodeParameters::default(), vec![handed]);
            evening.deliver(&commit);
            evening.mal.merge();
            evening.hal.follow(&commit);
        }
        if entry != Entry::Invited {
            evening.with_link();
        }
        evening
    }

    /// Hands an allowed commit to every honest member.
    #[track_caller]
    fn deliver(&mut self, commit: &[u8]) {
        for events in self.party.deliver(commit) {
            assert!(matches!(events[0], Event::Rekeyed(_)), "{:?}", gists(&events));
        }
        self.log.push(commit.to_owned());
    }

    /// An honest member's command, merged by everybody.
    #[track_caller]
    fn honest(&mut self, by: &str, command: impl FnOnce(&mut Room) -> parlor::Result<Vec<u8>>) {
        let commit = command(self.party.named(by)).unwrap();
        self.deliver(&commit);
        self.mal.follow(&commit);
        self.hal.follow(&commit);
    }

    fn set(&mut self, setting: Setting) {
        let settings = self.party.rooms[0].settings().clone();
        if settings.clone().with(setting.clone()).unwrap() != settings {
            self.honest("ana", |room| room.set(setting));
        }
    }

    /// A room that people could come into.
    fn with_room(&mut self) {
        self.set(Setting::Locked(false));
        self.set(Setting::Capacity(None));
    }

    /// A room with a link of hal's, whose id it gives.
    fn with_link(&mut self) -> Key {
        if self.party.rooms[0].settings().entry() == Entry::Invited {
            self.set(Setting::Entry(Entry::Link));
        }
        if let Some(link) = self.party.rooms[0].links().next() {
            return *link.id.as_bytes();
        }
        let (id, link) = (self.rng.random(), self.link_of(self.hal.client.id()));
        let part = self.hal.recharter(|charter| {
            charter.links.insert(id, link);
        });
        let (commit, _) = self.hal.commit_and_welcome(LeafNodeParameters::default(), vec![part]);
        self.deliver(&commit);
        self.hal.merge();
        self.mal.follow(&commit);
        id
    }

    fn link_of(&mut self, issuer: MemberId) -> Link {
        let rng = &mut self.rng;
        let (role, one_shot) = (rng.random_range(0..2), rng.random_range(0..2));
        Link { role, one_shot, expires: rng.random_range(0..3) * 2_000_000_000, issuer: *issuer.as_bytes() }
    }

    /// Somebody else than mal in one of `roles`.
    fn someone(&mut self, roles: &[Role]) -> parlor::Member {
        self.someone_who(|member| roles.contains(&member.role))
    }

    fn someone_who(&mut self, fits: impl Fn(&parlor::Member) -> bool) -> parlor::Member {
        let mal = self.mal.client.id();
        let all: Vec<_> = self.party.rooms[0].roster().filter(|member| member.id != mal && fits(member)).collect();
        all[self.rng.random_range(0..all.len())].clone()
    }

    /// Whom mal has no power over.
    fn somebody_above(&mut self) -> parlor::Member {
        if FLOOR.contains(&self.seat) { self.someone(&EVERYBODY) } else { self.someone(&[Role::Moderator, Role::Host]) }
    }

    /// Whom mal has power over.
    fn somebody_below(&mut self) -> parlor::Member {
        if self.seat == Seat::Host { self.someone(&EVERYBODY) } else { self.someone(&[Role::Listener, Role::Speaker]) }
    }

    fn my_role(&self) -> Role {
        self.party.rooms[0].member(&self.mal.client.id()).unwrap().role
    }

    fn mute(&mut self, id: MemberId, muted: bool) {
        if self.party.rooms[0].member(&id).unwrap().muted_by.is_some() != muted {
            self.honest("ana", |room| if muted { room.mute(&id) } else { room.lift_mute(&id) });
        }
    }

    fn ghosts(&mut self, most: usize) -> Vec<Part> {
        (0..self.rng.random_range(1..=most)).map(|_| add(Bare::new("ghost").key_package())).collect()
    }

    fn a_role_above(&mut self, role: u8) -> u8 {
        self.rng.random_range(role + 1..=HOST)
    }

    /// A date other than the one a role given by the next commit has.
    fn wrong_date(&mut self) -> u64 {
        let next = self.mal.next_epoch();
        [0, next - 1, next + 1, u64::MAX, next + self.rng.random_range(2..1_000_000)][self.rng.random_range(0..5)]
    }

    /// Changes the charter as mal likes, and commits to it.
    fn recharter(&mut self, change: impl FnOnce(&mut Charter), expect: impl Into<String>) -> Attempt {
        let part = self.mal.recharter(change);
        (self.mal.commit(vec![part]), Expect::Mal(expect.into()))
    }

    /// What all honest members make of an attempt; then the room goes on. Gives back how many they are.
    #[track_caller]
    fn judged(&mut self, message: &[u8], expect: &Expect) -> u64 {
        let mal = self.mal.client.id();
        for room in &mut self.party.rooms {
            let before = state(room);
            let mics: Vec<bool> = room.roster().map(|member| room.is_mic_on(&member.id)).collect();
            let made = room.receive(message, NOW);
            let name = room.me().unwrap().name.clone();
            match (expect, made.as_deref()) {
                (Expect::Mal(what), Ok([Event::Refused { actor, why }])) => {
                    assert_eq!((*actor, why.actor.as_str()), (Some(mal), "mal"), "{name}: {why}");
                    assert!(why.to_string().contains(what.as_str()), "{name}: {why}, not {what}");
                }
                (Expect::Somebody(what), Ok([Event::Refused { actor: None, why }])) => {
                    assert!(why.action.contains(what), "{name}: {why}");
                }
                (Expect::Either(what), Ok([Event::Refused { actor, why }])) => {
                    assert!(actor.is_none_or(|actor| actor == mal) && why.action.contains(what), "{name}: {why}");
                }
                (Expect::Fails(how), Err(error)) => assert!(how(error), "{name}: {error}"),
                (Expect::Late, Err(Error::WrongEpoch { .. }) | Ok([])) | (Expect::Nothing, Ok([])) => {}
                (_, Ok(events)) => panic!("{name}: {:?}", gists(events)),
                (_, Err(error)) => panic!("{name}: {error}"),
            }
            assert_eq!(state(room), before, "{name}");
            assert!(room.roster().map(|member| room.is_mic_on(&member.id)).eq(mics), "{name}");
            // The same bytes do no more the second time.
            assert!(!matches!(room.receive(message, NOW).as_deref(), Ok([Event::Rekeyed(_), ..])));
            assert_eq!(state(room), before, "{name}");
        }
        let by = ["ana", "mo", "ben", "eve"][self.rng.random_range(0..4)];
        self.honest(by, Room::refresh);
        self.mute(mal, false);
        let rooms = &self.party.rooms;
        assert!(rooms.iter().all(|room| room.code() == rooms[0].code()));
        assert_eq!(self.mal.group.epoch().as_u64(), rooms[0].epoch());
        rooms.len() as u64
    }
}

const EVERYBODY: [Role; 4] = [Role::Listener, Role::Speaker, Role::Moderator, Role::Host];

fn byte(role: Role) -> u8 {
    match role {
        Role::Listener => LISTENER,
        Role::Speaker => SPEAKER,
        Role::Moderator => MODERATOR,
        Role::Host => HOST,
        _ => unreachable!("a room has four roles"),
    }
}

fn key(id: MemberId) -> Key {
    *id.as_bytes()
}

/// What stands of `id`, to be changed: a plain listener is not listed.
fn stand(charter: &mut Charter, id: MemberId, change: impl FnOnce(&mut Standing)) {
    let standing = charter.standings.entry(key(id)).or_default();
    change(standing);
    if *standing == Standing::default() {
        charter.standings.remove(&key(id));
    }
}

fn role(charter: &mut Charter, id: MemberId, role: u8, since: u64) {
    stand(charter, id, |standing| {
        standing.role = role;
        standing.since = if role == LISTENER { 0 } else { since };
    });
}

fn leaf(member: &parlor::Member) -> LeafNodeIndex {
    LeafNodeIndex::new(member.leaf.0)
}

// ---- who comes in ----

fn ghost(e: &mut Evening) -> Attempt {
    let ghosts = e.ghosts(3);
    (e.mal.commit(ghosts), Expect::Mal("admit ghost as a listener".into()))
}

fn ghost_with_a_role(e: &mut Evening) -> Attempt {
    e.with_room();
    let above = if FLOOR.contains(&e.seat) { LISTENER } else { SPEAKER };
    let (ghost, role) = (Bare::new("ghost"), e.a_role_above(above));
    let given = e.mal.give(&[(ghost.id(), role)]);
    (e.mal.commit(vec![add(ghost.key_package()), given]), Expect::Mal("admit ghost as a".into()))
}

fn banned(e: &mut Evening) -> Attempt {
    e.with_room();
    (e.mal.commit(vec![add(e.zed.key_package())]), Expect::Mal("admit zed as a listener: they are banned".into()))
}

fn banned_and_lifted(e: &mut Evening) -> Attempt {
    e.with_room();
    let zed = key(e.zed.id());
    let lifted = e.mal.recharter(|charter| {
        charter.banned.remove(&zed);
    });
    (e.mal.commit(vec![add(e.zed.key_package()), lifted]), Expect::Mal("admit zed as a listener: they are".into()))
}

fn into_a_locked_room(e: &mut Evening) -> Attempt {
    e.with_room();
    e.set(Setting::Locked(true));
    let ghosts = e.ghosts(3);
    (e.mal.commit(ghosts), Expect::Mal("the room is locked".into()))
}

fn into_a_full_room(e: &mut Evening) -> Attempt {
    e.with_room();
    let (members, free) = (e.party.rooms[0].roster().len(), e.rng.random_range(0..3));
    // A room may be set smaller than it is.
    let fit = if e.rng.random_bool(0.2) { 1 } else { members + free };
    e.set(Setting::Capacity(Some(fit as u32)));
    let ghosts = (0..=free).map(|_| add(Bare::new("ghost").key_package())).collect();
    (e.mal.commit(ghosts), Expect::Mal("admit more members".into()))
}

fn into_a_room_made_larger(e: &mut Evening) -> Attempt {
    e.with_room();
    let members = e.party.rooms[0].roster().len();
    e.set(Setting::Capacity(Some(members as u32)));
    let larger = e.mal.recharter(|charter| charter.capacity = 0);
    let mut parts = e.ghosts(2);
    parts.push(larger);
    (e.mal.commit(parts), Expect::Mal("admit more members".into()))
}

fn unshowable_name(e: &mut Evening) -> Attempt {
    e.with_room();
    let names = ["", "a\u{0}b", "\u{1b}[2J", "a name that goes on and on and on and on and on and on and on and on"];
    let ghost = Bare::new(names[e.rng.random_range(0..names.len())]);
    (e.mal.commit(vec![add(ghost.key_package())]), Expect::Mal("admit somebody".into()))
}

fn long_card(e: &mut Evening) -> Attempt {
    e.with_room();
    let days = e.rng.random_range(100..4_000);
    let card =
        Bare::new("ghost").key_package_with(|builder| builder.key_package_lifetime(Lifetime::new(days * 24 * 3600)));
    (e.mal.commit(vec![add(card)]), Expect::Mal("admit ghost".into()))
}

fn leaf_with_extras(e: &mut Evening) -> Attempt {
    e.with_room();
    let bytes: [u8; 8] = e.rng.random();
    let card = Bare::new("ghost").key_package_with(|builder| {
        let extension = Extension::ApplicationId(ApplicationIdExtension::new(&bytes));
        builder.leaf_node_extensions(Extensions::single(extension).unwrap())
    });
    (e.mal.commit(vec![add(card)]), Expect::Mal("admit ghost".into()))
}

fn swollen(e: &mut Evening) -> Capabilities {
    let many = 0x1000..0x1000 + e.rng.random_range(300..8_000);
    let extensions: Vec<_> = many.chain([CHARTER]).map(ExtensionType::Unknown).collect();
    Capabilities::new(None, Some(&[SUITE]), Some(&extensions), None, Some(&[CredentialType::Basic]))
}

fn swollen_card(e: &mut Evening) -> Attempt {
    e.with_room();
    let swollen = swollen(e);
    let card = Bare::new("ghost").key_package_with(|builder| builder.leaf_node_capabilities(swollen.clone()));
    (e.mal.commit(vec![add(card)]), Expect::Mal("admit ghost".into()))
}

fn newcomer_with_seniority(e: &mut Evening) -> Attempt {
    e.with_room();
    let (ghost, date) = (Bare::new("ghost"), e.wrong_date());
    let given = e.mal.recharter(|charter| role(charter, ghost.id(), SPEAKER, date));
    (e.mal.commit(vec![add(ghost.key_package()), given]), Expect::Mal("give a role another date".into()))
}

fn newcomer_with_marks(e: &mut Evening) -> Attempt {
    e.with_room();
    let (ghost, muted, mal) = (Bare::new("ghost"), e.rng.random(), key(e.mal.client.id()));
    let marked = e.mal.recharter(|charter| {
        stand(charter, ghost.id(), |standing| {
            standing.muted_by = Some(mal).filter(|_| muted);
            standing.leaving = !muted;
        });
    });
    (e.mal.commit(vec![add(ghost.key_package()), marked]), Expect::Mal("let somebody in muted or leaving".into()))
}

// ---- who goes ----

/// With all that is said of them, or not.
fn removed(e: &mut Evening, member: &parlor::Member, forget: bool) -> Vec<Part> {
    let mut parts = vec![remove(leaf(member))];
    if forget && e.mal.charter().standings.contains_key(member.id.as_bytes()) {
        parts.push(e.mal.recharter(|charter| {
            charter.standings.remove(member.id.as_bytes());
            charter.links.retain(|_, link| link.issuer != *member.id.as_bytes());
        }));
    }
    parts
}

fn removal(e: &mut Evening) -> Attempt {
    let (target, forget) = (e.someone(&EVERYBODY), e.rng.random());
    let parts = removed(e, &target, forget);
    (e.mal.commit(parts), Expect::Mal(format!("remove {}, a {}", target.name, target.role)))
}

fn removal_of_equals(e: &mut Evening) -> Attempt {
    let (target, forget) = (e.somebody_above(), e.rng.random());
    let parts = removed(e, &target, forget);
    (e.mal.commit(parts), Expect::Mal(format!("remove {}, a {}", target.name, target.role)))
}

fn removal_among_others(e: &mut Evening) -> Attempt {
    let (below, above) = (e.someone(&[Role::Listener]), e.someone(&[Role::Host]));
    let mut parts = removed(e, &above, true);
    parts.push(remove(leaf(&below)));
    (e.mal.commit(parts), Expect::Mal(format!("remove {}, a {}", above.name, above.role)))
}

fn removal_without_role(e: &mut Evening) -> Attempt {
    let on_stage = [Role::Speaker, Role::Moderator, Role::Host];
    let target = e.someone(if e.seat == Seat::Host { &on_stage } else { &on_stage[..1] });
    (e.mal.commit(vec![remove(leaf(&target))]), Expect::Mal(format!("remove {} and keep their role", target.name)))
}

// ---- roles ----

fn own_promotion(e: &mut Evening) -> Attempt {
    let (me, mine) = (e.mal.client.id(), e.my_role());
    let to = e.a_role_above(byte(mine));
    let part = e.mal.give(&[(me, to)]);
    (e.mal.commit(vec![part]), Expect::Mal(format!("make mal, a {mine}, a")))
}

fn accomplice(e: &mut Evening) -> Attempt {
    let target = e.someone(&[Role::Listener, Role::Speaker, Role::Moderator]);
    let to = e.a_role_above(byte(target.role));
    let next = e.mal.next_epoch();
    e.recharter(|charter| role(charter, target.id, to, next), format!("make {}, a {}, a", target.name, target.role))
}

fn appointment(e: &mut Evening) -> Attempt {
    let target = e.someone_who(|member| member.role != Role::Host);
    let to = e.rng.random_range(byte(target.role).max(SPEAKER) + 1..=HOST);
    let next = e.mal.next_epoch();
    e.recharter(|charter| role(charter, target.id, to, next), format!("make {}, a {}, a", target.name, target.role))
}

fn demotion(e: &mut Evening) -> Attempt {
    let target = e.somebody_above();
    let target = if target.role == Role::Listener { e.someone(&[Role::Moderator, Role::Host]) } else { target };
    let (to, next) = (e.rng.random_range(LISTENER..byte(target.role)), e.mal.next_epoch());
    e.recharter(
        |charter| {
            role(charter, target.id, to, next);
            charter.links.retain(|_, link| link.issuer != key(target.id));
        },
        format!("make {}, a {}, a", target.name, target.role),
    )
}

fn smuggled_promotion(e: &mut Evening) -> Attempt {
    let target = e.someone(&[Role::Listener]);
    let (me, next) = (e.mal.client.id(), e.mal.next_epoch());
    let part = e.mal.recharter(|charter| {
        charter.standings.remove(&key(target.id));
        role(charter, me, HOST, next);
    });
    (e.mal.commit(vec![remove(leaf(&target)), part]), Expect::Mal("make mal, a moderator, a host".into()))
}

fn step_down_with_seniority(e: &mut Evening) -> Attempt {
    let (me, mine, date) = (e.mal.client.id(), byte(e.my_role()), e.wrong_date());
    let to = e.rng.random_range(SPEAKER..mine);
    e.recharter(|charter| role(charter, me, to, date), "give a role another date")
}

fn promotion_with_seniority(e: &mut Evening) -> Attempt {
    let target = e.someone(&[Role::Listener]);
    let to = if e.seat == Seat::Host { e.a_role_above(LISTENER) } else { SPEAKER };
    let date = e.wrong_date();
    e.recharter(|charter| role(charter, target.id, to, date), "give a role another date")
}

fn seniority(e: &mut Evening) -> Attempt {
    let me = e.mal.client.id();
    let own = e.rng.random::<bool>() && e.my_role() != Role::Listener;
    let target = if own { me } else { e.someone(&[Role::Moderator, Role::Host]).id };
    let name = e.party.rooms[0].member(&target).unwrap().name.clone();
    let date = loop {
        let date = e.wrong_date();
        if e.mal.charter().standings[target.as_bytes()].since != date {
            break date;
        }
    };
    e.recharter(
        |charter| stand(charter, target, |standing| standing.since = date),
        format!("change since when {name} is a"),
    )
}

fn role_for_a_stranger(e: &mut Evening) -> Attempt {
    let stranger = [e.zed.id(), e.rex.client.id(), MemberId::from_bytes(e.rng.random())][e.rng.random_range(0..3)];
    let (to, next) = (e.a_role_above(LISTENER), e.mal.next_epoch());
    e.recharter(|charter| role(charter, stranger, to, next), "give a role to somebody who is not in the room")
}

fn hosts(e: &Evening) -> Vec<MemberId> {
    e.party.rooms[0].roster().filter(|member| member.role == Role::Host).map(|member| member.id).collect()
}

fn no_host(e: &mut Evening) -> Attempt {
    let (hosts, to, next) = (hosts(e), e.rng.random_range(LISTENER..HOST), e.mal.next_epoch());
    e.recharter(
        |charter| {
            hosts.iter().for_each(|host| role(charter, *host, to, next));
            charter.links.clear();
        },
        "leave the room without a host: make somebody else a host first",
    )
}

fn past_the_heir(e: &mut Evening) -> Attempt {
    let (hosts, me) = (hosts(e), e.mal.client.id());
    e.recharter(
        |charter| {
            hosts.iter().for_each(|host| role(charter, *host, LISTENER, 0));
            stand(charter, me, |standing| standing.leaving = true);
            charter.links.clear();
        },
        "leave the room without a host: a moderator takes over",
    )
}

fn leaving_for_another(e: &mut Evening) -> Attempt {
    let target = if e.seat == Seat::Host { e.someone(&EVERYBODY) } else { e.someone(&[Role::Listener]) };
    e.recharter(
        |charter| {
            role(charter, target.id, LISTENER, 0);
            stand(charter, target.id, |standing| standing.leaving = true);
            charter.links.retain(|_, link| link.issuer != key(target.id));
        },
        format!("say that {} is leaving", target.name),
    )
}

// ---- mutes ----

fn own_mute_lifted(e: &mut Evening) -> Attempt {
    let (me, role) = (e.mal.client.id(), e.my_role());
    e.mute(me, true);
    e.recharter(
        |charter| stand(charter, me, |standing| standing.muted_by = None),
        format!("let mal, a {role}, speak again"),
    )
}

fn muted_by_ana(e: &mut Evening, above: bool) -> parlor::Member {
    let ana = e.party.id("ana");
    let floor = FLOOR.contains(&e.seat);
    let target = e.someone_who(|member| member.id != ana && (floor || !above || member.role >= Role::Moderator));
    e.mute(target.id, true);
    target
}

fn mute_lifted(e: &mut Evening) -> Attempt {
    let target = muted_by_ana(e, true);
    e.recharter(
        |charter| stand(charter, target.id, |standing| standing.muted_by = None),
        format!("let {}, a {}, speak again", target.name, target.role),
    )
}

/// `target`, unmuted before, would be muted in the name of `by`.
fn muted(e: &mut Evening, target: &parlor::Member, by: MemberId) -> Attempt {
    e.mute(target.id, false);
    e.recharter(
        |charter| stand(charter, target.id, |standing| standing.muted_by = Some(key(by))),
        format!("mute {}, a {}", target.name, target.role),
    )
}

fn mute(e: &mut Evening) -> Attempt {
    let target = e.someone(&EVERYBODY);
    let by = e.mal.client.id();
    muted(e, &target, by)
}

fn mute_of_equals(e: &mut Evening) -> Attempt {
    let target = e.somebody_above();
    let by = e.mal.client.id();
    muted(e, &target, by)
}

fn mute_in_anothers_name(e: &mut Evening) -> Attempt {
    let target = e.somebody_below();
    let by = [e.party.id("ana"), e.zed.id(), target.id][e.rng.random_range(0..3)];
    let (message, _) = muted(e, &target, by);
    (message, Expect::Mal(format!("mute {}, a {}: who mutes somebody signs", target.name, target.role)))
}

fn mute_taken_over(e: &mut Evening) -> Attempt {
    let (target, by) = (muted_by_ana(e, false), key(e.mal.client.id()));
    e.recharter(
        |charter| stand(charter, target.id, |standing| standing.muted_by = Some(by)),
        format!("mute {}, a {}", target.name, target.role),
    )
}

fn mute_of_oneself(e: &mut Evening) -> Attempt {
    let (me, role) = (e.mal.client.id(), e.my_role());
    e.recharter(
        |charter| stand(charter, me, |standing| standing.muted_by = Some(key(me))),
        format!("mute mal, a {role}: nobody mutes themselves so"),
    )
}

fn mute_of_a_stranger(e: &mut Evening) -> Attempt {
    let (stranger, by) = ([e.zed.id(), e.rex.client.id()][e.rng.random_range(0..2)], key(e.mal.client.id()));
    e.recharter(
        |charter| stand(charter, stranger, |standing| standing.muted_by = Some(by)),
        "give a role to somebody who is not in the room",
    )
}

fn say(e: &mut Evening, words: &[u8]) -> Vec<u8> {
    let Mal { client, group } = &mut e.mal;
    group.create_message(&client.provider, &client.signer, words).unwrap().to_bytes().unwrap()
}

fn microphone_while_muted(e: &mut Evening) -> Attempt {
    let me = e.mal.client.id();
    e.mute(me, true);
    // The stance: a turn above all before, and no mark.
    let turn: u32 = e.mal.next_epoch() as u32;
    let words = [&[1, 2][..], &turn.to_be_bytes(), &[0]].concat();
    (say(e, &words), Expect::Nothing)
}

// ---- bans ----

fn ban(e: &mut Evening) -> Attempt {
    let id = if e.rng.random() { e.rng.random() } else { key(e.someone(&EVERYBODY).id) };
    e.recharter(
        |charter| {
            charter.banned.insert(id);
        },
        "ban ",
    )
}

fn ban_of_equals(e: &mut Evening) -> Attempt {
    let target = e.somebody_above();
    let out = e.rng.random();
    let part = e.mal.recharter(|charter| {
        charter.banned.insert(key(target.id));
        if out {
            charter.standings.remove(&key(target.id));
        }
    });
    let what = if out { "remove" } else { "ban" };
    let parts = out.then(|| remove(leaf(&target))).into_iter().chain([part]).collect();
    (e.mal.commit(parts), Expect::Mal(format!("{what} {}, a {}", target.name, target.role)))
}

fn ban_without_removal(e: &mut Evening) -> Attempt {
    let target = e.somebody_below();
    e.recharter(
        |charter| {
            charter.banned.insert(key(target.id));
        },
        format!("ban {}, a {}: who is banned is put out", target.name, target.role),
    )
}

fn ban_lifted(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.banned.clear(), "lift a ban")
}

// ---- settings ----

fn title(e: &mut Evening) -> Attempt {
    let title = format!("mine {}", e.rng.random::<u16>()).into_bytes();
    e.recharter(|charter| charter.title = title, "change the room's title")
}

fn topic(e: &mut Evening) -> Attempt {
    let topic = vec![b'x'; e.rng.random_range(1..500)];
    e.recharter(|charter| charter.topic = topic, "change the room's topic")
}

fn entry(e: &mut Evening) -> Attempt {
    let by = e.rng.random_range(1..3);
    e.recharter(|charter| charter.entry = (charter.entry + by) % 3, "change who may enter")
}

fn speaking(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.flags ^= EVERYBODY_SPEAKS, "change who may speak")
}

fn seals(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.flags ^= SEALS, "switch seals")
}

fn recording(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.flags ^= RECORDING, "recording")
}

fn capacity(e: &mut Evening) -> Attempt {
    let by = e.rng.random_range(1..u32::MAX);
    e.recharter(|charter| charter.capacity = charter.capacity.wrapping_add(by), "change how many fit in")
}

fn lock(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.flags ^= LOCKED, "lock the room")
}

fn suite_or_layout(e: &mut Evening) -> Attempt {
    let which = e.rng.random_range(0..3);
    e.recharter(
        |charter| match which {
            0 => charter.suite = 4,
            1 => charter.sender_bits += 1,
            _ => charter.epoch_bits -= 1,
        },
        "change the frame suite or the key-id layout",
    )
}

fn unreadable(e: &mut Evening) -> Attempt {
    let (mut charter, ben) = (e.mal.charter(), e.party.id("ben"));
    let next = e.mal.next_epoch();
    let bytes = match e.rng.random_range(0..9) {
        0 => Vec::new(),
        1 => {
            let bytes = charter.write();
            bytes[..e.rng.random_range(0..bytes.len())].to_vec()
        }
        2 => vec![0; e.rng.random_range(1..70_000)],
        which => {
            match which {
                3 => charter.version = e.rng.random_range(2..=u8::MAX),
                4 => charter.entry = e.rng.random_range(3..=u8::MAX),
                5 => charter.flags |= 32 << e.rng.random_range(0..3),
                6 => charter.spare = vec![0],
                // Somebody who is leaving, with a role.
                7 => drop(
                    charter
                        .standings
                        .insert(key(ben), Standing { role: HOST, since: next, leaving: true, muted_by: None }),
                ),
                // A listener who is listed for nothing.
                _ => {
                    charter.standings.insert(e.rng.random(), Standing::default());
                }
            }
            charter.write()
        }
    };
    let part = e.mal.recharter_to(bytes);
    (e.mal.commit(vec![part]), Expect::Mal("replace the room's settings".into()))
}

fn no_settings(e: &mut Evening) -> Attempt {
    let part = e.mal.extend(|extensions| {
        extensions.remove(ExtensionType::Unknown(CHARTER)).unwrap();
    });
    (e.mal.commit(vec![part]), Expect::Mal("replace the room's settings".into()))
}

fn end(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.flags |= ENDED, "end the room")
}

fn smuggled_end(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.flags = (charter.flags ^ LOCKED) | ENDED, "end the room")
}

// ---- links ----

fn link(e: &mut Evening) -> Attempt {
    e.with_link();
    let issuer = [e.mal.client.id(), e.party.id("ana")][e.rng.random_range(0..2)];
    let (id, link) = (e.rng.random(), e.link_of(issuer));
    e.recharter(
        |charter| {
            charter.links.insert(id, link);
        },
        "issue a link",
    )
}

fn link_in_anothers_name(e: &mut Evening) -> Attempt {
    e.with_link();
    let issuer = [e.party.id("ana"), e.party.id("mo"), e.hal.client.id(), e.zed.id()][e.rng.random_range(0..4)];
    let (id, link) = (e.rng.random(), e.link_of(issuer));
    e.recharter(
        |charter| {
            charter.links.insert(id, link);
        },
        "issue a link: a link names the host who issues it",
    )
}

fn link_terms(e: &mut Evening) -> Attempt {
    let (id, which, ana) = (e.with_link(), e.rng.random_range(0..4), key(e.party.id("ana")));
    e.recharter(
        |charter| {
            let link = charter.links.get_mut(&id).unwrap();
            match which {
                0 => link.role ^= 1,
                1 => link.one_shot ^= 1,
                2 => link.expires += 1,
                _ => link.issuer = ana,
            }
        },
        "change a link",
    )
}

fn link_without_office(e: &mut Evening) -> Attempt {
    e.with_link();
    let (hal, to, next) = (e.hal.client.id(), e.rng.random_range(LISTENER..HOST), e.mal.next_epoch());
    e.recharter(|charter| role(charter, hal, to, next), "keep a link: its issuer is no host any more")
}

fn link_without_issuer(e: &mut Evening) -> Attempt {
    e.with_link();
    let hal = e.party.rooms[0].member(&e.hal.client.id()).unwrap().clone();
    let part = e.mal.recharter(|charter| {
        charter.standings.remove(&key(hal.id));
    });
    (e.mal.commit(vec![remove(leaf(&hal)), part]), Expect::Mal("keep a link: its issuer is no host any more".into()))
}

fn link_by_invitation(e: &mut Evening) -> Attempt {
    if e.rng.random() {
        e.with_link();
    }
    let (id, link) = (e.rng.random(), e.link_of(e.mal.client.id()));
    e.recharter(
        |charter| {
            charter.entry = 0;
            if charter.links.is_empty() {
                charter.links.insert(id, link);
            }
        },
        "keep a link: people enter this room by invitation",
    )
}

fn link_revoked(e: &mut Evening) -> Attempt {
    let id = e.with_link();
    e.recharter(
        |charter| {
            charter.links.remove(&id);
        },
        "revoke a link",
    )
}

// ---- what no room takes ----

fn external_senders(e: &mut Evening) -> Attempt {
    let relay = Bare::new("relay");
    let sender = ExternalSender::new(relay.signer.public().into(), relay.credential("relay").credential);
    let part = e.mal.extend(|extensions| {
        extensions.add_or_replace(Extension::ExternalSenders(vec![sender])).unwrap();
    });
    (e.mal.commit(vec![part]), Expect::Mal("change the group's extensions".into()))
}

fn required_capabilities(e: &mut Evening) -> Attempt {
    let twice = e.rng.random();
    let part = e.mal.extend(|extensions| {
        let basic = [CredentialType::Basic; 2];
        let others = if twice { &basic[..] } else { &[] };
        let others = RequiredCapabilitiesExtension::new(&[ExtensionType::Unknown(CHARTER)], &[], others);
        extensions.add_or_replace(Extension::RequiredCapabilities(others)).unwrap();
    });
    (e.mal.commit(vec![part]), Expect::Mal("change the group's extensions".into()))
}

fn credential(e: &mut Evening) -> Attempt {
    let name = e.someone(&EVERYBODY).name;
    let name = if e.rng.random() { name } else { format!("mal{}", e.rng.random::<u8>()) };
    let leaf = LeafNodeParameters::builder().with_credential_with_key(e.mal.client.credential(&name)).build();
    (e.mal.commit_with(leaf, vec![]), Expect::Mal("change their credential".into()))
}

fn signature_key(e: &mut Evening) -> Attempt {
    let other = SignatureKeyPair::new(SUITE.signature_algorithm()).unwrap();
    let name = if e.rng.random() { "mal".into() } else { e.someone(&EVERYBODY).name };
    let Mal { client, group } = &mut e.mal;
    let provider = &client.provider;
    let credential_with_key = CredentialWithKey { signature_key: other.public().into(), ..client.credential(&name) };
    let bundle = group
        .commit_builder()
        .load_psks(provider.storage())
        .unwrap()
        .build_with_new_signer(
            provider.rand(),
            provider.crypto(),
            &client.signer,
            NewSignerBundle { signer: &other, credential_with_key },
            |_| true,
        )
        .unwrap()
        .stage_commit(provider)
        .unwrap();
    let commit = bundle.into_messages().0.to_bytes().unwrap();
    e.mal.abandon();
    (commit, Expect::Mal("change their signature key".into()))
}

fn own_leaf_with_extras(e: &mut Evening) -> Attempt {
    let bytes: [u8; 8] = e.rng.random();
    let extension = Extension::ApplicationId(ApplicationIdExtension::new(&bytes));
    let leaf = LeafNodeParameters::builder().with_extensions(Extensions::single(extension).unwrap()).build();
    (e.mal.commit_with(leaf, vec![]), Expect::Mal("drop a capability or swell their leaf".into()))
}

fn own_leaf_swollen(e: &mut Evening) -> Attempt {
    let leaf = LeafNodeParameters::builder().with_capabilities(swollen(e)).build();
    (e.mal.commit_with(leaf, vec![]), Expect::Mal("drop a capability or swell their leaf".into()))
}

fn past_key(e: &mut Evening) -> Attempt {
    let past = Psk::Resumption(ResumptionPsk::new(
        ResumptionPskUsage::Application,
        e.mal.group.group_id().clone(),
        e.mal.group.epoch(),
    ));
    let id = PreSharedKeyId::new(SUITE, e.mal.client.provider.rand(), past).unwrap();
    // Who made the room can read the commit to its end, and so names mal; the others know that a member signed it.
    (e.mal.commit(vec![psk(id)]), Expect::Either("inject a pre-shared key"))
}

fn outside_key(e: &mut Evening) -> Attempt {
    let (name, secret): ([u8; 16], [u8; 32]) = (e.rng.random(), e.rng.random());
    let known = Psk::External(ExternalPsk::new(name.to_vec()));
    let id = PreSharedKeyId::new(SUITE, e.mal.client.provider.rand(), known).unwrap();
    id.store(&e.mal.client.provider, &secret).unwrap();
    (e.mal.commit(vec![psk(id)]), Expect::Somebody("inject a pre-shared key"))
}

fn external_init(e: &mut Evening) -> Attempt {
    // On the wire: the output of a key encapsulation.
    let kem: [u8; 32] = e.rng.random();
    let init = ExternalInitProposal::tls_deserialize_exact_bytes(&[&[32][..], &kem].concat()).unwrap();
    let part = Part::Proposal(Box::new(Proposal::ExternalInit(Box::new(init))));
    (e.mal.commit(vec![part]), Expect::Somebody("commit what MLS forbids"))
}

/// A proposal of mal's outside a commit.
fn proposal(e: &mut Evening) -> Vec<u8> {
    let target = leaf(&e.someone(&EVERYBODY));
    let which = e.rng.random_range(0..4);
    let Mal { client, group } = &mut e.mal;
    let (provider, signer) = (&client.provider, &client.signer);
    let message = match which {
        0 => group.propose_add_member(provider, signer, &Bare::new("ghost").key_package()).unwrap().0,
        1 => group.propose_remove_member(provider, signer, target).unwrap().0,
        2 => {
            let mut charter = Charter::read(&group.extensions().unknown(CHARTER).unwrap().0);
            charter.give(key(client.id()), HOST, group.epoch().as_u64() + 1);
            let mut extensions = group.extensions().clone();
            extensions.add_or_replace(Extension::Unknown(CHARTER, UnknownExtension(charter.write()))).unwrap();
            group.propose_group_context_extensions(provider, extensions, signer).unwrap().0
        }
        _ => group.propose_self_update(provider, signer, LeafNodeParameters::default()).unwrap().0,
    };
    message.to_bytes().unwrap()
}

fn forget_proposals(e: &mut Evening) {
    e.mal.group.clear_pending_proposals(e.mal.client.provider.storage()).unwrap();
}

fn standalone(e: &mut Evening) -> Attempt {
    let message = proposal(e);
    forget_proposals(e);
    (message, Expect::Mal("send a proposal outside a commit".into()))
}

fn by_reference(e: &mut Evening) -> Attempt {
    let target = leaf(&e.someone(&EVERYBODY));
    let Mal { client, group } = &mut e.mal;
    let proposed = group.propose_remove_member(&client.provider, &client.signer, target).unwrap().0;
    for events in e.party.deliver(&proposed.to_bytes().unwrap()) {
        assert!(matches!(events[..], [Event::Refused { .. }]), "{:?}", gists(&events));
    }
    let commit = e.mal.commit(vec![]);
    forget_proposals(e);
    (commit, Expect::Somebody("commit a proposal by reference"))
}

fn in_the_clear(e: &mut Evening) -> Attempt {
    let config = |policy| MlsGroupJoinConfig::builder().wire_format_policy(policy).number_of_resumption_psks(1).build();
    let policies = [PURE_PLAINTEXT_WIRE_FORMAT_POLICY, PURE_CIPHERTEXT_WIRE_FORMAT_POLICY];
    let mut commit = Vec::new();
    for policy in policies {
        e.mal.group.set_configuration(e.mal.client.provider.storage(), &config(policy)).unwrap();
        if commit.is_empty() {
            commit = e.mal.commit(vec![]);
        }
    }
    (commit, Expect::Fails(|error| error.to_string().contains("members' messages are encrypted")))
}

fn invitation(e: &mut Evening) -> Attempt {
    let whom = e.someone(&[Role::Listener]);
    let words = [&[1, 3][..], whom.id.as_bytes()].concat();
    (say(e, &words), Expect::Mal(format!("invite {} to speak", whom.name)))
}

fn garbled_words(e: &mut Evening) -> Attempt {
    let words: &[&[u8]] = &[&[], &[1], &[1, 1], &[1, 2, 0, 0, 0, 9, 4], &[1, 3, 7], &[1, 4, 2], &[1, 8, 0]];
    let words = words[e.rng.random_range(0..words.len())];
    (say(e, words), Expect::Fails(|error| matches!(error, Error::Malformed { what: Item::Message, .. })))
}

// ---- the relay ----

fn external_commit(e: &mut Evening) -> Attempt {
    let name = e.someone(&EVERYBODY).name;
    let outsider = Bare::new(&name);
    let info = e.mal.group.export_group_info(e.mal.client.provider.crypto(), &e.mal.client.signer, true).unwrap();
    let info = MlsMessageIn::tls_deserialize_exact_bytes(&info.to_bytes().unwrap()).unwrap();
    let MlsMessageBodyIn::GroupInfo(info) = info.extract() else { panic!() };
    let (_, bundle) = MlsGroup::external_commit_builder()
        .with_config(join_config())
        .build_group(&outsider.provider, info, outsider.credential(&name))
        .unwrap()
        .leaf_node_parameters(LeafNodeParameters::builder().with_capabilities(capabilities()).build())
        .load_psks(outsider.provider.storage())
        .unwrap()
        .build(outsider.provider.rand(), outsider.provider.crypto(), &outsider.signer, |_| true)
        .unwrap()
        .finalize(&outsider.provider)
        .unwrap();
    (bundle.into_contents().0.to_bytes().unwrap(), Expect::Somebody("enter by external commit"))
}

fn external_proposal(e: &mut Evening) -> Attempt {
    type Storage = <OpenMlsRustCrypto as OpenMlsProvider>::StorageProvider;
    let relay = Bare::new("relay");
    let (id, epoch) = (e.mal.group.group_id().clone(), e.mal.group.epoch());
    let message = if e.rng.random() {
        JoinProposal::new::<Storage>(relay.key_package(), id, epoch, &relay.signer).unwrap()
    } else {
        let target = leaf(&e.someone(&EVERYBODY));
        ExternalProposal::new_remove::<OpenMlsRustCrypto>(
            target,
            id,
            epoch,
            &relay.signer,
            SenderExtensionIndex::new(0),
        )
        .unwrap()
    };
    (message.to_bytes().unwrap(), Expect::Somebody("propose from outside"))
}

fn replay(e: &mut Evening) -> Attempt {
    let commit = e.log[e.rng.random_range(0..e.log.len())].clone();
    (commit, Expect::Late)
}

fn late_loser(e: &mut Evening) -> Attempt {
    let ben = e.party.id("ben");
    let lost = match e.rng.random_range(0..3) {
        0 => e.party.named("ana").refresh(),
        1 => e.party.named("ana").ban(&ben),
        _ => e.party.named("ben").refresh(),
    };
    e.honest("eve", Room::refresh);
    (lost.unwrap(), Expect::Late)
}

fn bit_flip(e: &mut Evening) -> Attempt {
    let mut commit = e.mal.commit(vec![]);
    let at = e.rng.random_range(0..commit.len());
    commit[at] ^= e.rng.random_range(1..=u8::MAX);
    (commit, Expect::Fails(|_| true))
}

fn wrong_length(e: &mut Evening) -> Attempt {
    let mut commit = e.mal.commit(vec![]);
    if e.rng.random() {
        commit.truncate(e.rng.random_range(0..commit.len()));
    } else {
        commit.extend(vec![e.rng.random::<u8>(); e.rng.random_range(1..300)]);
    }
    (commit, Expect::Fails(|_| true))
}

fn another_room(e: &mut Evening) -> Attempt {
    let client = Bare::new("mal");
    let id = if e.rng.random() { e.mal.group.group_id().clone() } else { GroupId::random(client.provider.rand()) };
    let config = MlsGroupCreateConfig::builder()
        .ciphersuite(SUITE)
        .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .capabilities(capabilities())
        .with_group_context_extensions(e.mal.group.extensions().clone())
        .build();
    let group = MlsGroup::new_with_group_id(&client.provider, &client.signer, &config, id, client.credential("mal"));
    let commit = Mal { client, group: group.unwrap() }.commit(vec![]);
    let now = e.mal.group.epoch().as_u64();
    (renumbered(commit, now), Expect::Fails(|error| matches!(error, Error::Unauthentic { .. })))
}

fn wrong_kind(e: &mut Evening) -> Attempt {
    let message = match e.rng.random_range(0..3) {
        0 => MlsMessageOut::from(e.zed.key_package()).to_bytes().unwrap(),
        1 => {
            let ghosts = e.ghosts(2);
            let (_, welcome) = e.mal.commit_and_welcome(LeafNodeParameters::default(), ghosts);
            e.mal.abandon();
            welcome.unwrap()
        }
        _ => {
            let crypto = e.mal.client.provider.crypto();
            e.mal.group.export_group_info(crypto, &e.mal.client.signer, true).unwrap().to_bytes().unwrap()
        }
    };
    (message, Expect::Fails(|error| matches!(error, Error::Malformed { what: Item::Message, .. })))
}

// ---- out of their time ----

/// `message`, a PrivateMessage, said to be of another epoch: version (2), wire format (2), group id, epoch (8).
fn renumbered(mut message: Vec<u8>, epoch: u64) -> Vec<u8> {
    let at = 2 + 2 + 1 + usize::from(message[4]);
    message[at..at + 8].copy_from_slice(&epoch.to_be_bytes());
    message
}

fn stale(e: &mut Evening) -> Attempt {
    let parts = if e.rng.random() { e.ghosts(2) } else { vec![] };
    let commit = e.mal.commit(parts);
    for _ in 0..e.rng.random_range(1..4) {
        e.honest("ben", Room::refresh);
    }
    (commit, Expect::Fails(|error| matches!(error, Error::WrongEpoch { .. })))
}

fn stale_renumbered(e: &mut Evening) -> Attempt {
    let (commit, _) = stale(e);
    let now = e.mal.group.epoch().as_u64();
    (renumbered(commit, now), Expect::Fails(|error| matches!(error, Error::Unauthentic { .. })))
}

fn of_the_removed(e: &mut Evening) -> Attempt {
    let parts = if e.rng.random() { e.ghosts(2) } else { vec![] };
    let commit = e.rex.commit(parts);
    (commit, Expect::Fails(|error| matches!(error, Error::WrongEpoch { .. })))
}

fn of_the_removed_renumbered(e: &mut Evening) -> Attempt {
    let (commit, _) = of_the_removed(e);
    let now = e.mal.group.epoch().as_u64();
    (renumbered(commit, now), Expect::Fails(|error| matches!(error, Error::Unauthentic { .. })))
}

// ---- frames ----

#[test]
fn a_patched_listener_is_not_played_whatever_keys_she_derives() {
    let seeds = std::env::var("PARLOR_SEEDS").map_or(50, |n| n.parse().expect("seeds are numbers"));
    let tried: u64 = (0..seeds).map(transmit).sum();
    println!("{seeds} rooms, {tried} frames judged that are sealed with keys of who is off stage: 0 played");
    assert!(tried > seeds * 50);
}

/// She knows the base key, and with it everybody's frame keys: a claim to be somebody on stage is for seals to stop.
/// Here she claims to be herself, on every stream and in the epoch before too, and everybody else off stage.
fn transmit(seed: u64) -> u64 {
    let mut rng = StdRng::seed_from_u64(seed);
    let suite = [Suite::ChaCha20Poly1305, Suite::Aes128Gcm, Suite::Aes256Gcm][rng.random_range(0..3)];
    let layout = KeyIdLayout::new(rng.random_range(3..13), rng.random_range(4..9)).unwrap();
    let settings = Settings::default().with_suite(suite).with_layout(layout);
    let mut people = room_of(settings, &[("mo", Role::Moderator), ("ben", Role::Speaker), ("eve", Role::Listener)]);
    let (client, was_speaker) = (Bare::new("mal"), rng.random());
    let (id, role) = (client.id(), if was_speaker { Role::Speaker } else { Role::Listener });
    let admission = people[0].room.admit(&client.card(), role).unwrap();
    people.iter_mut().for_each(|person| person.receive(&admission.commit, NOW).unwrap());
    let mut mal = client.enter(&admission);
    let mut keys = vec![Keys::of(&mal, suite)];
    let by = rng.random_range(0..2);
    // Off the stage, or listening on.
    let commit = match (was_speaker, rng.random::<bool>()) {
        (true, true) => people[by].room.mute(&id),
        (true, false) => people[by].room.set_role(&id, Role::Listener),
        (false, _) => people[by].room.refresh(),
    };
    let commit = commit.unwrap();
    people.iter_mut().for_each(|person| person.receive(&commit, NOW).unwrap());
    mal.follow(&commit);
    keys.push(Keys::of(&mal, suite));

    let me = LeafIndex(mal.group.own_leaf_index().u32());
    let roster: Vec<_> = people[0].room.roster().cloned().collect();
    let off_stage: Vec<_> = roster.iter().filter(|m| !m.role.on_stage() || m.muted_by.is_some()).collect();
    assert!(off_stage.iter().any(|member| member.leaf == me));
    let mut tried = 0;
    for (claimed, keys) in off_stage.iter().flat_map(|claimed| keys.iter().map(move |keys| (claimed, keys))) {
        for stream in [0, 0, 0, 0, 0, 0, 1, 2, 3] {
            let kid = layout.key_id(stream, claimed.leaf, keys.epoch).unwrap();
            let counter = rng.random_range(0..1_000);
            let backend = Backend::ALL[rng.random_range(0..Backend::ALL.len())];
            let mut sealer = Sealer::new(suite, backend, &keys.base, kid, counter).unwrap();
            let frame: Vec<u8> = (0..rng.random_range(1..200)).map(|_| rng.random()).collect();
            let mut packet = vec![0; frame.len() + sealer.overhead()];
            sealer.seal_into(b"", &frame, &mut packet).unwrap();
            for person in people.iter_mut().filter(|person| person.id != claimed.id) {
                tried += 1;
                let refused = person.voice.open(&packet, NOW).unwrap_err();
                // A stream that nobody plays is refused before, whoever's it is.
                if stream > 0 && matches!(refused, Error::Malformed { .. }) {
                    continue;
                }
                let Error::NotOnStage { leaf, .. } = refused else { panic!("seed {seed}: {refused}") };
                let who = person.room.roster().find(|member| member.leaf == leaf).unwrap();
                assert_eq!((who.id, leaf), (claimed.id, claimed.leaf), "seed {seed}");
                assert_eq!(leaf == me, who.id == id, "seed {seed}");
            }
        }
    }
    // It is the stage that stops them, not the form.
    let packet = people[1].voice.seal(b"heard").unwrap();
    assert_eq!(people[0].voice.open(&packet, NOW).unwrap().speaker, people[1].id);
    tried
}

/// What a member of an epoch derives every frame key from.
struct Keys {
    epoch: u64,
    base: Vec<u8>,
}

impl Keys {
    fn of(mal: &Mal, suite: Suite) -> Self {
        let (crypto, len) = (mal.client.provider.crypto(), suite.key_len());
        let base = mal.group.export_secret(crypto, "SFrame 1.0 Base Key", &[], len).unwrap();
        Self { epoch: mal.group.epoch().as_u64(), base }
    }
}
