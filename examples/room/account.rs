//! The account: what became of every frame for every ear, and whether the promises about frames held.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::RangeInclusive,
    time::Duration,
};

use parlor::{
    Error as Refusal, Heard, KeyIdLayout, LeafIndex,
    media::{Stats, sframe::Header},
    sound::Counters,
};

use crate::cast::{CARLO, CAST, EMIL, EVE, NILS};

/// Everything that the table and the page show.
#[derive(Debug)]
pub struct Record {
    pub length: Duration,
    pub headline: String,
    pub figures: Vec<(String, String)>,
    pub epochs: Vec<(Duration, u64)>,
    pub events: Vec<(Duration, String)>,
    pub lanes: Vec<Lane>,
    pub packets: Vec<(Duration, Vec<u8>)>,
    pub relay_lines: Vec<String>,
    pub table_rows: Vec<Vec<String>>,
    pub promises: Vec<Promise>,
}

/// One ear: what it heard, and where its owner stood.
#[derive(Debug)]
pub struct Lane {
    pub name: &'static str,
    pub caption: &'static str,
    pub pcm: Vec<f32>,
    pub spans: Vec<Span>,
}

/// Where somebody stood for a while: on `stage`, `listening` or `outside`.
#[derive(Debug)]
pub struct Span {
    pub from: Duration,
    pub to: Duration,
    pub kind: &'static str,
}

/// Something the library promises, and whether it held.
#[derive(Debug)]
pub struct Promise {
    pub kept: bool,
    pub text: &'static str,
    pub figure: String,
}

impl Promise {
    /// A promise that something never happens.
    pub fn never(text: &'static str, times: u64, of: impl std::fmt::Display) -> Self {
        Self { kept: times == 0, text, figure: format!("{times} {of}") }
    }
}

/// A packet as its sender gave it to the relay.
#[derive(Debug)]
pub struct Sent {
    pub at: Duration,
    pub speaker: usize,
    pub leaf: LeafIndex,
    pub epoch: u64,
    pub counter: u64,
    /// Sealed by a member's own library, not by a patched client nor after a removal.
    pub honest: bool,
    pub bytes: Vec<u8>,
}

/// What a relay reads in a packet: the epoch's low bits, the sender's leaf, the counter; and the header's length.
pub fn read_header(packet: &[u8]) -> parlor::Result<(u64, LeafIndex, u64, usize)> {
    let (header, length) = Header::decode(packet)?;
    let (_, leaf, epoch_bits) = KeyIdLayout::default().split(header.kid);
    Ok((epoch_bits, leaf, header.counter, length))
}

/// What became of a frame for one ear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    OnItsWay,
    LostOnTheWire,
    /// Waits for its key.
    Parked,
    Opened,
    /// Refused because its speaker had been put off the stage by then: what the host wanted.
    OffStage,
    /// Came after this ear had left the room.
    AfterLeaving,
    /// Refused although speaker and ear were both in the room.
    LostToKeys,
}

#[derive(Default, Debug)]
struct Ear {
    /// Of each frame that was meant for this ear, by its place in [`Account::sent`].
    fates: HashMap<usize, Fate>,
    /// Frames that got their key when the jitter buffer had gone past them.
    late_by_keys: u64,
    /// Packets of epochs that this ear was not in, and how many of them it opened.
    foreign: u64,
    foreign_opened: u64,
}

impl Ear {
    fn count(&self, fate: Fate) -> u64 {
        self.fates.values().filter(|each| **each == fate).count() as u64
    }

    /// What never came out of the parking lot is as lost as what was refused.
    fn lost_to_keys(&self) -> u64 {
        self.count(Fate::LostToKeys) + self.count(Fate::Parked) + self.count(Fate::OnItsWay)
    }

    /// Frames that this ear was to hear.
    fn due(&self) -> u64 {
        self.fates.len() as u64 - self.count(Fate::AfterLeaving) - self.count(Fate::OffStage)
    }
}

/// Every frame and every ear of the evening. People are named by their place in the cast.
#[derive(Default, Debug)]
pub struct Account {
    pub sent: Vec<Sent>,
    index: HashMap<(LeafIndex, u64, u64), usize>,
    ears: [Ear; CAST.len()],
    /// Who was in the room, epoch by epoch, and whether on stage.
    register: Vec<BTreeMap<usize, bool>>,
    off_stage_opened: u64,
    altered: u64,
    altered_opened: u64,
}

impl Account {
    /// Notes who is in the room in `epoch`, and whether on stage; tells whether that was not known before.
    pub fn enter(&mut self, epoch: u64, members: impl Iterator<Item = (usize, bool)>) -> bool {
        let first = epoch == self.register.len() as u64;
        if first {
            self.register.push(members.collect());
        }
        first
    }

    /// Notes a packet that the relay was given; it is known by the number that comes back.
    pub fn send(&mut self, sent: Sent) -> usize {
        self.index.insert((sent.leaf, sent.epoch, sent.counter), self.sent.len());
        self.sent.push(sent);
        self.sent.len() - 1
    }

    /// Notes whether the wire takes a packet to an ear at all.
    pub fn carried(&mut self, ear: usize, sent: usize, arrives: bool) {
        let Sent { epoch, honest, .. } = self.sent[sent];
        if honest && self.was_in(ear, epoch) {
            self.ears[ear].fates.insert(sent, if arrives { Fate::OnItsWay } else { Fate::LostOnTheWire });
        }
    }

    /// Notes that an ear has left the room: what is on its way comes too late for it, unless it opens all the same.
    pub fn leave(&mut self, ear: usize) {
        let fates = self.ears[ear].fates.values_mut();
        fates.filter(|fate| **fate == Fate::OnItsWay).for_each(|fate| *fate = Fate::AfterLeaving);
    }

    /// Notes what came of a packet, or of an `altered` one, that an ear tried to open in `epoch`, the last it knew.
    pub fn tried(&mut self, ear: usize, sent: usize, epoch: u64, altered: bool, outcome: Result<(), &Refusal>) {
        let opened = u64::from(outcome.is_ok());
        if altered {
            self.altered += 1;
            self.altered_opened += opened;
            return;
        }
        let Sent { speaker, epoch: sealed_in, .. } = self.sent[sent];
        let stayed_on_stage = self.on_stage(speaker, sealed_in..=epoch);
        let was_in = self.was_in(ear, sealed_in);
        if !was_in {
            self.ears[ear].foreign += 1;
            self.ears[ear].foreign_opened += opened;
        } else if !stayed_on_stage {
            self.off_stage_opened += opened;
        }
        let Some(fate) = self.ears[ear].fates.get_mut(&sent) else { return };
        let waits = matches!(fate, Fate::OnItsWay | Fate::Parked);
        *fate = match outcome {
            Ok(()) => Fate::Opened,
            Err(_) if !waits => *fate,
            Err(Refusal::Parked { .. }) => Fate::Parked,
            Err(Refusal::Replayed { .. }) => *fate,
            Err(_) if !stayed_on_stage => Fate::OffStage,
            Err(_) => Fate::LostToKeys,
        };
    }

    /// Notes a frame whose key came after it, `late` if its turn to be played had passed by then.
    pub fn unparked<F>(&mut self, ear: usize, heard: &Heard<F>, late: bool) {
        self.ears[ear].late_by_keys += u64::from(late);
        if let Some(sent) = self.index.get(&(heard.leaf, heard.epoch, heard.counter)) {
            self.tried(ear, *sent, heard.epoch, false, Ok(()));
        }
    }

    fn was_in(&self, who: usize, epoch: u64) -> bool {
        self.register.get(epoch as usize).is_some_and(|members| members.contains_key(&who))
    }

    fn on_stage(&self, who: usize, mut epochs: RangeInclusive<u64>) -> bool {
        epochs.all(|epoch| self.register.get(epoch as usize).and_then(|members| members.get(&who)) == Some(&true))
    }

    // ---- what it comes to ----

    pub const TABLE_HEAD: [&str; 14] = [
        "ear",
        "frames for it",
        "heard",
        "lost on the wire",
        "lost because of keys",
        "late because of keys",
        "FEC",
        "concealed",
        "too late for the ear",
        "refused: off stage",
        "refused: forged",
        "refused: replayed",
        "refused: no key",
        "opened without right",
    ];

    /// One ear's row under [`TABLE_HEAD`](Self::TABLE_HEAD). `stats` are its voice's, `sound` its jitter buffers'.
    pub fn table_row(&self, who: usize, stats: &Stats, sound: Counters) -> Vec<String> {
        let ear = &self.ears[who];
        let figures = [
            ear.due(),
            ear.count(Fate::Opened),
            ear.count(Fate::LostOnTheWire),
            ear.lost_to_keys(),
            ear.late_by_keys,
            sound.recovered,
            sound.concealed,
            sound.late,
            stats.not_on_stage,
            stats.forged + stats.malformed,
            stats.replayed + stats.reflected,
            stats.too_late + stats.parked - stats.unparked,
            ear.foreign_opened,
        ];
        std::iter::once(CAST[who].0.to_owned()).chain(figures.iter().map(u64::to_string)).collect()
    }

    /// Frames lost because of keys, and of how many.
    fn lost_to_keys(&self) -> (u64, u64) {
        (self.ears.iter().map(Ear::lost_to_keys).sum(), self.ears.iter().map(Ear::due).sum())
    }

    /// The figures above the page: a number, and what it counts.
    pub fn figures(&self) -> Vec<(String, String)> {
        let (lost, due) = self.lost_to_keys();
        let opened = |who: usize, whose: &str| {
            (self.ears[who].foreign_opened.to_string(), format!("of {} packets {whose}", self.ears[who].foreign))
        };
        vec![
            (self.sent.len().to_string(), "packets through the relay".into()),
            (self.register.len().to_string(), "epochs, each with fresh keys".into()),
            (lost.to_string(), format!("of {due} frames lost because of keys")),
            opened(EVE, "opened by the outsider"),
            opened(CARLO, "opened by the removed one"),
            opened(EMIL, "from before opened by the late one"),
        ]
    }

    /// What is promised about frames.
    pub fn promises(&self) -> Vec<Promise> {
        let (lost, due) = self.lost_to_keys();
        let opens_nothing = |text, who: usize| {
            let Ear { foreign, foreign_opened, .. } = self.ears[who];
            let promise = Promise::never(text, foreign_opened, format!("of {foreign} packets"));
            Promise { kept: promise.kept && foreign > 0, ..promise }
        };
        let foreign_opened: u64 = self.ears.iter().map(|ear| ear.foreign_opened).sum();
        let usurped = |who| self.sent.iter().filter(|sent| !sent.honest && sent.speaker == who).count();
        let (by_nils, by_carlo) = (usurped(NILS), usurped(CARLO));
        let sizes: BTreeSet<usize> = self
            .sent
            .iter()
            .map(|sent| sent.bytes.len() - read_header(&sent.bytes).map_or(0, |(.., header)| header))
            .collect();
        vec![
            Promise {
                kept: lost == 0 && due > 0,
                ..Promise::never("no frame is lost to a key change", lost, format!("of {due} frames"))
            },
            opens_nothing("the outsider opens nothing", EVE),
            opens_nothing("the removed one opens nothing sealed after the removal", CARLO),
            opens_nothing("the late one opens nothing from before", EMIL),
            Promise::never("nobody opens a frame of an epoch they are not in", foreign_opened, "frames"),
            Promise {
                kept: self.off_stage_opened == 0 && by_nils > 0 && by_carlo > 0,
                text: "nobody hears who is not on stage",
                figure: format!(
                    "{} played of {by_nils} by the patched listener and {by_carlo} by the removed speaker, both sealed \
                     with real keys",
                    self.off_stage_opened
                ),
            },
            Promise {
                kept: self.altered_opened == 0 && self.altered > 0,
                text: "nothing the relay alters is played",
                figure: format!("{} of {} altered packets", self.altered_opened, self.altered),
            },
            Promise {
                kept: sizes.len() == 1,
                text: "sizes say nothing about words: one ciphertext length",
                figure: sizes.iter().map(|size| format!("{size} B")).collect::<Vec<_>>().join(", "),
            },
        ]
    }

    /// The relay's own log: about as many lines as the page has room for, over the whole evening.
    pub fn relay_lines(&self) -> parlor::Result<Vec<String>> {
        let mut lines = vec!["   time  epoch&ff  leaf  counter  bytes  ciphertext".to_owned()];
        for Sent { at, bytes, .. } in self.sent.iter().step_by((self.sent.len() / 26).max(1)) {
            let (epoch_bits, leaf, counter, header) = read_header(bytes)?;
            let hex: String = bytes.iter().skip(header).take(16).map(|byte| format!("{byte:02x}")).collect();
            let (at, leaf, length) = (at.as_secs_f64(), leaf.0, bytes.len());
            lines.push(format!("{at:6.2} s  {epoch_bits:8}  {leaf:4}  {counter:7}  {length:5}  {hex}…"));
        }
        Ok(lines)
    }
}
