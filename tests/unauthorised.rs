//! Every kind of change that somebody may not make, made in earnest: by a listener, a speaker, a moderator, a host
//! beyond a host's rights, one who was a host, one who was removed, and the relay.
//!
//! One seed is one history of five rooms, mal in another role in each: other people, settings, leaves, targets and
//! values with every seed. Each attempt must be refused by every honest member, with who wanted what wherever that
//! is provable, must leave each of them as it was, and must leave the room able to go on. After each allowed commit a
//! fresh guest must be able to enter and to hear. `PARLOR_SEEDS` sets how many seeds are played, `PARLOR_SEED` plays one.
//!
//! `PARLOR_SEEDS=1000 cargo test --release --test unauthorised -- --nocapture`

mod party;
#[path = "unauthorised/people.rs"]
mod people;
#[path = "unauthorised/returns.rs"]
mod returns;
#[path = "unauthorised/settings.rs"]
mod settings;
#[path = "unauthorised/wire.rs"]
mod wire;

use std::collections::BTreeSet;

use openmls::prelude::*;
use parlor::{
    Error, Event, KeyIdLayout, LeafIndex, MemberId, Role, Room, Settings, Suite,
    media::{
        seal::{Proof, SealMode, Unsealed},
        sframe::{Backend, Sealer},
    },
    room::{Entry, Setting, Speaking},
};
use party::{
    NOW, Party,
    charter::{Charter, HOST, Key, LISTENER, Link, MODERATOR, SPEAKER, Standing},
    gists, guest,
    mal::{Bare, Mal, Part, add, state},
    room_of, words,
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
    ("a ghost, let in by who may not", FLOOR, people::ghost),
    ("a ghost with a role, let in by who may not", NO_HOST, people::ghost_with_a_role),
    ("somebody banned", DOOR, people::banned),
    ("somebody banned, the ban lifted by the same commit", DOOR, people::banned_and_lifted),
    ("into a locked room", DOOR, people::into_a_locked_room),
    ("into a full room", DOOR, people::into_a_full_room),
    ("into a full room, made larger by the same commit", HOSTS, people::into_a_room_made_larger),
    ("under a name nobody could show", DOOR, people::unshowable_name),
    ("with a card valid for years", DOOR, people::long_card),
    ("with a door key in their leaf that is none", DOOR, people::leaf_with_extras),
    ("with a swollen leaf", DOOR, people::swollen_card),
    ("with a key that is in the tree", DOOR, people::card_with_a_key_of_the_tree),
    ("with media keys of another's", DOOR, people::card_with_false_media_keys),
    ("in a role with a forged date", DOOR, people::newcomer_with_seniority),
    ("muted or leaving from the start", DOOR, people::newcomer_with_marks),
    // Who goes.
    ("removal by who may not", FLOOR, people::removal),
    ("removal of a host or a moderator by a moderator", MODERATORS, people::removal_of_equals),
    ("removal of several, one of them a host", MODERATORS, people::removal_among_others),
    ("removal of a member but not of their role", DOOR, people::removal_without_role),
    // Who comes back.
    ("a member brought back by who may not", FLOOR, returns::by_nobody),
    ("a host brought back by a card alone", MODERATORS, returns::without_a_word),
    ("a host brought back by a word that does not count", MODERATORS, returns::by_a_word_that_does_not_count),
    ("a host brought back by a word that is not noted", MODERATORS, returns::by_a_word_that_is_not_noted),
    ("a host brought back in another role, unmuted, or with another date", MODERATORS, returns::changed),
    ("the same by a host, not quite anew", HOSTS, returns::changed_by_a_host),
    ("a return noted of who was never away", ALL, returns::noted_of_who_never_left),
    // Roles.
    ("raising one's own role", NO_HOST, people::own_promotion),
    ("promotion of an accomplice", FLOOR, people::accomplice),
    ("appointment by a moderator", MODERATORS, people::appointment),
    ("demotion by who may not", NO_HOST, people::demotion),
    ("a right removal with a wrong promotion", MODERATORS, people::smuggled_promotion),
    ("stepping down to a role of forged age", DOOR, people::step_down_with_seniority),
    ("a role of forged age for another", DOOR, people::promotion_with_seniority),
    ("another age for a role", ALL, people::seniority),
    ("a role for somebody outside", ALL, people::role_for_a_stranger),
    ("a room without a host", HOSTS, people::no_host),
    ("leaving past the heir", HOSTS, people::past_the_heir),
    ("leaving, said for another", ALL, people::leaving_for_another),
    // Mutes.
    ("speaking again by oneself", NO_HOST, people::own_mute_lifted),
    ("letting another speak again", NO_HOST, people::mute_lifted),
    ("a mute by who may not", FLOOR, people::mute),
    ("a mute of a host or a moderator by a moderator", MODERATORS, people::mute_of_equals),
    ("a mute in another's name", DOOR, people::mute_in_anothers_name),
    ("a mute taken over from who made it", FLOOR, people::mute_taken_over),
    ("a mute of oneself", ALL, people::mute_of_oneself),
    ("a mute of somebody outside", ALL, people::mute_of_a_stranger),
    ("a microphone switched on while muted", ALL, people::microphone_while_muted),
    // Bans.
    ("a ban by who may not", FLOOR, people::ban),
    ("a ban of a host or a moderator by a moderator", MODERATORS, people::ban_of_equals),
    ("a ban of a member who stays", DOOR, people::ban_without_removal),
    ("a ban lifted by who may not", NO_HOST, people::ban_lifted),
    // Settings.
    ("another title", NO_HOST, settings::title),
    ("another topic", NO_HOST, settings::topic),
    ("another way in", NO_HOST, settings::entry),
    ("other speakers", NO_HOST, settings::speaking),
    ("other seals", NO_HOST, settings::seals),
    ("recording allowed or forbidden", NO_HOST, settings::recording),
    ("another capacity", NO_HOST, settings::capacity),
    ("the lock, by who may not", FLOOR, settings::lock),
    ("another suite or layout", ALL, settings::suite_or_layout),
    ("deniable words made evidence, or evidence deniable", ALL, settings::proof),
    ("settings that cannot be read", ALL, settings::unreadable),
    ("no settings at all", ALL, settings::no_settings),
    ("the room's end", NO_HOST, settings::end),
    ("the room's end beside a right lock", MODERATORS, settings::smuggled_end),
    // The garden.
    ("members asked to commit by who may not", FLOOR, settings::garden),
    ("somebody asked to commit who is not there", DOOR, settings::garden_of_nobody),
    ("members asked to commit for ever", DOOR, settings::garden_for_ever),
    // Links.
    ("a link by who may not", NO_HOST, settings::link),
    ("a link in another host's name", HOSTS, settings::link_in_anothers_name),
    ("other terms for a link", ALL, settings::link_terms),
    ("a link that outlives its issuer's office", HOSTS, settings::link_without_office),
    ("a link that outlives its issuer's stay", HOSTS, settings::link_without_issuer),
    ("a link in a room of invitations", HOSTS, settings::link_by_invitation),
    ("a link revoked by who may not", FLOOR, settings::link_revoked),
    // What no room takes.
    ("an outsider who may propose", ALL, wire::external_senders),
    ("other required capabilities", ALL, wire::required_capabilities),
    ("another's name", ALL, wire::credential),
    ("another signature key", ALL, wire::signature_key),
    ("a door key in one's own leaf that is none", ALL, wire::own_leaf_with_extras),
    ("one's own leaf swollen", ALL, wire::own_leaf_swollen),
    ("media keys that are not one's own", ALL, wire::false_media_keys),
    ("a key of the group's past", ALL, wire::past_key),
    ("a key from outside", ALL, wire::outside_key),
    ("an external init from inside", ALL, wire::external_init),
    ("proposals by reference", ALL, wire::by_reference),
    ("a proposal of its own", ALL, wire::standalone),
    ("a commit in the clear", ALL, wire::in_the_clear),
    ("an invitation to speak by who may not", FLOOR, wire::invitation),
    ("words of no form", ALL, wire::garbled_words),
    ("a word in another's name", ALL, wire::word_in_anothers_name),
    ("another's word, sealed again", ALL, wire::word_said_again),
    ("an MLS application message", ALL, wire::application_message),
    // The relay, with what a member may have leaked to it.
    ("the relay's external commit", ALL, wire::external_commit),
    ("the relay's external proposal", ALL, wire::external_proposal),
    ("a commit said again", ALL, wire::replay),
    ("a commit that lost its race, later", ALL, wire::late_loser),
    ("a commit with a byte changed", ALL, wire::bit_flip),
    ("a commit cut short or drawn out", ALL, wire::wrong_length),
    ("a commit of another room", ALL, wire::another_room),
    ("a message that is no control message", ALL, wire::wrong_kind),
    // Out of their time.
    ("a commit of an epoch gone by", ALL, wire::stale),
    ("a commit of an epoch gone by under the epoch's number", ALL, wire::stale_renumbered),
    ("a commit of a removed member", ALL, wire::of_the_removed),
    ("a commit of a removed member under the epoch's number", ALL, wire::of_the_removed_renumbered),
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
    let add = |(judged, guests): (u64, u64), (more, others): (u64, u64)| (judged + more, guests + others);
    let (judged, guests) = std::thread::scope(|scope| {
        let (even, odd): (Vec<u64>, Vec<u64>) = seeds.iter().partition(|seed| *seed % 2 == 0);
        let threads = [even, odd].map(|seeds| scope.spawn(move || seeds.into_iter().map(play).fold((0, 0), add)));
        threads.into_iter().map(|thread| thread.join().unwrap()).fold((0, 0), add)
    });
    println!(
        "{} kinds of unauthorised change x {} seeds: {} attempts, each judged by all honest members ({judged} \
         judgements): 0 merged; {guests} allowed commits, after each of which a guest entered and heard",
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

/// Every kind once, each from one of the places it is for. Gives back how often an honest member judged one, and how
/// many guests entered.
fn play(seed: u64) -> (u64, u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut by_seat: Vec<(Seat, &Kind)> =
        KINDS.iter().map(|kind| (kind.1[rng.random_range(0..kind.1.len())], kind)).collect();
    by_seat.shuffle(&mut rng);
    let (mut judged, mut guests) = (0, 0);
    for seat in SEATS {
        let at = At(seed, seat, "to be there at all");
        let mut evening = Evening::new(&mut rng, seat);
        drop(at);
        for (_, (name, _, make)) in by_seat.iter().filter(|(of, _)| *of == seat) {
            let _at = At(seed, seat, name);
            let (message, expect) = make(&mut evening);
            judged += evening.judged(&message, &expect);
        }
        guests += evening.guests;
    }
    (judged, guests)
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
    /// Whether somebody makes the next honest commit who may not moderate.
    others_turn: bool,
    /// How many words mal has said.
    said: u64,
    /// How many guests have entered, each after an allowed commit.
    guests: u64,
}

impl Evening {
    fn new(rng: &mut StdRng, seat: Seat) -> Self {
        let mut rng = StdRng::seed_from_u64(rng.random());
        let layout = KeyIdLayout::new(rng.random_range(5..13), rng.random_range(5..10)).unwrap();
        let entry = [Entry::Invited, Entry::Link, Entry::Knock][rng.random_range(0..3)];
        let proof = if rng.random() { Proof::Deniable } else { Proof::Evidence };
        let mut settings = Settings::default().with_layout(layout).with_proof(proof);
        for setting in [
            Setting::Title(["", "a room", "Küche"][rng.random_range(0..3)].into()),
            Setting::Entry(entry),
            Setting::Speaking(if rng.random() { Speaking::Everybody } else { Speaking::OnStage }),
            Setting::Seals([SealMode::Off, SealMode::Live, SealMode::Strict][rng.random_range(0..3)]),
            Setting::SealEvery(rng.random_range(1..=50)),
            Setting::Unsealed(if rng.random() { Unsealed::Play } else { Unsealed::Hold }),
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
            let card = if name == "hal" { client.card_with_door() } else { client.card() };
            let admission = party.rooms[0].admit(&card, role).unwrap();
            party.deliver(&admission.commit);
            inside.iter_mut().for_each(|mal| mal.follow(&admission.commit));
            inside.push(client.enter(&admission));
            log.push(admission.commit);
        }
        let mut take = |name| inside.remove(inside.iter().position(|mal| mal.client.name == name).unwrap());
        let (mal, hal, rex) = (take("mal"), take("hal"), take("rex"));
        let mut evening = Self {
            rng,
            seat,
            party,
            mal,
            hal,
            rex,
            zed: Bare::new("zed"),
            log,
            others_turn: false,
            said: 0,
            guests: 0,
        };
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

    /// Hands an allowed commit to every honest member; after it a fresh guest enters and hears.
    #[track_caller]
    fn deliver(&mut self, commit: &[u8]) {
        for events in self.party.deliver(commit) {
            assert!(matches!(events[0], Event::Rekeyed(_)), "{:?}", gists(&events));
        }
        self.party.a_guest_enters();
        self.guests += 1;
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

    /// A word of mal's to everybody that says `said`.
    fn say(&mut self, said: &[u8]) -> Vec<u8> {
        self.said += 1;
        words::say(&self.mal, self.said, said)
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
        // Those who may moderate by turns with the others, who may not commit too often in a row.
        let by = [["ana", "mo"], ["ben", "eve"]][usize::from(self.others_turn)][self.rng.random_range(0..2)];
        self.others_turn = !self.others_turn;
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
