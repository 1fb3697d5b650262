//! Two hosts and a moderator act at once, and the relay puts what they do in any order.
//!
//! One schedule is one seed and one room. In each step members issue commands, most of them against the same epoch,
//! some while they are behind; the relay puts the commits in an order of its own and delivers all of them to
//! everybody, to each at another pace. Who loses a race is told and tries again, until it is done or refused. After
//! each step, once all have caught up, they agree on everything, and each command has come to what it was for or to a
//! report that it has not. Into each epoch a fresh guest comes, and hears.
//!
//! `PARLOR_SCHEDULES=10000 cargo test --release --test races -- --nocapture` plays them in full number;
//! `PARLOR_SEED` plays one.

mod party;

use parlor::{
    Admission, Error, Event, Guest, Intent, KeyIdLayout, Member, MemberId, Role, Room, RoomCode, Settings,
    media::seal::SealMode,
    room::{Entry, Retried, Setting, Speaking, door::LinkEntry},
};
use party::{NOW, Party, enter, gists, guest, visit};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

/// What a word begins with, which is no commit.
const WORD: u8 = 4;

#[derive(Default)]
struct Tally {
    commands: u64,
    commits: u64,
    lost: u64,
    done_by_others: u64,
    /// Reported to who asked: denied, or of no use any more, or one is out.
    reported: u64,
    applied: u64,
    listen_only: u64,
    ended: u64,
    /// Epochs into which a fresh guest came, and those that nobody could let anybody into.
    guests: u64,
    shut: u64,
}

impl Tally {
    fn add(self, other: Self) -> Self {
        Self {
            commands: self.commands + other.commands,
            commits: self.commits + other.commits,
            lost: self.lost + other.lost,
            done_by_others: self.done_by_others + other.done_by_others,
            reported: self.reported + other.reported,
            applied: self.applied + other.applied,
            listen_only: self.listen_only + other.listen_only,
            ended: self.ended + other.ended,
            guests: self.guests + other.guests,
            shut: self.shut + other.shut,
        }
    }
}

#[test]
fn who_acts_at_once_neither_forks_the_room_nor_loses_an_action_unsaid() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("seeds are numbers"));
    let seeds: Vec<u64> = match number("PARLOR_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("PARLOR_SCHEDULES").unwrap_or(500)).collect(),
    };
    let tally = std::thread::scope(|scope| {
        let (even, odd): (Vec<u64>, Vec<u64>) = seeds.iter().partition(|seed| *seed % 2 == 0);
        let threads = [even, odd]
            .map(|seeds| scope.spawn(move || seeds.into_iter().map(play).fold(Tally::default(), Tally::add)));
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(Tally::default(), Tally::add)
    });
    let Tally { commands, commits, lost, done_by_others, reported, applied, listen_only, ended, guests, shut } = tally;
    println!(
        "{} schedules, {commands} commands, {commits} commits, {lost} lost their race: {applied} applied, \
         {done_by_others} done by others, {reported} reported; {listen_only} rooms went on listen-only, {ended} ended; \
         0 forks; into {guests} epochs a guest came and heard, {shut} had nobody who could let one in",
        seeds.len(),
    );
    assert_eq!(applied + done_by_others + reported, commands, "each command came to something");
    let few = seeds.len() < 100;
    assert!(few || guests > 10 * shut);
    assert!(few || lost > 0 && listen_only > 0 && ended > 0 && done_by_others > 0);
}

#[test]
fn who_is_leaving_is_given_no_role_by_a_host_who_has_not_seen_it() {
    let mut party = Party::new(&[("ana", Role::Host), ("bo", Role::Host), ("eve", Role::Listener)]);
    let bo = party.id("bo");
    let lost = Intent::SetRole(bo, Role::Speaker);
    party.named("ana").retry(&lost).unwrap();
    let leave = party.named("bo").leave().unwrap();
    party.deliver(&leave);
    for again in [lost, Intent::SetRole(bo, Role::Host), Intent::HandOver(bo)] {
        let Err(Error::Denied(why)) = party.named("ana").retry(&again) else { panic!("{again:?}") };
        assert!(why.action.contains("who is leaving"), "{why}");
    }
    let let_go = party.named("ana").remove(&bo).unwrap();
    party.deliver(&let_go);
    party.check();
}

#[test]
fn a_word_that_comes_back_too_late_is_heard_by_nobody() {
    let mut party = Party::new(&[("ana", Role::Host), ("ben", Role::Speaker), ("eve", Role::Listener)]);
    let ben = party.id("ben");
    for (epochs, heard) in [(2, true), (3, false)] {
        let words = [party.named("eve").raise_hand().unwrap(), party.named("ben").leave().unwrap()];
        for _ in 0..epochs {
            let commit = party.named("ana").refresh().unwrap();
            party.deliver(&commit);
        }
        for word in &words {
            for room in &mut party.rooms {
                let taken = room.receive(word, NOW);
                assert_eq!(taken.is_ok(), heard, "{room:?}: {taken:?}");
                assert!(heard || matches!(taken, Err(Error::WrongEpoch { .. })), "{room:?}: {taken:?}");
            }
        }
        for room in &party.rooms {
            assert_eq!((room.hands().len(), room.leaving().len()), (usize::from(heard), usize::from(heard)));
        }
        // Ben is let go and comes again, so that nobody wants anything.
        if heard {
            let lower = party.named("eve").lower_hand().unwrap();
            party.deliver(&lower);
            let let_go = party.named("ana").remove(&ben).unwrap();
            party.deliver(&let_go);
            party.rooms.retain(Room::is_open);
            party.admit(0, vec![(guest("ben"), Role::Speaker)]);
        }
    }
}

#[test]
fn who_is_let_into_a_small_room_whose_leaves_lie_far_apart_enters() {
    let names = ["bo", "cy", "di", "ed", "flo", "gil"].map(|name| (name, Role::Listener));
    let mut party = Party::new(&[&[("ana", Role::Host)], &names[..]].concat());
    let gone: Vec<MemberId> = ["cy", "di", "ed", "flo"].map(|name| party.id(name)).into();
    let removal = party.named("ana").remove_all(&gone).unwrap();
    party.deliver(&removal);
    party.rooms.retain(Room::is_open);
    let small = party.named("ana").set(Setting::Capacity(Some(4))).unwrap();
    party.deliver(&small);
    party.admit(0, vec![(guest("hal"), Role::Listener)]);
    assert!(party.rooms[0].roster().any(|member| member.leaf.0 > 4));
}

#[test]
fn a_change_of_settings_that_is_made_again_keeps_its_order() {
    let mut party = Party::new(&[("ana", Role::Host), ("bo", Role::Host)]);
    let twice = Intent::Set(vec![Setting::Title("first".into()), Setting::Title("last".into())]);
    party.named("ana").retry(&twice).unwrap();
    let won = party.named("bo").set_title("last").unwrap();
    party.deliver(&won);
    assert_eq!(party.named("ana").retry(&twice).unwrap(), Retried::Done);
    let other = party.named("bo").set_title("other").unwrap();
    party.deliver(&other);
    let again = party::commit_of(party.named("ana").retry(&twice).unwrap());
    party.deliver(&again);
    assert_eq!(party.rooms[1].settings().title(), "last");
}

/// Tells where it was if a test fails.
struct At(u64);

impl Drop for At {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("PARLOR_SEED={}", self.0);
        }
    }
}

fn play(seed: u64) -> Tally {
    let _at = At(seed);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut relay = Relay::new(&mut rng);
    for _ in 0..rng.random_range(3..8) {
        if relay.ends.iter().filter(|end| end.room.is_open()).count() < 2 {
            break;
        }
        relay.step(&mut rng);
    }
    relay.tally
}

/// Somebody's end of the room.
struct End {
    name: String,
    room: Room,
    /// How far they have read the relay's log.
    at: usize,
    /// The epoch they came in with.
    entered: u64,
    /// Their command that has not come to an end, and the welcome of its commit.
    action: Option<(Intent, Option<Admission>)>,
}

struct Relay {
    ends: Vec<End>,
    /// Who is not in, or not yet.
    guests: Vec<Guest>,
    /// What the relay has taken, in its order.
    log: Vec<Vec<u8>>,
    /// What is on its way to the relay.
    sent: Vec<Vec<u8>>,
    /// Whether the hosts are about to go, and no moderator is there.
    farewell: bool,
    /// The last epoch into which a fresh guest came.
    visited: u64,
    tally: Tally,
}

impl Relay {
    fn new(rng: &mut StdRng) -> Self {
        let farewell = rng.random_bool(0.2);
        let settings = Settings::default().with_layout(KeyIdLayout::new(rng.random_range(4..10), 6).unwrap());
        let mut people = vec![("bo", Role::Host), ("ben", Role::Speaker), ("eve", Role::Listener)];
        people.push(("mo", if farewell { Role::Speaker } else { Role::Moderator }));
        people.extend([("liv", Role::Listener), ("sam", Role::Speaker)].into_iter().filter(|_| rng.random_bool(0.4)));
        people.shuffle(rng);
        let mut party = Party::with(&[("ana", Role::Host)], settings);
        party.admit(0, people.iter().map(|(name, role)| (guest(name), *role)).collect());
        let ends = party.rooms.into_iter().map(|room| End {
            name: room.me().unwrap().name.clone(),
            entered: room.epoch(),
            room,
            at: 0,
            action: None,
        });
        let ends = ends.collect();
        let guests = ["gil", "gus", "guy"].map(guest).into();
        Self { ends, guests, log: Vec::new(), sent: Vec::new(), farewell, visited: 1, tally: Tally::default() }
    }

    /// Some act at once; all that comes of it comes to its end.
    fn step(&mut self, rng: &mut StdRng) {
        for index in 0..self.ends.len() {
            let room = &self.ends[index].room;
            let likely = match room.me().map(|me| me.role) {
                None => 0.0,
                Some(Role::Host | Role::Moderator) => 0.9,
                Some(_) if room.is_listen_only() => 0.5,
                Some(_) => 0.15,
            };
            if rng.random_bool(likely) {
                self.act(index, rng);
            }
        }
        let mut more = rng.random_range(0..3);
        loop {
            let behind: Vec<usize> =
                (0..self.ends.len()).filter(|index| self.ends[*index].at < self.log.len()).collect();
            if self.sent.is_empty() && behind.is_empty() {
                break;
            }
            assert!(self.log.len() < 2_000, "no end to the races");
            if more > 0 && rng.random_bool(0.05) {
                more -= 1;
                let index = rng.random_range(0..self.ends.len());
                self.act(index, rng);
            }
            if !self.sent.is_empty() && (behind.is_empty() || rng.random_bool(0.3)) {
                let next = rng.random_range(0..self.sent.len());
                self.log.push(self.sent.swap_remove(next));
            } else if !behind.is_empty() {
                let index = behind[rng.random_range(0..behind.len())];
                for _ in 0..rng.random_range(1..4) {
                    self.receive(index);
                }
            }
        }
        self.check();
        self.tally.shut = self.ends.iter().map(|end| end.room.epoch()).max().unwrap_or(0) - 1 - self.tally.guests;
        while self.guests.len() < 3 {
            self.guests.push(guest(&format!("guest {}", self.ends.len() + self.guests.len())));
        }
    }

    /// Everybody agrees, and who is in is exactly the roster.
    fn check(&self) {
        let open: Vec<&End> = self.ends.iter().filter(|end| end.room.is_open()).collect();
        let Some(first) = open.first() else { return };
        for end in &open {
            assert_eq!(View::of(&end.room), View::of(&first.room), "{} and {}: a fork", end.name, first.name);
            assert!(!end.room.is_pending() && end.action.is_none(), "{} waits for ever", end.name);
        }
        // Who came in later does not know what was said before.
        let mut old = open.iter().filter(|end| end.entered == 1);
        if let Some(first) = old.next() {
            assert!(old.all(|end| end.room.leaving().eq(first.room.leaving())), "who is leaving");
        }
        let mut here: Vec<MemberId> = open.iter().map(|end| end.room.me().unwrap().id).collect();
        let mut listed: Vec<MemberId> = first.room.roster().map(|member| member.id).collect();
        here.sort_unstable();
        listed.sort_unstable();
        assert_eq!(here, listed);
    }

    /// Has somebody want something, unless they wait for something already.
    fn act(&mut self, index: usize, rng: &mut StdRng) {
        let end = &self.ends[index];
        if end.action.is_some() || !end.room.is_open() {
            return;
        }
        if let Some(intent) = self.wish(&end.room, rng) {
            self.tally.commands += 1;
            self.issue(index, intent);
        }
    }

    /// Something that a member may want, allowed or not.
    fn wish(&self, room: &Room, rng: &mut StdRng) -> Option<Intent> {
        let me = room.me()?;
        let others: Vec<&Member> = room.roster().filter(|member| member.id != me.id).collect();
        let mut other = |fits: fn(&Member) -> bool| {
            let fit: Vec<_> = others.iter().filter(|member| fits(member)).collect();
            if fit.is_empty() { None } else { Some(fit[rng.random_range(0..fit.len())].id) }
        };
        let (someone, muted) = (other(|_| true), other(|member| member.muted_by.is_some()));
        let stranger = self.guests.first().map(|guest| guest.card().id());
        if self.farewell && me.role == Role::Host && rng.random_bool(0.4) {
            return Some(Intent::Leave);
        }
        let leaving = room.leaving().find(|id| **id != me.id).copied();
        if leaving.is_some() && rng.random_bool(if room.is_listen_only() { 0.7 } else { 0.3 }) {
            return leaving.map(|id| Intent::Remove(vec![id]));
        }
        let role =
            |rng: &mut StdRng| [Role::Listener, Role::Speaker, Role::Moderator, Role::Host][rng.random_range(0..4)];
        Some(match rng.random_range(0..100) {
            0..16 => {
                let mut cards = Vec::new();
                for guest in &self.guests {
                    if rng.random_bool(0.5) {
                        let role = if rng.random_bool(0.5) { Role::Listener } else { role(rng) };
                        cards.push((guest.card().clone(), role));
                    }
                }
                Intent::Admit(cards)
            }
            16..21 => Intent::Remove(vec![someone?, muted.or(someone)?]),
            21..27 => Intent::Ban(vec![if rng.random_bool(0.4) { stranger? } else { someone? }]),
            27..33 => Intent::LiftBan(room.banned().next().copied().or(someone)?),
            33..54 => Intent::SetRole(if rng.random_bool(0.2) { me.id } else { someone? }, role(rng)),
            54..60 => Intent::HandOver(if rng.random_bool(0.1) { me.id } else { someone? }),
            60..67 => Intent::Mute(someone?),
            67..73 => Intent::LiftMute(muted.or(someone)?),
            73..87 => {
                let members = u32::try_from(others.len()).unwrap() + 1;
                let setting = |rng: &mut StdRng| match rng.random_range(0..9) {
                    0 | 1 => Setting::Locked(rng.random_bool(0.3)),
                    2 => Setting::Capacity([None, Some(members), Some(members + 1)][rng.random_range(0..3)]),
                    3 => Setting::Entry([Entry::Invited, Entry::Link, Entry::Knock][rng.random_range(0..3)]),
                    4 => Setting::Title(format!("title {}", rng.random_range(0..3))),
                    5 => Setting::Topic(format!("topic {}", rng.random_range(0..3))),
                    6 => Setting::Seals([SealMode::Off, SealMode::Live, SealMode::Strict][rng.random_range(0..3)]),
                    7 => Setting::Recording(rng.random()),
                    _ => Setting::Speaking(if rng.random() { Speaking::Everybody } else { Speaking::OnStage }),
                };
                Intent::Set((0..rng.random_range(1..4)).map(|_| setting(rng)).collect())
            }
            87..92 => Intent::Leave,
            92..93 => Intent::End,
            _ => Intent::Refresh,
        })
    }

    /// Makes the message for `intent`, afresh or again. What cannot be made is reported to who wanted it.
    fn issue(&mut self, index: usize, mut intent: Intent) {
        let End { name, room, action, .. } = &mut self.ends[index];
        if let Intent::Admit(cards) = &mut intent {
            cards.retain(|(card, _)| room.member(&card.id()).is_none());
        }
        let before = View::of(room);
        let is_host = room.me().is_some_and(|me| me.role == Role::Host);
        let made = match intent {
            // All but hosts say that they are leaving, and nobody answers but by removing them.
            Intent::Leave if !is_host && !room.is_listen_only() => {
                self.sent.push(room.leave().unwrap());
                self.tally.applied += 1;
                return;
            }
            _ => room.retry(&intent),
        };
        assert_eq!(View::of(room), before, "a command changes nothing");
        match made {
            Ok(Retried::Admission(admission)) => {
                self.sent.push(admission.commit.clone());
                *action = Some((intent, Some(admission)));
                self.tally.commits += 1;
            }
            Ok(Retried::Commit(commit)) => {
                self.sent.push(commit);
                *action = Some((intent, None));
                self.tally.commits += 1;
            }
            Ok(Retried::Done) => {
                assert!(holds(room, &intent), "{name}: {intent:?}");
                self.tally.done_by_others += 1;
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                match &error {
                    Error::Denied(why) => assert_eq!(why.actor, *name, "{error}"),
                    Error::NotAMember { .. } | Error::Unusable { .. } => {}
                    _ => panic!("{name}: {intent:?}: {error}"),
                }
                assert!(!room.is_pending());
                self.tally.reported += 1;
            }
        }
    }

    /// The next message of the log, and what comes of it.
    fn receive(&mut self, index: usize) {
        let End { name, room, at, entered, action } = &mut self.ends[index];
        let Some(message) = self.log.get(*at) else { return };
        *at += 1;
        if !room.is_open() {
            return;
        }
        let (me, was_pending) = (room.me().unwrap().id, room.is_pending());
        let events = match room.receive(message, NOW) {
            Ok(events) => events,
            // A commit that lost its race, or a word from long ago.
            Err(Error::WrongEpoch { .. }) => return,
            Err(Error::Unauthentic { .. }) if room.epoch() <= *entered + 2 => return,
            // A word of somebody who has gone since.
            Err(Error::Unauthentic { .. }) if message.first() == Some(&WORD) => return,
            Err(error) => panic!("{name}: {error}"),
        };
        // The first who gets there and may lets a fresh guest in, before anything else is done.
        if room.epoch() > self.visited && visit::a_guest_enters([&mut *room]) {
            self.visited = room.epoch();
            self.tally.guests += 1;
        }
        let mut lost = None;
        for event in &events {
            match event {
                Event::Refused { why, .. } => panic!("{name} refuses what an honest member did: {why}"),
                Event::Superseded { intent, .. } => lost = Some(intent.clone()),
                Event::ListenOnly { by } if *by == me => self.tally.listen_only += 1,
                Event::Ended { by } if *by == me => self.tally.ended += 1,
                _ => {}
            }
        }
        if !room.is_open() {
            // Being out is the report, but to who ended the room.
            match (&events[..], action.take()) {
                ([Event::Ended { by }], Some((Intent::End, _))) if *by == me => self.tally.applied += 1,
                ([Event::Ended { .. } | Event::Closed { .. }], Some(_)) => self.tally.reported += 1,
                ([Event::Ended { .. } | Event::Closed { .. }], None) => {}
                _ => panic!("{name}: {:?}", gists(&events)),
            }
        } else if let Some(intent) = lost {
            assert!(action.take().is_some());
            self.tally.lost += 1;
            self.issue(index, intent);
        } else if was_pending && !room.is_pending() {
            let (intent, admission) = action.take().unwrap();
            assert!(holds(room, &intent), "{name}: {intent:?}");
            self.tally.applied += 1;
            let at = *at;
            if let (Intent::Admit(cards), Some(admission)) = (intent, admission) {
                for (card, _) in cards {
                    let guest = self.guests.iter().position(|guest| guest.card() == &card).unwrap();
                    let (room, _) = enter(self.guests.remove(guest), &admission).unwrap();
                    let (name, entered) = (card.name().to_owned(), room.epoch());
                    self.ends.push(End { name, room, at, entered, action: None });
                }
            }
        }
    }
}

/// Whether what `intent` is for is so.
fn holds(room: &Room, intent: &Intent) -> bool {
    let me = room.me().unwrap();
    let is_in = |id: &MemberId| room.member(id).is_some();
    let is = |id: &MemberId, so: fn(&Member) -> bool| room.member(id).is_none_or(so);
    let is_banned = |id: &MemberId| room.banned().any(|banned| banned == id);
    match intent {
        Intent::Admit(cards) => cards.iter().all(|(card, _)| is_in(&card.id())),
        Intent::Remove(members) => !members.iter().any(is_in),
        Intent::Ban(people) => people.iter().all(|id| is_banned(id) && !is_in(id)),
        Intent::LiftBan(id) => !is_banned(id),
        Intent::SetRole(id, role) => room.member(id).is_none_or(|member| member.role == *role),
        Intent::HandOver(id) => is(id, |member| member.role == Role::Host) && (!is_in(id) || me.role != Role::Host),
        Intent::Mute(id) => is(id, |member| member.muted_by.is_some()),
        Intent::LiftMute(id) => is(id, |member| member.muted_by.is_none()),
        Intent::Set(settings) => {
            let set = settings.iter().cloned().fold(room.settings().clone(), |all, one| all.with(one).unwrap());
            set == *room.settings()
        }
        Intent::Leave => me.role == Role::Listener && room.leaving().any(|id| *id == me.id),
        Intent::Refresh => true,
        _ => false,
    }
}

/// All that the members of an epoch agree on.
#[derive(PartialEq, Debug)]
struct View {
    epoch: u64,
    code: RoomCode,
    roster: Vec<Member>,
    settings: Settings,
    banned: Vec<MemberId>,
    links: Vec<LinkEntry>,
    listen_only: bool,
}

impl View {
    fn of(room: &Room) -> Self {
        Self {
            epoch: room.epoch(),
            code: room.code(),
            roster: room.roster().cloned().collect(),
            settings: room.settings().clone(),
            banned: room.banned().copied().collect(),
            links: room.links().copied().collect(),
            listen_only: room.is_listen_only(),
        }
    }
}
