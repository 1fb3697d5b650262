//! The relay: its log, what it owes to whom, and how it cheats.

use parlor::{Admission, KeyIdLayout, LeafIndex, Room, Settings, Voice, media::sframe::Header};
use rand::{RngExt, rngs::StdRng};

use crate::{
    model::{Commit, Held},
    world::{World, identity},
};

/// A control message, and what the simulation knows of it.
pub struct Message {
    pub bytes: Vec<u8>,
    pub commit: Option<Commit>,
    pub admission: Option<Admission>,
}

#[derive(Default)]
pub struct Relay {
    pub messages: Vec<Message>,
    /// On their way to the relay.
    pub incoming: Vec<usize>,
    /// What it has taken, in its order.
    pub log: Vec<usize>,
    /// Commits whose welcome is to be delivered.
    pub welcomes: Vec<usize>,
    /// Commits that lost their race and have a welcome.
    pub losing: Vec<usize>,
    /// What it has forgotten of it, the oldest.
    pub forgotten: usize,
    /// What it never took.
    pub refused: Vec<usize>,
    /// What nobody may follow.
    pub foul: Vec<usize>,
    /// Whether it has done something by which a room may go on in two ways.
    pub may_fork: bool,
    /// A room that has nothing to do with it.
    stranger: Option<(Room, Voice)>,
}

impl Relay {
    /// The message is on its way, and has this number.
    pub fn send(&mut self, message: Message) -> usize {
        self.messages.push(message);
        self.incoming.push(self.messages.len() - 1);
        self.messages.len() - 1
    }

    /// What comes after `message` in the log, or all of it, but for what is forgotten.
    pub fn after(&self, message: Option<usize>) -> Vec<usize> {
        let taken = message.and_then(|message| self.log.iter().position(|taken| *taken == message));
        let from = taken.map_or(0, |at| at + 1).max(self.forgotten);
        self.log[from..].to_vec()
    }

    pub fn stranger(&mut self) -> &mut (Room, Voice) {
        let new = || Room::create(identity(usize::MAX, "zoe"), Settings::default()).expect("a room");
        self.stranger.get_or_insert_with(new)
    }
}

/// How the network treats packets on their way to somebody, in 256ths and milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Line {
    pub lost: u8,
    pub twice: u8,
    pub damaged: u8,
    /// Their own packets come back.
    pub back: bool,
    /// Up to so long on their way, each another time: so they overtake each other.
    pub delay: u16,
}

impl Line {
    pub fn random(rng: &mut StdRng) -> Self {
        let rarely = |rng: &mut StdRng, most: u8| if rng.random_bool(0.5) { 0 } else { rng.random_range(0..most) };
        Self {
            lost: rarely(rng, 128),
            twice: rarely(rng, 128),
            damaged: rarely(rng, 64),
            back: rng.random_bool(0.3),
            delay: [0, 60, 400, 3_000][rng.random_range(0..4)],
        }
    }

    /// When copies of that packet come to that member, and which of them are damaged, after its number alone: so what
    /// is left out of a history changes nothing of the rest.
    pub fn fate(&self, packet: usize, to: usize) -> Vec<(u64, bool)> {
        let mut dice = (packet as u64 * 64 + to as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut roll = || {
            dice = (dice ^ (dice >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            dice >> 32
        };
        let mut comes = |line: &Self| (roll() % (u64::from(line.delay) + 1), roll() % 256 < line.damaged.into());
        let (first, second) = (comes(self), comes(self));
        match () {
            () if roll() % 256 < self.lost.into() => Vec::new(),
            () if roll() % 256 < self.twice.into() => vec![first, second],
            () => vec![first],
        }
    }
}

/// What becomes of signals to somebody.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Signals {
    #[default]
    Flow,
    Stop,
    /// They are kept, and come one every three seconds.
    Queue,
}

/// What the relay may do to a member. Messages and packets are picked among all there are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Trick {
    /// They get no messages any more; and signals so.
    Withhold {
        signals: Signals,
    },
    Release,
    /// It loses a message that is on its way to it.
    Drop {
        pick: u8,
    },
    /// A message that they had comes again.
    Again {
        pick: u8,
    },
    /// A piece of any message.
    Cut {
        pick: u8,
        at: u16,
    },
    /// Any message with one bit changed.
    Flip {
        pick: u8,
        bit: u16,
    },
    /// Bytes that nobody made.
    Junk {
        len: u16,
        fill: u8,
    },
    /// A message of another room.
    Strange,
    /// A message and a packet, each as if it were the other.
    Confuse {
        pick: u8,
    },
    /// Any packet, again.
    OldPacket {
        pick: u16,
    },
    /// Any signal, again.
    OldSignal {
        pick: u16,
    },
    /// Any packet, as if it were of another stream, sender, epoch or counter.
    Readdress {
        pick: u16,
        stream: u8,
        leaf: u8,
        epoch: u8,
        counter: u8,
    },
    /// Two messages on their way change places: two commits of one epoch, if there are.
    Swap {
        at: u8,
    },
    /// A message on its way comes after all others.
    Late {
        at: u8,
    },
    /// A message that is not their turn.
    Early {
        pick: u8,
    },
    /// A guest gets the welcome of a commit that lost its race.
    Losing {
        pick: u8,
    },
}

impl Trick {
    /// One that leaves the order of messages as it is.
    pub fn harmless(rng: &mut StdRng) -> Self {
        let (pick, packet) = (rng.random(), rng.random());
        match rng.random_range(0..14) {
            12 => Self::Drop { pick },
            13 => Self::OldSignal { pick: packet },
            0 | 1 => Self::Withhold { signals: [Signals::Flow, Signals::Stop, Signals::Queue][rng.random_range(0..3)] },
            2 | 3 => Self::Release,
            4 => Self::Again { pick },
            5 => Self::Cut { pick, at: rng.random() },
            6 => Self::Flip { pick, bit: rng.random() },
            7 => Self::Junk { len: rng.random_range(0..600), fill: rng.random() },
            8 => Self::Strange,
            9 => Self::Confuse { pick },
            10 => Self::OldPacket { pick: packet },
            _ => Self::Readdress {
                pick: packet,
                stream: rng.random_range(0..3),
                leaf: rng.random_range(0..8),
                epoch: rng.random_range(0..16),
                counter: rng.random_range(0..32),
            },
        }
    }

    pub fn random(rng: &mut StdRng) -> Self {
        match rng.random_range(0..8) {
            0 | 1 => Self::Swap { at: rng.random() },
            2 => Self::Late { at: rng.random() },
            3 => Self::Early { pick: rng.random() },
            4 => Self::Losing { pick: rng.random() },
            _ => Self::harmless(rng),
        }
    }
}

impl World {
    /// The relay plays a trick on a member.
    pub fn cheat(&mut self, to: usize, trick: Trick) -> Held {
        self.tally.add(match trick {
            Trick::Withhold { .. } | Trick::Release => "relay withholds, or no more",
            Trick::Drop { .. } => "messages lost",
            Trick::Again { .. } => "messages again",
            Trick::Cut { .. } | Trick::Flip { .. } | Trick::Junk { .. } => "messages damaged or made up",
            Trick::Strange | Trick::Confuse { .. } => "messages and packets from elsewhere",
            Trick::OldPacket { .. } | Trick::OldSignal { .. } | Trick::Readdress { .. } => {
                "packets again or readdressed"
            }
            _ => "messages out of their order",
        });
        let sent = self.relay.messages.len();
        let any = |pick: u8| (sent > 0).then(|| usize::from(pick) % sent);
        match trick {
            Trick::Withhold { signals } => {
                (self.ends[to].withheld, self.ends[to].signals) = (true, signals);
                self.model.is_queued |= signals == Signals::Queue;
            }
            Trick::Release => (self.ends[to].withheld, self.ends[to].signals) = (false, Signals::Flow),
            Trick::Drop { pick } => {
                if !self.relay.incoming.is_empty() {
                    let pick = usize::from(pick) % self.relay.incoming.len();
                    let lost = self.relay.incoming.remove(pick);
                    self.relay.refused.push(lost);
                }
            }
            Trick::Again { pick } => {
                let seen = &self.ends[to].seen;
                if !seen.is_empty() {
                    let message = seen[usize::from(pick) % seen.len()];
                    return self.receive_message(to, message);
                }
            }
            Trick::Cut { pick, at } => {
                if let Some(message) = any(pick) {
                    let bytes = &self.relay.messages[message].bytes;
                    let piece = bytes[..usize::from(at) % bytes.len()].to_vec();
                    return self.receive(to, &piece, None);
                }
            }
            Trick::Flip { pick, bit } => {
                if let Some(message) = any(pick) {
                    let mut bytes = self.relay.messages[message].bytes.clone();
                    flip(&mut bytes, bit.into());
                    return self.receive(to, &bytes, None);
                }
            }
            Trick::Junk { len, fill } => {
                let junk: Vec<u8> = (0..len).map(|at| fill.wrapping_mul((at % 251) as u8 + 1)).collect();
                self.receive(to, &junk, None)?;
                return self.arrive(to, &junk);
            }
            Trick::Strange => {
                let (room, voice) = self.relay.stranger();
                let (packet, message) =
                    (voice.seal(b"hello").expect("a host is on stage"), room.say("hello", None).expect("a word").1);
                self.receive(to, &message, None)?;
                return self.arrive(to, &packet);
            }
            Trick::Confuse { pick } => {
                if let Some(packet) = self.packet(pick.into()) {
                    self.receive(to, &packet, None)?;
                }
                if let Some(message) = any(pick) {
                    let bytes = self.relay.messages[message].bytes.clone();
                    return self.arrive(to, &bytes);
                }
            }
            Trick::OldPacket { pick } => {
                if let Some(packet) = self.packet(pick.into()) {
                    return self.arrive(to, &packet);
                }
            }
            Trick::OldSignal { pick } => {
                let signals = &self.media.signals;
                if !signals.is_empty() {
                    let signal = signals[usize::from(pick) % signals.len()].clone();
                    return self.receive(to, &signal, None);
                }
            }
            Trick::Readdress { pick, stream, leaf, epoch, counter } => {
                if let Some(packet) = self.packet(pick.into()) {
                    let packet = readdressed(self.layout, &packet, stream, leaf, epoch, counter);
                    return self.arrive(to, &packet);
                }
            }
            Trick::Swap { at } => {
                let queue = &mut self.ends[to].queue;
                let of = |message: &usize| self.relay.messages[*message].commit.as_ref().map(|commit| commit.of);
                let pairs =
                    (0..queue.len()).flat_map(|first| (first + 1..queue.len()).map(move |second| (first, second)));
                let (racing, others): (Vec<_>, Vec<_>) = pairs.partition(|(first, second)| {
                    of(&queue[*first]).is_some_and(|of_first| of(&queue[*second]) == Some(of_first))
                });
                let pairs = if racing.is_empty() { others } else { racing };
                if !pairs.is_empty() {
                    let (first, second) = pairs[usize::from(at) % pairs.len()];
                    queue.swap(first, second);
                    self.relay.may_fork = true;
                }
            }
            Trick::Late { at } => {
                let queue = &mut self.ends[to].queue;
                if queue.len() > 1 {
                    let late = queue.remove(usize::from(at) % (queue.len() - 1)).expect("one of them");
                    queue.push_back(late);
                    self.relay.may_fork = true;
                }
            }
            Trick::Early { pick } => {
                if let Some(message) = any(pick) {
                    self.relay.may_fork = true;
                    return self.receive_message(to, message);
                }
            }
            Trick::Losing { pick } => {
                if !self.relay.losing.is_empty() {
                    self.relay.may_fork = true;
                    let commit = self.relay.losing[usize::from(pick) % self.relay.losing.len()];
                    self.tally.add("welcomes of commits that lost");
                    return self.welcome(commit);
                }
            }
        }
        Ok(())
    }
}

pub fn flip(bytes: &mut [u8], bit: usize) {
    if !bytes.is_empty() {
        let at = bit / 8 % bytes.len();
        bytes[at] ^= 1 << (bit % 8);
    }
}

/// The packet under the header of another key, or of another counter.
fn readdressed(layout: KeyIdLayout, packet: &[u8], stream: u8, leaf: u8, epoch: u8, counter: u8) -> Vec<u8> {
    let (_, len) = Header::decode(packet).expect("an honest header");
    let kid = layout.key_id(stream.into(), LeafIndex(leaf.into()), epoch.into()).expect("a small leaf");
    let header = Header { kid, counter: counter.into() };
    let mut out = vec![0; header.encoded_len()];
    header.encode_into(&mut out).expect("room enough");
    out.extend_from_slice(&packet[len..]);
    out
}
