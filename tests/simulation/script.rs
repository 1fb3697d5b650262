//! A history as data: how the room begins, and what happens in it step by step.
//!
//! Every step means something, or nothing, in any state: people are counted among those who can do it, messages among
//! those there are. So a history stays one whatever steps are left out of it.

use parlor::{Role, media::seal::SealMode, room::Entry};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::relay::{Line, Trick};

#[derive(Clone, Debug)]
pub struct Script {
    pub opening: Opening,
    pub steps: Vec<Step>,
}

/// How the room begins.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Who is let in at once, by the host.
    pub roles: Vec<Role>,
    pub seals: SealMode,
    /// How many bits of its epoch a packet tells.
    pub epoch_bits: u8,
    /// How people come in.
    pub entry: Entry,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// A member makes a commit.
    Command {
        by: u8,
        wish: Wish,
    },
    /// A member says something beside the voice.
    Say {
        by: u8,
        word: Word,
    },
    /// A member speaks for so many frames.
    Speak {
        by: u8,
        frames: u8,
    },
    /// A member's app does what it should each second.
    Mind {
        by: u8,
    },
    /// A member's app takes its commit back, which the relay has refused.
    Abandon {
        by: u8,
    },
    /// The relay takes one of the messages on their way to it into its log.
    Order {
        pick: u8,
    },
    /// A member gets the next messages.
    Deliver {
        to: u8,
        most: u8,
    },
    /// The relay takes everything into its log, and everybody gets all of it.
    DeliverAll,
    /// A guest gets a welcome.
    Welcome {
        pick: u8,
    },
    /// The relay misbehaves towards a member.
    Cheat {
        to: u8,
        trick: Trick,
    },
    /// The network to a member is another.
    Network {
        to: u8,
        line: Line,
    },
    Wait {
        ms: u16,
    },
    /// A member's clock jumps forward.
    Jump {
        who: u8,
        seconds: u16,
    },
    /// The time of day by a member's clock is another, later or earlier.
    SetClock {
        who: u8,
        seconds: i16,
    },
    /// A member's disk is copied.
    Backup {
        who: u8,
    },
    /// A member's process is killed between two calls, and another goes on.
    Kill {
        who: u8,
    },
    /// A member's process is killed so many steps into what it writes next.
    Crash {
        who: u8,
        steps: u8,
    },
    /// A member's process is killed, and another goes on from an old copy of the disk.
    Rollback {
        who: u8,
        pick: u8,
    },
    /// Another process goes on from a copy of a member's disk, the latest or an old one, beside the first.
    Clone {
        who: u8,
        pick: u8,
    },
    /// A member loses all but their identity and a ticket.
    LoseState {
        who: u8,
    },
    /// A member's process is killed, and another goes on from a copy of the disk that is so many epochs old; the relay has
    /// forgotten what came in between, if so.
    OldBackup {
        who: u8,
        epochs: u8,
        cut: bool,
    },
    /// Mal is let in.
    Insider {
        by: u8,
    },
    /// Mal makes a commit that some cannot read: who sits at these leaves.
    BrokenPath {
        victims: u8,
    },
    /// Mal makes a commit that she may not make.
    Usurp {
        what: u8,
        on: u8,
    },
    /// Mal says again what somebody said.
    Replay {
        pick: u8,
    },
    /// Mal sends a message of somebody's with one bit changed.
    Damage {
        pick: u8,
        bit: u16,
    },
    /// Mal says twice that she has turned somebody away who knocks.
    Slander {
        on: u8,
    },
    /// Mal has a member let in a friend whose leaf has the key of a parent node.
    Jam {
        pick: u8,
    },
    /// Somebody knocks at the door of a link, by a clock that is so many seconds behind.
    Knock {
        link: u8,
        behind: u16,
    },
    /// The relay brings a member any knock, again.
    KnockAgain {
        to: u8,
        pick: u8,
    },
    /// A member lets in who has waited longest, or turns them away.
    AnswerKnock {
        by: u8,
        yes: bool,
    },
    /// The relay hands out an answer, or loses it.
    Mail {
        pick: u8,
        is_lost: bool,
    },
    /// The relay hands out answers to whom they are not for.
    MixUpMail {
        pick: u8,
    },
    /// Mal makes frames in others' names.
    Forge {
        frames: u8,
    },
    /// A member says very much at once.
    Flood {
        by: u8,
        words: u8,
    },
    /// The relay forgets what everybody has had.
    CutLog,
    /// A mistake that no room makes, for the simulation to find.
    Plant(Plant),
}

/// What a member may want, allowed or not. `on` is whom.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Wish {
    Admit { people: u8, role: Role },
    Remove { on: u8 },
    Ban { on: u8 },
    LiftBan,
    SetRole { on: u8, role: Role },
    HandOver { on: u8 },
    Mute { on: u8 },
    LiftMute { on: u8 },
    Set { what: u8 },
    Link { what: u8 },
    Revoke { pick: u8 },
    Leave,
    End,
    Refresh,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Word {
    Chat,
    Hand(bool),
    Mic(bool),
    Restate,
    Invite { on: u8 },
    Answer(bool),
    React,
    Compare { on: u8 },
    Leave,
}

/// A mistake to be found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Plant {
    /// From their next epoch on a member has two voices of the same keys, as if restored.
    Twin { who: u8 },
    /// Who is out listens with the voice of a member.
    Stolen,
    /// From their next epoch on a member takes each speaker for the next one on stage.
    Confused { who: u8 },
    /// A member's voice is given no keys any more.
    Hoarder { who: u8 },
    /// A member's app tells their voice nothing of heartbeats.
    Deaf { who: u8 },
    /// A member's app makes their voice stale for nothing.
    Muzzled { who: u8 },
    /// The model forgets that what is on its way are commits.
    Unnoticed,
    /// The relay forgets a message to a member for good, and their app does not mind.
    Lost { to: u8 },
    /// The relay changes the order for a member, and keeps quiet about it.
    Silent { to: u8 },
    /// The model forgets whom somebody muted.
    Unmuted,
    /// The relay brings no knocks.
    Shut,
    /// A member tries guests on another's room.
    Mixed { who: u8 },
    /// A member's app takes each reaction for two.
    Parrot { who: u8 },
    /// A call panics.
    Panic,
}

/// What kind of evening it is.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    /// The relay is honest, and the network good.
    Fair,
    /// The network is bad, the relay slow.
    Rough,
    /// The relay cheats, but with the order of commits.
    Hostile,
    /// The relay does that too: it forks the room.
    Forking,
}

impl Script {
    /// The history of `seed`.
    pub fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let rng = &mut rng;
        let mood = [Mood::Fair, Mood::Rough, Mood::Hostile, Mood::Hostile, Mood::Forking][rng.random_range(0..5)];
        let mut roles = vec![Role::Host];
        roles.extend((0..rng.random_range(1..6)).map(|_| role(rng)));
        let seals = [SealMode::Off, SealMode::Off, SealMode::Live, SealMode::Strict][rng.random_range(0..4)];
        let has_door = rng.random_bool(0.35);
        let entry = if has_door && rng.random() {
            Entry::Link
        } else if has_door {
            Entry::Knock
        } else {
            Entry::Invited
        };
        let opening = Opening { roles, seals, epoch_bits: rng.random_range(4..9), entry };
        let restores = rng.random_bool(0.4);
        let has_insider = rng.random_bool(0.3);
        let (many, mut steps) = (rng.random_range(20..=60), Vec::new());
        if has_insider {
            steps.extend([Step::Insider { by: 0 }, Step::DeliverAll]);
        }
        if has_door {
            steps.extend([Step::Command { by: 0, wish: Wish::Link { what: rng.random() } }, Step::DeliverAll]);
        }
        while steps.len() < many {
            if restores && rng.random_bool(0.12) {
                steps.push(restart(rng));
            } else if has_insider && rng.random_bool(0.1) {
                steps.push(treason(rng));
            } else if has_door && rng.random_bool(0.25) {
                steps.push(at_the_door(rng, mood));
            } else if mood == Mood::Forking && rng.random_bool(0.06) {
                steps.extend(fork(rng));
            } else {
                steps.push(step(rng, mood));
            }
        }
        Self { opening, steps }
    }
}

fn role(rng: &mut StdRng) -> Role {
    [Role::Listener, Role::Listener, Role::Speaker, Role::Speaker, Role::Moderator, Role::Host][rng.random_range(0..6)]
}

/// Two make commits at once, and somebody gets them in another order than the rest.
fn fork(rng: &mut StdRng) -> Vec<Step> {
    let (to, at) = (rng.random(), rng.random());
    let mut steps: Vec<Step> = (0..2).map(|_| Step::Command { by: rng.random(), wish: wish(rng) }).collect();
    steps.extend([Step::Order { pick: 0 }; 2]);
    steps.push(Step::Cheat { to, trick: Trick::Swap { at } });
    steps.push(if rng.random() { Step::DeliverAll } else { Step::Deliver { to, most: 4 } });
    steps
}

fn step(rng: &mut StdRng, mood: Mood) -> Step {
    let (by, pick) = (rng.random(), rng.random());
    match rng.random_range(0..100) {
        0..20 => Step::Command { by, wish: wish(rng) },
        20..26 => Step::Say { by, word: word(rng) },
        26..40 => Step::Speak { by, frames: rng.random_range(1..8) },
        40..44 => Step::Mind { by },
        44..45 => Step::Abandon { by },
        45..57 => Step::Order { pick },
        57..69 => Step::Deliver { to: by, most: rng.random_range(1..4) },
        69..74 => Step::DeliverAll,
        74..78 => Step::Welcome { pick },
        78..80 => Step::Wait { ms: rng.random_range(1..4_000) },
        80..81 => Step::Wait { ms: rng.random_range(4_000..25_000) },
        81..82 if rng.random() => Step::SetClock { who: by, seconds: rng.random_range(-140..=140) },
        81..82 => Step::Jump { who: by, seconds: [1, 3, 60, 3_600][rng.random_range(0..4)] },
        82..88 if mood != Mood::Fair => Step::Network { to: by, line: Line::random(rng) },
        88..100 if mood == Mood::Hostile => Step::Cheat { to: by, trick: Trick::harmless(rng) },
        88..100 if mood == Mood::Forking => Step::Cheat { to: by, trick: Trick::random(rng) },
        _ => Step::Deliver { to: by, most: 8 },
    }
}

fn at_the_door(rng: &mut StdRng, mood: Mood) -> Step {
    let (by, pick, is_cheated) = (rng.random(), rng.random(), mood == Mood::Hostile || mood == Mood::Forking);
    match rng.random_range(0..20) {
        0 | 1 => Step::Command { by, wish: Wish::Link { what: rng.random() } },
        2 => Step::Command { by, wish: Wish::Revoke { pick } },
        3..9 => Step::Knock { link: pick, behind: if rng.random_bool(0.1) { 1_200 } else { 0 } },
        9..13 => Step::AnswerKnock { by, yes: rng.random_bool(0.75) },
        13 | 14 if is_cheated => Step::KnockAgain { to: by, pick },
        15 if is_cheated => Step::Mail { pick, is_lost: true },
        16 if is_cheated => Step::MixUpMail { pick },
        _ => Step::Mail { pick, is_lost: false },
    }
}

/// Whether members refuse a card whose key is that of a parent node. Until they do one such card shuts the door for good,
/// and nothing that is said of guests holds.
const COLLIDING_KEYS_ARE_REFUSED: bool = true;

fn treason(rng: &mut StdRng) -> Step {
    match rng.random_range(0..12) {
        7 | 8 => Step::Replay { pick: rng.random() },
        9 => Step::Damage { pick: rng.random(), bit: rng.random() },
        10 => Step::Slander { on: rng.random() },
        11 if COLLIDING_KEYS_ARE_REFUSED => Step::Jam { pick: rng.random() },
        0 => Step::Flood { by: rng.random(), words: rng.random_range(20..80) },
        5 | 6 => Step::Usurp { what: rng.random(), on: rng.random() },
        1 | 2 => Step::Forge { frames: rng.random_range(1..10) },
        _ => Step::BrokenPath { victims: rng.random() },
    }
}

fn restart(rng: &mut StdRng) -> Step {
    let (who, pick) = (rng.random(), rng.random());
    match rng.random_range(0..16) {
        10..13 => Step::LoseState { who },
        13..15 => Step::OldBackup { who, epochs: [2, 5, 22][rng.random_range(0..3)], cut: rng.random() },
        15 => Step::CutLog,
        0..2 => Step::Backup { who },
        2..4 => Step::Kill { who },
        4..8 => Step::Crash { who, steps: rng.random_range(0..6) },
        8 => Step::Rollback { who, pick },
        _ => Step::Clone { who, pick },
    }
}

fn wish(rng: &mut StdRng) -> Wish {
    let on = rng.random();
    match rng.random_range(0..100) {
        0..18 => Wish::Admit { people: rng.random_range(1..3), role: role(rng) },
        18..28 => Wish::Remove { on },
        28..33 => Wish::Ban { on },
        33..37 => Wish::LiftBan,
        37..55 => Wish::SetRole { on, role: role(rng) },
        55..59 => Wish::HandOver { on },
        59..66 => Wish::Mute { on },
        66..72 => Wish::LiftMute { on },
        72..82 => Wish::Set { what: rng.random() },
        82..86 => Wish::Leave,
        86..87 => Wish::End,
        _ => Wish::Refresh,
    }
}

fn word(rng: &mut StdRng) -> Word {
    match rng.random_range(0..14) {
        0..4 => Word::Chat,
        4..6 => Word::Hand(rng.random()),
        6..8 => Word::Mic(rng.random()),
        8 => Word::React,
        9 => Word::Invite { on: rng.random() },
        10 | 11 => Word::Answer(rng.random()),
        12 => {
            if rng.random() {
                Word::Compare { on: rng.random() }
            } else {
                Word::Restate
            }
        }
        _ => Word::Leave,
    }
}
