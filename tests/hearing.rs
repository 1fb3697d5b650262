//! "Why can't I hear Ben?": every cause of silence, brought about with bare voices, is named rightly with its next step;
//! and who is muted stays muted.

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::{collections::HashSet, time::Duration};

use common::{Room, id, ms, quiet};
use parlor::{
    Cause, EpochKeys, Error, Fate, Hearing, LeafIndex, Suite, Voice,
    media::{
        Counters, Limits, MAX_OVERHEAD, Mute, OffStage, Quiet, Speaker,
        seal::{SealKeys, SealMode, SealRules},
        sframe::{Backend, Header, Sealer},
    },
};

#[global_allocator]
static ALLOCATOR: memory::Watched = memory::Watched;

const START: Duration = Duration::from_secs(1000);
/// Ben, whom Ana may not hear. Ana listens at leaf 9.
const BEN: u32 = 1;
const ANA: u32 = 9;

/// Ana's ear and Ben's mouth, in one room.
struct Pair {
    room: Room,
    ana: Voice,
    ben: Voice,
    now: Duration,
}

impl Pair {
    /// With Ben and somebody else on stage, and Ana off it.
    fn new() -> Self {
        Self::within(Limits::default())
    }

    fn within(limits: Limits) -> Self {
        let room = Room { epoch: 200, since: START, ..Room::new(&[BEN, 2]) };
        let ana = Voice::with_limits(keys(&room, ANA, &[]), limits).unwrap();
        assert_eq!(*ana.limits(), limits);
        Self { ana, ben: room.voice(BEN), room, now: START }
    }

    fn next_epoch(&mut self, stage: &[u32], off: &[Quiet]) {
        self.room.next(self.now, stage);
        self.ana.rekey(keys(&self.room, ANA, off)).unwrap();
    }

    fn ben_says(&mut self) -> Vec<u8> {
        self.ben.seal(b"hello").unwrap()
    }

    fn heard(&mut self) {
        let packet = self.ben_says();
        self.ana.open(&packet, self.now).unwrap();
    }

    fn refused(&mut self, packet: &[u8]) -> Error {
        self.ana.open(packet, self.now).unwrap_err()
    }

    fn hearing(&self) -> Hearing {
        self.ana.hearing(&id(BEN), self.now)
    }

    fn cause(&self) -> Cause {
        self.hearing().cause
    }
}

/// Everybody on stage, `off`, and oneself.
fn keys(room: &Room, me: u32, off: &[Quiet]) -> EpochKeys {
    room.keys(me).with_offstage([off, &[quiet(me, OffStage::Listener)]].concat())
}

/// A packet of nobody's that names `leaf` in `epoch`.
fn junk(room: &Room, leaf: u32, epoch: u64) -> Vec<u8> {
    let kid = room.layout.key_id(0, LeafIndex(leaf), epoch).unwrap();
    let mut packet = vec![7; 60];
    // A counter that nobody has got to.
    Header { kid, counter: 400 }.encode_into(&mut packet).unwrap();
    packet
}

fn counted(change: impl FnOnce(&mut Counters)) -> Counters {
    let mut counters = Counters::default();
    change(&mut counters);
    counters
}

/// Each cause, by its name, brought about, with what must be counted.
fn matrix() -> Vec<(&'static str, Hearing, Counters)> {
    let mut rows = Vec::new();

    let mut at = Pair::new();
    at.heard();
    at.now += ms(1000);
    rows.push(("Heard", at.hearing(), counted(|c| c.opened = 1)));
    rows.push(("You", at.ana.hearing(&id(ANA), at.now), Counters::default()));
    rows.push(("NotInRoom", at.ana.hearing(&id(77), at.now), Counters::default()));
    at.now += ms(4000);
    rows.push(("NoPackets", at.hearing(), counted(|c| c.opened = 1)));
    at.ana.mute(&id(BEN));
    let packet = at.ben_says();
    assert!(matches!(at.refused(&packet), Error::Muted { leaf: LeafIndex(BEN), epoch: 200, by: Mute::You }));
    let muted = counted(|c| (c.opened, c.muted) = (1, 1));
    rows.push(("MutedByYou", at.hearing(), muted));
    at.ana.unmute(&id(BEN));
    at.ana.set_mic(&id(BEN), false);
    rows.push(("MutedThemselves", at.hearing(), muted));
    at.ana.set_mic(&id(BEN), true);
    at.ana.set_stale(true);
    rows.push(("NoHeartbeat", at.hearing(), muted));
    at.ana.close();
    rows.push(("Closed", at.hearing(), Counters::default()));

    let mut at = Pair::new();
    at.now += ms(12_345);
    rows.push(("NothingYet", at.hearing(), Counters::default()));

    for (name, why) in
        [("NotOnStage", OffStage::Listener), ("MutedBy", OffStage::MutedBy(id(2))), ("NoHost", OffStage::NoHost)]
    {
        let mut at = Pair::new();
        at.next_epoch(&[2], &[quiet(BEN, why)]);
        let packet = at.ben_says();
        let refused = at.refused(&packet);
        assert!(
            matches!(refused, Error::NotOnStage { leaf: LeafIndex(BEN), epoch: 200, why: said } if said == why),
            "{refused:?}"
        );
        rows.push((name, at.hearing(), counted(|c| c.not_on_stage = 1)));
    }

    // Ben is in the next epoch, and Ana's control messages are on their way; or do not come at all.
    let mut at = Pair::new();
    let mut next = at.room.clone();
    next.next(at.now, &[BEN]);
    at.ben.rekey(next.keys(BEN)).unwrap();
    let mut packets = 0;
    let mut wait = |at: &mut Pair, until: Duration| {
        while at.now < until {
            let packet = at.ben_says();
            assert!(matches!(at.refused(&packet), Error::Parked { .. }));
            at.now += ms(20);
            packets += 1;
        }
        packets
    };
    let parked = wait(&mut at, START + ms(400));
    rows.push(("KeyOnItsWay", at.hearing(), counted(|c| c.parked = parked)));
    let parked = wait(&mut at, START + ms(2600));
    // The first are 2,501 ms old and more, and dropped when the last one comes, at 2,580 ms.
    let counters = counted(|c| (c.parked, c.parked_expired) = (parked, 4));
    rows.push(("Stale", at.hearing(), counters));
    // They come, and nobody takes what waits.
    at.next_epoch(&[BEN], &[]);
    rows.push(("NotTaken", at.hearing(), counters));

    let mut limits = Limits::default();
    limits.parked_per_leaf = 3;
    let mut at = Pair::within(limits);
    at.ben.rekey(next.keys(BEN)).unwrap();
    for _ in 0..5 {
        let packet = at.ben_says();
        at.refused(&packet);
    }
    rows.push(("LotFull", at.hearing(), counted(|c| (c.parked, c.parked_dropped) = (5, 2))));
    assert_eq!((at.ana.stats().parked, at.ana.stats().parked_dropped), (5, 2));

    limits.parked_packets = 0;
    let mut at = Pair::within(limits);
    let packet = junk(&at.room, BEN, 201);
    assert!(matches!(at.refused(&packet), Error::TooLate { .. }));
    assert_eq!(at.hearing().counters, counted(|c| (c.parked, c.parked_dropped) = (1, 1)));
    assert_eq!((at.ana.stats().parked, at.ana.stats().parked_dropped), (1, 1));

    let mut at = Pair::new();
    let packet = at.ben_says();
    at.next_epoch(&[BEN], &[]);
    at.now += ms(2001);
    assert!(matches!(at.refused(&packet), Error::TooLate { .. }));
    rows.push(("Behind", at.hearing(), counted(|c| c.wrong_epoch = 1)));

    let mut at = Pair::new();
    let forged = junk(&at.room, BEN, 200);
    assert!(matches!(at.refused(&forged), Error::Forged { .. }));
    rows.push(("Forged", at.hearing(), counted(|c| c.forged = 1)));

    let mut at = Pair::new();
    let packets: Vec<_> = (0..500).map(|_| at.ben_says()).collect();
    at.ana.open(&packets[499], at.now).unwrap();
    at.now += ms(1001);
    assert!(matches!(at.refused(&packets[499]), Error::Replayed { .. }));
    rows.push(("Replayed", at.hearing(), counted(|c| (c.opened, c.replayed) = (1, 1))));
    assert!(matches!(at.refused(&packets[0]), Error::TooLate { .. }));
    rows.push(("TooLate", at.hearing(), counted(|c| (c.opened, c.replayed, c.too_late) = (1, 1, 1))));
    assert_eq!((at.ana.stats().replayed, at.ana.stats().too_late), (1, 1));

    // Ben's app knows no seals, and the room plays nothing without.
    let mut at = Pair::new();
    let mut rules = SealRules::default();
    rules.mode = SealMode::Strict;
    at.ana = Voice::new(keys(&at.room, ANA, &[]).with_seals(SealKeys::new(rules, b"")).unwrap());
    let packet = at.ben_says();
    assert!(matches!(at.refused(&packet), Error::Unsealed { leaf: LeafIndex(BEN), epoch: 200 }));
    rows.push(("Unsealed", at.hearing(), counted(|c| (c.held, c.unsealed) = (1, 1))));
    assert_eq!((at.ana.stats().held, at.ana.stats().unsealed), (1, 1));
    rows
}

#[test]
fn every_cause_of_silence_is_named_rightly_with_its_next_step() {
    let rows = matrix();
    let (mut sentences, mut steps) = (HashSet::new(), HashSet::new());
    for (name, hearing, counters) in &rows {
        let cause = hearing.cause;
        println!("{name:>16}: {cause} {}", cause.next_step());
        assert!(format!("{cause:?}").split([' ', '(']).next() == Some(name), "{name}: {cause:?}");
        assert_eq!(hearing.counters, *counters, "{name}");
        assert!(cause.next_step().len() > 5 && cause.to_string().ends_with('.'), "{name}");
        assert!(sentences.insert(cause.to_string()) && steps.insert(cause.next_step()), "{name} reads as another");
    }
    assert_eq!(rows.len(), 21, "all but those of seals on their way");
    let of = |wanted| rows.iter().find(|(name, ..)| *name == wanted).unwrap().1;
    assert_eq!(of("NoPackets").cause, Cause::NoPackets { silent: ms(5000) });
    assert_eq!(of("NoPackets").last_heard, Some(ms(5000)));
    assert_eq!(of("NothingYet").cause, Cause::NothingYet { waited: ms(12_345) });
    assert_eq!(of("KeyOnItsWay").cause, Cause::KeyOnItsWay { waited: ms(400) });
    assert_eq!(of("Stale").cause, Cause::Stale { waited: ms(2600) });
    assert_eq!(of("MutedBy").cause, Cause::MutedBy(id(2)));
    assert!(of("Stale").cause.to_string().contains("2600 ms") && of("NothingYet").cause.to_string().contains("12 s"));
}

#[test]
fn what_the_room_says_goes_before_mutes_and_mutes_before_packets() {
    let mut at = Pair::new();
    at.heard();
    assert_eq!(at.cause(), Cause::Heard);
    at.ana.set_stale(true);
    assert_eq!(at.cause(), Cause::NoHeartbeat, "what is heard may not be all");
    at.ana.set_mic(&id(BEN), false);
    assert_eq!(at.cause(), Cause::MutedThemselves);
    at.ana.mute(&id(BEN));
    assert_eq!(at.cause(), Cause::MutedByYou);
    at.next_epoch(&[2], &[quiet(BEN, OffStage::MutedBy(id(2)))]);
    assert_eq!(at.cause(), Cause::MutedBy(id(2)));
    at.next_epoch(&[2], &[]);
    assert_eq!(at.cause(), Cause::NotInRoom);
    at.ana.close();
    assert_eq!(at.cause(), Cause::Closed);
    assert_eq!(at.ana.hearing(&id(ANA), at.now).cause, Cause::Closed);
}

#[test]
fn who_is_heard_stays_heard_whatever_else_comes_in_their_name() {
    let mut at = Pair::new();
    for _ in 0..20 {
        at.heard();
        let (forged, ahead) = (junk(&at.room, BEN, 200), junk(&at.room, BEN, 203));
        assert!(matches!(at.refused(&forged), Error::Forged { .. }));
        assert!(matches!(at.refused(&ahead), Error::Parked { .. }));
        assert_eq!(at.cause(), Cause::Heard);
        at.now += ms(20);
    }
    assert_eq!(at.hearing().counters.forged, 20);
    at.next_epoch(&[BEN, 2], &[]);
    assert_eq!(at.cause(), Cause::Heard, "over a rekey too");
    at.now += ms(1000);
    let forged = junk(&at.room, BEN, 200);
    at.refused(&forged);
    assert_eq!(at.cause(), Cause::Forged, "and when it stops, the newest packet tells");
    at.now += ms(1001);
    assert_eq!(at.cause(), Cause::NoPackets { silent: ms(1001) });
}

#[test]
fn frames_that_waited_for_their_key_count_as_heard_when_they_come_out() {
    let mut at = Pair::new();
    let mut next = at.room.clone();
    next.next(at.now, &[BEN]);
    at.ben.rekey(next.keys(BEN)).unwrap();
    for _ in 0..3 {
        let packet = at.ben_says();
        at.refused(&packet);
    }
    at.now += ms(2000);
    at.next_epoch(&[BEN], &[]);
    assert_ne!(at.cause(), Cause::Heard);
    while let Some(heard) = at.ana.unpark(at.now) {
        heard.unwrap();
    }
    at.now += ms(300);
    let hearing = at.hearing();
    assert_eq!((hearing.cause, hearing.last_heard), (Cause::Heard, Some(ms(300))));
    assert_eq!(hearing.counters, counted(|c| (c.parked, c.opened) = (3, 3)));
}

#[test]
fn frames_that_nobody_takes_are_told_of_their_speaker_alone_and_while_packets_come() {
    let mut at = Pair::new();
    let mut next = at.room.clone();
    next.next(at.now, &[BEN, 2]);
    at.ben.rekey(next.keys(BEN)).unwrap();
    let packet = at.ben_says();
    assert!(matches!(at.refused(&packet), Error::Parked { .. }));
    assert_eq!(at.cause(), Cause::KeyOnItsWay { waited: ms(0) });
    at.next_epoch(&[BEN, 2], &[]);
    let forged = [BEN, 2].map(|leaf| junk(&at.room, leaf, 201));
    at.refused(&forged[1]);
    assert_eq!([at.cause(), at.ana.hearing(&id(2), at.now).cause], [Cause::NotTaken, Cause::Forged]);
    at.now += ms(1000);
    assert_eq!(at.cause(), Cause::NotTaken);
    at.now += ms(1);
    assert_eq!(at.cause(), Cause::NoPackets { silent: ms(1001) });
    at.refused(&forged[0]);
    assert_eq!(at.cause(), Cause::NotTaken, "it goes before what else comes in their name");
    at.ana.mute(&id(BEN));
    assert_eq!(at.cause(), Cause::MutedByYou, "and after who switched them off");
    at.ana.unmute(&id(BEN));
    at.ana.unpark(at.now).unwrap().unwrap();
    assert_eq!(at.cause(), Cause::Heard);
}

#[test]
fn an_ear_tells_the_rest_of_who_is_heard_and_of_nobody_else() {
    let mut at = Pair::new();
    let silent = at.hearing();
    at.heard();
    let heard = at.hearing();
    let fates = [
        (Fate::Played, Cause::Heard),
        (Fate::Muted, Cause::MutedInEar),
        (Fate::NotGiven, Cause::NotGiven),
        (Fate::NoRoom, Cause::NoRoomInEar),
        (Fate::NotAsked, Cause::NotMixed),
        (Fate::NoVoiceFrame, Cause::NoVoiceFrame),
        (Fate::Late, Cause::TooLateToPlay),
        (Fate::Doubled, Cause::Doubled),
        (Fate::Stray, Cause::TooFarAhead),
        (Fate::Faint, Cause::Faint),
        (Fate::Undecodable, Cause::Undecodable),
    ];
    let (mut sentences, mut steps) = (HashSet::new(), HashSet::new());
    for (fate, cause) in fates {
        assert_eq!(heard.through(fate), with(heard, cause));
        assert_eq!(silent.through(fate), silent, "what the voice says goes first");
        assert!(sentences.insert(cause.to_string()) && steps.insert(cause.next_step()), "{cause:?} reads as another");
        assert!(cause.to_string().ends_with('.') && cause.next_step().ends_with('.'), "{cause:?}");
    }
}

/// The same with another cause.
fn with(mut hearing: Hearing, cause: Cause) -> Hearing {
    hearing.cause = cause;
    hearing
}

#[test]
fn a_rekey_ends_the_wait_that_is_told_of_and_a_pause_does_too() {
    let mut at = Pair::new();
    for (epoch, expected) in [(201, 0), (202, 2000), (202, 2400)] {
        let packet = junk(&at.room, BEN, epoch);
        at.refused(&packet);
        assert_eq!(at.cause(), Cause::KeyOnItsWay { waited: ms(expected) });
        at.now += if epoch == 201 { ms(2000) } else { ms(400) };
    }
    at.next_epoch(&[BEN], &[]);
    let packet = junk(&at.room, BEN, 202);
    at.refused(&packet);
    assert_eq!(at.cause(), Cause::NotTaken, "and what came for it is still there");
    assert!(matches!(at.ana.unpark(at.now), Some(Err(Error::Forged { .. }))) && at.ana.unpark(at.now).is_none());
    at.refused(&packet);
    assert_eq!(at.cause(), Cause::Stale { waited: ms(2800) }, "one epoch came, but not the one that is waited for");
    at.next_epoch(&[BEN], &[]);
    while at.ana.unpark(at.now).is_some() {}
    let packet = junk(&at.room, BEN, 203);
    at.refused(&packet);
    assert_eq!(at.cause(), Cause::KeyOnItsWay { waited: ms(0) });
    at.now += ms(60_000);
    at.refused(&packet);
    assert_eq!(at.cause(), Cause::KeyOnItsWay { waited: ms(0) }, "a minute of silence is no wait");
}

#[test]
fn whoever_comes_on_stage_is_waited_for_from_then_on() {
    let mut at = Pair::new();
    at.heard();
    at.now += ms(500);
    at.next_epoch(&[2], &[quiet(BEN, OffStage::Listener)]);
    let packet = at.ben_says();
    at.refused(&packet);
    at.now += ms(500);
    at.next_epoch(&[BEN, 2], &[]);
    at.now += ms(700);
    let hearing = at.hearing();
    assert_eq!((hearing.cause, hearing.last_heard), (Cause::NothingYet { waited: ms(700) }, Some(ms(1700))));
    assert_eq!(hearing.counters, counted(|c| (c.opened, c.not_on_stage) = (1, 1)), "the account goes on");
}

#[test]
fn mutes_hold_over_rekeys_at_every_epoch_and_go_with_who_leaves() {
    let mut at = Pair::new();
    at.ana.mute(&id(BEN));
    at.ana.set_mic(&id(2), false);
    for round in 0..3 {
        at.now += ms(100);
        let (mine, theirs) = (at.ben_says(), at.room.voice(2).seal(b"hello").unwrap());
        let stage: &[u32] = if round == 1 { &[2, 5, BEN] } else { &[BEN, 2] };
        at.next_epoch(stage, &[]);
        at.ben = at.room.voice(BEN);
        let mine_too = at.ben_says();
        for (packet, by) in [(&mine, Mute::You), (&mine_too, Mute::You), (&theirs, Mute::Themselves)] {
            let before = at.ana.state_digest();
            let refused = at.refused(packet);
            assert!(matches!(refused, Error::Muted { by: said, .. } if said == by), "round {round}: {refused:?}");
            assert_eq!(at.ana.state_digest(), before, "it was not even looked at");
        }
    }
    assert_eq!((at.ana.stats().muted, at.ana.stats().opened), (9, 0));
    // Off stage and back they are muted still.
    at.next_epoch(&[2], &[quiet(BEN, OffStage::Listener)]);
    at.next_epoch(&[2, BEN], &[]);
    assert_eq!(at.cause(), Cause::MutedByYou);
    // Out of the room and back they are not.
    at.next_epoch(&[2], &[]);
    at.next_epoch(&[2, BEN], &[]);
    at.ben = at.room.voice(BEN);
    assert!(matches!(at.cause(), Cause::NothingYet { .. }));
    at.heard();
    at.ana.set_mic(&id(2), true);
    let theirs = at.room.voice(2).seal(b"hello").unwrap();
    assert_eq!(at.ana.open(&theirs, at.now).unwrap().speaker, id(2));
}

#[test]
fn who_is_muted_and_has_their_microphone_off_is_not_heard_before_both_are_over() {
    let mut at = Pair::new();
    at.ana.mute(&id(BEN));
    at.ana.set_mic(&id(BEN), false);
    let packet = at.ben_says();
    assert!(matches!(at.refused(&packet), Error::Muted { by: Mute::You, .. }));
    at.ana.unmute(&id(BEN));
    assert!(matches!(at.refused(&packet), Error::Muted { by: Mute::Themselves, .. }));
    at.ana.set_mic(&id(BEN), true);
    assert!(at.ana.open(&packet, at.now).is_ok());
}

#[test]
fn a_parked_frame_of_somebody_muted_since_is_not_played() {
    let mut at = Pair::new();
    let mut next = at.room.clone();
    next.next(at.now, &[BEN]);
    at.ben.rekey(next.keys(BEN)).unwrap();
    let packet = at.ben_says();
    assert!(matches!(at.refused(&packet), Error::Parked { .. }));
    at.ana.mute(&id(BEN));
    at.next_epoch(&[BEN], &[]);
    assert!(matches!(at.ana.unpark(at.now), Some(Err(Error::Muted { epoch: 201, by: Mute::You, .. }))));
}

#[test]
fn ids_that_are_not_in_the_room_change_nothing() {
    let mut at = Pair::new();
    let before = at.ana.state_digest();
    for stranger in 100..200 {
        at.ana.mute(&id(stranger));
        at.ana.set_mic(&id(stranger), false);
    }
    assert_eq!(at.ana.state_digest(), before);
    at.ana.mute(&id(BEN));
    assert_ne!(at.ana.state_digest(), before);
    at.ana.unmute(&id(BEN));
    assert_eq!(at.ana.state_digest(), before);
    // Nor are they remembered for when they come.
    at.next_epoch(&[BEN, 100], &[]);
    assert!(matches!(at.ana.hearing(&id(100), at.now).cause, Cause::NothingYet { .. }));
}

#[test]
fn with_the_microphone_off_nothing_is_sealed_and_no_counter_used_over_rekeys_too() {
    let mut at = Pair::new();
    at.ben_says();
    for (off, on, why) in [
        (
            (|voice| voice.set_mic(&id(BEN), false)) as fn(&mut Voice),
            (|voice| voice.set_mic(&id(BEN), true)) as fn(&mut Voice),
            Mute::OwnMicrophone,
        ),
        (|voice| voice.mute(&id(BEN)), |voice| voice.unmute(&id(BEN)), Mute::You),
    ] {
        let before = at.ben_says();
        off(&mut at.ben);
        let digest = at.ben.state_digest();
        for _ in 0..3 {
            let refused = at.ben.seal_into(b"private", &mut [0; 100]).unwrap_err();
            assert!(matches!(refused, Error::Muted { leaf: LeafIndex(BEN), by, .. } if by == why), "{refused:?}");
        }
        assert_eq!(at.ben.state_digest(), digest);
        on(&mut at.ben);
        let counter = |packet: &[u8]| Header::decode(packet).unwrap().0.counter;
        assert_eq!(counter(&at.ben_says()), counter(&before) + 1);

        off(&mut at.ben);
        at.room.next(at.now, &[BEN, 2]);
        at.ben.rekey(at.room.keys(BEN)).unwrap();
        assert!(matches!(at.ben.seal(b"private"), Err(Error::Muted { by, .. }) if by == why));
        assert!(at.ben.on_stage(), "off is the microphone, not the stage");
        on(&mut at.ben);
        assert_eq!(counter(&at.ben_says()), 0);
        // Nor does a room that leaves one out for an epoch switch it on.
        off(&mut at.ben);
        for stage in [&[2], &[2, BEN][..]] {
            at.room.next(at.now, stage);
            at.ben.rekey(at.room.keys(BEN)).unwrap();
            at.ben.mute(&id(2));
            at.ben.unmute(&id(2));
            assert!(at.ben.seal(b"private").is_err());
        }
        on(&mut at.ben);
        at.ben_says();
    }
}

#[test]
fn a_closed_voice_holds_no_key_and_does_nothing_more() {
    for room in Room::each_kind(&[BEN, 2]) {
        let mut room = Room { epoch: 0x0123_4567_89ab_cdef, secret: 0xa5, ..room };
        let mut ben = Voice::new(keys(&room, BEN, &[quiet(ANA, OffStage::Listener)]));
        let mut secrets = keys_of(&room);
        let past = room.voice(2).seal(b"past").unwrap();
        room.next(START, &[BEN, 2]);
        secrets.extend(keys_of(&room));
        ben.rekey(keys(&room, BEN, &[])).unwrap();
        let packet = room.voice(2).seal(b"present").unwrap();
        let ahead = Room { epoch: room.epoch + 1, ..room.clone() }.voice(2).seal(b"ahead").unwrap();
        assert!(matches!(ben.open(&ahead, START), Err(Error::Parked { .. })));

        assert_eq!(ben.speakers().collect::<Vec<_>>(), [id(2)]);
        let needles: Vec<&[u8]> = secrets.iter().map(Vec::as_slice).collect();
        assert_eq!(memory::freed_blocks_with(&needles, || ben.close()), 0, "keys are wiped before they are freed");
        assert_eq!((ben.parked(), ben.on_stage(), ben.speakers().count(), ben.overhead()), ((0, 0), false, 0, 0));
        let digest = ben.state_digest();
        let closed = |error: Error| matches!(error, Error::Closed { epoch } if epoch == room.epoch);
        assert!(closed(ben.seal(b"frame").unwrap_err()));
        let over_size = vec![0; 4000];
        for packet in [&past, &packet, &ahead, &vec![0; 3], &over_size, &junk(&room, BEN, room.epoch)] {
            assert!(closed(ben.open(packet, START).unwrap_err()), "{packet:?}");
        }
        assert!(ben.unpark(START).is_none());
        room.next(START, &[BEN, 2]);
        assert!(ben.rekey(keys(&room, BEN, &[])).is_err(), "what is closed stays closed");
        assert_eq!(ben.state_digest(), digest);
        assert_eq!(ben.hearing(&id(2), START).cause, Cause::Closed);
        let mut fresh = Voice::new(Room { epoch: ben.epoch(), ..room.clone() }.keys(BEN));
        fresh.close();
        assert_eq!(fresh.state_digest(), digest, "nothing is left of the past either");
    }
}

/// The frame keys of the stage: eight is all that a search takes.
fn keys_of(room: &Room) -> Vec<Vec<u8>> {
    let derived = [BEN, 2].map(|leaf| {
        let kid = room.layout.key_id(0, LeafIndex(leaf), room.epoch).unwrap();
        parlor::media::sframe::Derivation::new(room.suite, &room.base_key(), kid).unwrap()
    });
    derived.iter().flat_map(|derived| [derived.key().to_vec(), derived.salt().to_vec()]).collect()
}

#[test]
fn whom_a_moderator_mutes_is_not_heard_from_the_epoch_before_either() {
    let mut at = Pair::new();
    at.heard();
    let [late, later] = [at.ben_says(), at.ben_says()];
    at.next_epoch(&[2], &[quiet(BEN, OffStage::MutedBy(id(2)))]);
    let digest = at.ana.state_digest();
    let refused = at.refused(&late);
    assert!(matches!(refused, Error::NotOnStage { epoch: 200, why: OffStage::MutedBy(by), .. } if by == id(2)));
    assert!(refused.to_string().contains("muted by 00000002"), "{refused}");
    // And with the key that every member of that epoch could derive.
    let kid = at.room.layout.key_id(0, LeafIndex(BEN), 201).unwrap();
    let mut sealer = Sealer::new(Suite::default(), Backend::default(), &at.room.base_key(), kid, 0).unwrap();
    let mut packet = [0; 5 + MAX_OVERHEAD];
    let len = sealer.seal_into(b"", b"hello", &mut packet).unwrap();
    let refused = at.refused(&packet[..len]);
    assert!(matches!(refused, Error::NotOnStage { epoch: 201, why: OffStage::MutedBy(_), .. }));
    // Let speak again at once, Ben is not heard from before.
    at.next_epoch(&[BEN, 2], &[]);
    assert!(matches!(at.refused(&later), Error::NotOnStage { epoch: 200, why: OffStage::LeftSince, .. }));
    assert_eq!(at.cause(), Cause::Behind);
    assert_ne!(at.ana.state_digest(), digest);
}

#[test]
fn who_may_not_speak_is_told_why() {
    let mut room = Room::new(&[2]);
    let mut voice = Voice::new(keys(&room, BEN, &[]));
    let step = [
        (OffStage::Listener, "raises a hand"),
        (OffStage::MutedBy(id(2)), "can let them speak again"),
        (OffStage::NoHost, "make another room"),
    ];
    for (why, words) in step {
        room.next(START, &[2]);
        voice.rekey(room.keys(BEN).with_offstage(vec![quiet(BEN, why)])).unwrap();
        let refused = voice.seal(b"frame").unwrap_err();
        assert!(matches!(refused, Error::NotOnStage { why: said, .. } if said == why), "{refused:?}");
        assert!(refused.to_string().contains(words), "{refused}");
    }
    voice.set_stale(true);
    assert!(matches!(voice.seal(b"frame"), Err(Error::NotOnStage { .. })), "on stage or not goes before that");
    // Somebody else may have their keys too, whatever computes with them.
    let shared = room.keys(2).listen_only().with_backend(Backend::RustCrypto).unwrap();
    assert!(shared.is_listen_only() && !room.keys(2).is_listen_only());
    assert!(matches!(Voice::new(shared).seal(b"frame"), Err(Error::Restored { .. })));
    // Whose room says nothing of them has its keys, and so is in it.
    let refused = room.voice(BEN).seal(b"frame").unwrap_err();
    assert!(matches!(refused, Error::NotOnStage { why: OffStage::Listener, .. }), "{refused:?}");
}

#[test]
fn packets_are_booked_under_whom_they_name_in_their_epoch() {
    let mut at = Pair::new();
    at.next_epoch(&[BEN, 2], &[quiet(4, OffStage::Listener)]);
    let before = [BEN, 4].map(|leaf| junk(&at.room, leaf, 201));
    // Ben and the listener move to other leaves, and others come to sit at theirs.
    let stage = [(BEN, 50), (7, BEN)].map(|(leaf, who)| Speaker { leaf: LeafIndex(leaf), id: id(who) });
    let off = [(4, 60), (8, 4)].map(|(leaf, who)| Quiet { id: id(who), ..quiet(leaf, OffStage::Listener) });
    at.room.next(at.now, &[]);
    let base_key = zeroize::Zeroizing::new(at.room.base_key());
    let (room, me) = (&at.room, LeafIndex(ANA));
    let moved = EpochKeys::new(room.suite, room.layout, room.epoch, base_key, me, stage.to_vec(), at.now).unwrap();
    at.ana.rekey(moved.with_offstage(off.to_vec())).unwrap();
    let after = [BEN, 4].map(|leaf| junk(&at.room, leaf, 202));
    let counters = |at: &Pair, who| at.ana.hearing(&id(who), at.now).counters;
    for (packets, epoch, [speaker, listener]) in [(before, 201, [BEN, 4]), (after, 202, [50, 60])] {
        assert_eq!([counters(&at, speaker), counters(&at, listener)], [Counters::default(); 2]);
        assert!(matches!(at.refused(&packets[0]), Error::Forged { epoch: named, .. } if named == epoch));
        assert!(matches!(at.refused(&packets[1]), Error::NotOnStage { epoch: named, .. } if named == epoch));
        assert_eq!(counters(&at, speaker), counted(|c| c.forged = 1), "{speaker}");
        assert_eq!(counters(&at, listener), counted(|c| c.not_on_stage = 1), "{listener}");
    }
}

#[test]
fn a_flood_that_names_leaves_of_nobody_allocates_nothing_and_is_booked_under_nobody() {
    let mut at = Pair::new();
    at.next_epoch(&[BEN, 2], &[quiet(4, OffStage::Listener)]);
    let mut buffer = [0; 60];
    let allocated = memory::allocations();
    for step in 0..200_000_u32 {
        // Of the current epoch, of the one before, and of one that is gone.
        let kid = at.room.layout.key_id(0, LeafIndex(10 + step % 4000), 201 - u64::from(step % 3)).unwrap();
        Header { kid, counter: u64::from(step) }.encode_into(&mut buffer).unwrap();
        assert!(at.ana.open_in_place(&mut buffer, at.now).is_err());
    }
    assert_eq!(memory::allocations() - allocated, 0);
    // And of epochs on their way: they fill the parking lot and no more.
    for step in 0..20_000_u32 {
        let packet = junk(&at.room, 10 + step % 4000, 202 + u64::from(step % 100));
        assert!(at.ana.open(&packet, at.now).is_err());
    }
    assert!(at.ana.parked().0 <= at.ana.limits().parked_packets);
    for who in [BEN, 2, 4] {
        assert_eq!(at.ana.hearing(&id(who), at.now).counters, Counters::default(), "{who}");
    }
    // A member off stage who floods is told of; that costs nothing either.
    let allocated = memory::allocations();
    for counter in 0..1000 {
        let kid = at.room.layout.key_id(0, LeafIndex(4), 201).unwrap();
        Header { kid, counter }.encode_into(&mut buffer).unwrap();
        let refused = at.ana.open_in_place(&mut buffer, at.now);
        assert!(matches!(refused, Err(Error::NotOnStage { why: OffStage::Listener, .. })));
    }
    assert_eq!(memory::allocations() - allocated, 0);
    assert_eq!(at.ana.hearing(&id(4), at.now).counters, counted(|c| c.not_on_stage = 1000));
}

#[test]
fn accounts_add_up_over_a_thousand_random_epochs_and_go_with_who_leaves() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut room = Room { since: START, ..Room::new(&[BEN, 2]) };
        let mut ana = Voice::new(keys(&room, ANA, &[]));
        let mut opened = std::collections::HashMap::new();
        let mut off: Vec<u32> = Vec::new();
        let mut now = START;
        for step in 0..50 {
            let (stage, silent) = (room.stage.clone(), off.clone());
            for leaf in &stage {
                for packet in [b"one", b"two"].map(|frame| room.voice(*leaf).seal(frame).unwrap()) {
                    // The second has the same counter: it is a replay, for all that anybody knows.
                    *opened.entry(*leaf).or_insert(0) += u64::from(ana.open(&packet, now).is_ok());
                }
            }
            for leaf in 1..8 {
                let hearing = ana.hearing(&id(leaf), now);
                let is_in = stage.contains(&leaf) || silent.contains(&leaf);
                assert_eq!(hearing.cause == Cause::NotInRoom, !is_in, "seed {seed}, step {step}, leaf {leaf}");
                assert_eq!(hearing.cause == Cause::Heard, stage.contains(&leaf), "seed {seed}, step {step}");
                assert_eq!(
                    hearing.counters.opened,
                    opened.get(&leaf).copied().unwrap_or(0),
                    "seed {seed}, step {step}"
                );
            }
            now += ms(random.random_range(0..3000));
            let roles: Vec<(u32, u8)> = (1..8).map(|leaf| (leaf, random.random_range(0..3))).collect();
            let with = |role| roles.iter().filter(|(_, is)| *is == role).map(|(leaf, _)| *leaf).collect::<Vec<_>>();
            off = with(1);
            room.next(now, &with(2));
            let listeners: Vec<_> = off.iter().map(|leaf| quiet(*leaf, OffStage::Listener)).collect();
            ana.rekey(keys(&room, ANA, &listeners)).unwrap();
            opened.retain(|leaf, _| room.stage.contains(leaf) || off.contains(leaf));
        }
    }
}
