//! The account: what became of every frame for every ear, and whether the promises about frames held.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::RangeInclusive,
    time::Duration,
};

use parlor::{
    Error as Refusal, Heard, KeyIdLayout, LeafIndex,
    media::{
        Stats,
        seal::{SealMode, SealRules},
        sframe::Header,
    },
    sound::Counters,
};

use crate::{
    cast::{ANA, CARLO, CAST, EMIL, EVE, NILS},
    forgery::{Forged, Forgeries},
};

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
    pub forgery: Forged,
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

/// What a packet holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A frame of who sends it.
    Frame,
    /// The seal of frames that came before.
    Seal,
    /// A frame in another's name.
    Forgery,
}

/// A packet as its sender gave it to the relay.
#[derive(Debug)]
pub struct Sent {
    pub at: Duration,
    pub kind: Kind,
    /// Who sends it, whomever it names.
    pub speaker: usize,
    pub epoch: u64,
    /// Whom and what it names.
    pub header: PacketHeader,
    /// Sealed by a member's own library, not by a patched client nor after a removal.
    pub honest: bool,
    /// What was sealed; nothing for a seal.
    pub frame: Vec<u8>,
    pub bytes: Vec<u8>,
}

/// What a relay reads in a packet.
#[derive(Clone, Copy, Debug)]
pub struct PacketHeader {
    pub stream: u64,
    pub leaf: LeafIndex,
    pub epoch_bits: u64,
    pub counter: u64,
    /// In bytes.
    pub length: usize,
}

impl PacketHeader {
    pub fn of(packet: &[u8]) -> parlor::Result<Self> {
        let (Header { kid, counter }, length) = Header::decode(packet)?;
        let (stream, leaf, epoch_bits) = KeyIdLayout::default().split(kid);
        Ok(Self { stream, leaf, epoch_bits, counter, length })
    }
}

/// What became of a frame for one ear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    OnItsWay,
    LostOnTheWire,
    /// Waits for its key.
    Parked,
    /// Waits for its seal.
    Held,
    Opened,
    /// Refused because its speaker had been put off the stage by then: what the host wanted.
    OffStage,
    /// Came after this ear had left the room.
    AfterLeaving,
    /// Refused although speaker and ear were both in the room.
    LostToKeys,
    /// Refused as if somebody else had made it, or because a forged frame had taken its place.
    LostToForger,
}

#[derive(Default, Debug)]
struct Ear {
    /// Of each frame that was meant for this ear, by its place in [`Account::sent`].
    fates: HashMap<usize, Fate>,
    /// Frames that got their key, or their seal, when the jitter buffer had gone past them.
    late_by_keys: u64,
    late_by_seals: u64,
    /// Seals that the wire brought here, of either copy: leaf, epoch, number.
    seals: BTreeSet<(LeafIndex, u64, u64)>,
    /// Packets of epochs that this ear was not in, and how many of them it opened.
    foreign: u64,
    foreign_opened: u64,
}

impl Ear {
    fn count(&self, fate: Fate) -> u64 {
        self.fates.values().filter(|each| **each == fate).count() as u64
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
    pub forgeries: Forgeries,
    rules: SealRules,
    /// The places in `sent` of the frames that bear one name, epoch and counter, forged ones included.
    index: HashMap<(LeafIndex, u64, u64), Vec<usize>>,
    ears: [Ear; CAST.len()],
    /// Who was in the room, epoch by epoch, and whether on stage.
    register: Vec<BTreeMap<usize, bool>>,
    off_stage_opened: u64,
    altered: u64,
    altered_opened: u64,
}

impl Account {
    /// The account of a room that seals by `rules`.
    pub fn of(rules: SealRules) -> Self {
        Self { rules, ..Self::default() }
    }

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
        let place = self.sent.len();
        if sent.kind != Kind::Seal {
            self.index.entry((sent.header.leaf, sent.epoch, sent.header.counter)).or_default().push(place);
        }
        if sent.kind == Kind::Forgery {
            self.forgeries.send(place, sent.at, sent.epoch, sent.header.counter);
        }
        self.sent.push(sent);
        place
    }

    /// Notes whether the wire takes a packet to an ear at all.
    pub fn carried(&mut self, ear: usize, sent: usize, arrives: bool) {
        let Sent { kind, epoch, honest, header: PacketHeader { leaf, counter, .. }, .. } = self.sent[sent];
        if !honest || !self.was_in(ear, epoch) {
            return;
        }
        if kind == Kind::Frame {
            self.ears[ear].fates.insert(sent, if arrives { Fate::OnItsWay } else { Fate::LostOnTheWire });
        } else if arrives {
            self.ears[ear].seals.insert((leaf, epoch, counter));
        }
    }

    /// Notes that an ear has left the room: what is on its way comes too late for it, unless it opens all the same.
    pub fn leave(&mut self, ear: usize) {
        let fates = self.ears[ear].fates.values_mut();
        fates.filter(|fate| matches!(fate, Fate::OnItsWay | Fate::Held)).for_each(|fate| *fate = Fate::AfterLeaving);
    }

    /// Notes what came of a packet, or of an `altered` one, that an ear tried to open in `epoch`, the last it knew.
    pub fn tried(
        &mut self,
        ear: usize,
        sent: usize,
        epoch: u64,
        altered: bool,
        outcome: Result<(), &Refusal>,
        now: Duration,
    ) {
        if altered {
            self.altered += 1;
            self.altered_opened += u64::from(outcome.is_ok());
            return;
        }
        let Sent { kind, speaker, epoch: sealed_in, .. } = self.sent[sent];
        // A seal that opens says so by an error, for it is no sound.
        let opened = u64::from(outcome.is_ok() || kind == Kind::Seal && matches!(outcome, Err(Refusal::Seal { .. })));
        if kind == Kind::Forgery {
            if self.was_in(ear, sealed_in) {
                self.forgeries.tried(ear, sent, outcome, now);
            } else {
                self.ears[ear].foreign += 1;
                self.ears[ear].foreign_opened += opened;
            }
            return;
        }
        let stayed_on_stage = self.on_stage(speaker, sealed_in..=epoch);
        let was_in = self.was_in(ear, sealed_in);
        if !was_in {
            self.ears[ear].foreign += 1;
            self.ears[ear].foreign_opened += opened;
        } else if !stayed_on_stage {
            self.off_stage_opened += opened;
        }
        let Some(fate) = self.ears[ear].fates.get_mut(&sent) else { return };
        let waits = matches!(fate, Fate::OnItsWay | Fate::Parked | Fate::Held);
        *fate = match outcome {
            Ok(()) => Fate::Opened,
            Err(_) if !waits => *fate,
            Err(Refusal::Parked { .. }) => Fate::Parked,
            // The voice has it, or had it for as long as it holds anything: another copy changes nothing.
            Err(_) if *fate == Fate::Held => Fate::Held,
            Err(Refusal::Held { .. }) => Fate::Held,
            // Something of that counter was opened, and it was not this.
            Err(Refusal::Replayed { .. }) if *fate == Fate::OnItsWay => Fate::LostToForger,
            Err(Refusal::Replayed { .. }) => *fate,
            Err(Refusal::Impersonated { .. } | Refusal::Unsealed { .. }) => Fate::LostToForger,
            Err(_) if !stayed_on_stage => Fate::OffStage,
            Err(_) => Fate::LostToKeys,
        };
    }

    /// Notes a frame whose key or seal came after it, `late` if its turn to be played had passed by then.
    pub fn unparked(&mut self, ear: usize, heard: &Heard<Vec<u8>>, late: bool, now: Duration) {
        let named = self.index.get(&(heard.leaf, heard.epoch, heard.counter)).into_iter().flatten();
        let Some(&sent) = named.copied().find(|sent| self.sent[*sent].frame == heard.frame).as_ref() else { return };
        let by_seal = self.ears[ear].fates.get(&sent) == Some(&Fate::Held);
        self.ears[ear].late_by_seals += u64::from(late && by_seal);
        self.ears[ear].late_by_keys += u64::from(late && !by_seal);
        self.tried(ear, sent, heard.epoch, false, Ok(()), now);
    }

    /// Whether a frame that still waits at that ear waits for a seal of which the wire has lost both copies.
    ///
    /// Nobody here pauses in sending, so that the seals of an epoch cover its frames in equal parts.
    fn waits_in_vain(&self, ear: usize, sent: usize, fate: Fate) -> bool {
        let Sent { speaker, epoch, header: PacketHeader { leaf, counter, .. }, .. } = self.sent[sent];
        // What is parked for its key goes on to wait for its seal where everything has to.
        let waits = match self.rules.mode {
            SealMode::Strict => matches!(fate, Fate::Held | Fate::Parked),
            _ => fate == Fate::Held || fate == Fate::Parked && speaker == ANA,
        };
        waits && !self.ears[ear].seals.contains(&(leaf, epoch, counter / u64::from(self.rules.every)))
    }

    fn waiting_in_vain(&self, ear: usize) -> u64 {
        let fates = self.ears[ear].fates.iter();
        fates.filter(|(sent, fate)| self.waits_in_vain(ear, **sent, **fate)).count() as u64
    }

    /// What never came out of the parking lot is as lost as what was refused.
    fn lost_to_keys(&self, ear: usize) -> u64 {
        let lost = |(sent, fate): (&usize, &Fate)| match fate {
            Fate::LostToKeys | Fate::OnItsWay => true,
            Fate::Parked => !self.waits_in_vain(ear, *sent, *fate),
            _ => false,
        };
        self.ears[ear].fates.iter().filter(|fate| lost(*fate)).count() as u64
    }

    /// Frames that were refused as somebody else's, or that were held though their seal came.
    fn lost_to_forger(&self, ear: usize) -> u64 {
        let lost = |(sent, fate): (&usize, &Fate)| match fate {
            Fate::LostToForger => true,
            Fate::Held => !self.waits_in_vain(ear, *sent, *fate),
            _ => false,
        };
        self.ears[ear].fates.iter().filter(|fate| lost(*fate)).count() as u64
    }

    /// Notes at the end what was never to come out: frames whose speaker was put off the stage before their seal.
    pub fn settle(&mut self) {
        for ear in 0..self.ears.len() {
            let waiting = self.ears[ear].fates.iter().filter(|(_, fate)| matches!(fate, Fate::Held | Fate::Parked));
            let off_stage = waiting.map(|(sent, _)| *sent).filter(|sent| {
                let Sent { speaker, epoch, .. } = self.sent[*sent];
                epoch + 1 < self.register.len() as u64 && !self.on_stage(speaker, epoch..=epoch + 1)
            });
            for sent in off_stage.collect::<Vec<_>>() {
                self.ears[ear].fates.insert(sent, Fate::OffStage);
            }
        }
    }

    fn was_in(&self, who: usize, epoch: u64) -> bool {
        self.register.get(epoch as usize).is_some_and(|members| members.contains_key(&who))
    }

    fn on_stage(&self, who: usize, mut epochs: RangeInclusive<u64>) -> bool {
        epochs.all(|epoch| self.register.get(epoch as usize).and_then(|members| members.get(&who)) == Some(&true))
    }

    // ---- what it comes to ----

    pub const TABLE_HEAD: [&str; 17] = [
        "ear",
        "frames for it",
        "heard",
        "verified %",
        "lost on the wire",
        "lost because of keys",
        "late because of keys",
        "its seal was lost",
        "late because of seals",
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
        let heard = ear.count(Fate::Opened);
        let verified = if heard == 0 || self.rules.mode == SealMode::Off {
            "–".to_owned()
        } else {
            format!("{:.1}", percent(stats.verified, heard))
        };
        let before = [ear.due(), heard].map(|figure| figure.to_string());
        let figures = [
            ear.count(Fate::LostOnTheWire),
            self.lost_to_keys(who),
            ear.late_by_keys,
            self.waiting_in_vain(who),
            ear.late_by_seals,
            sound.recovered,
            (sound.concealed.as_millis() / 20) as u64,
            sound.late,
            stats.not_on_stage,
            stats.forged + stats.malformed,
            stats.replayed + stats.reflected,
            stats.too_late + stats.parked - stats.unparked,
            ear.foreign_opened,
        ];
        let name = CAST[who].0.to_owned();
        let figures = figures.iter().map(u64::to_string);
        std::iter::once(name).chain(before).chain([verified]).chain(figures).collect()
    }

    /// The sum of a figure over all ears.
    fn sum(&self, figure: impl Fn(usize) -> u64) -> u64 {
        (0..CAST.len()).map(figure).sum()
    }

    /// Frames lost because of keys, and of how many.
    fn all_lost_to_keys(&self) -> (u64, u64) {
        (self.sum(|who| self.lost_to_keys(who)), self.sum(|who| self.ears[who].due()))
    }

    fn heard(&self) -> u64 {
        self.sum(|who| self.ears[who].count(Fate::Opened))
    }

    /// The figures above the page: a number, and what it counts. `verified` frames were confirmed at all ears.
    pub fn figures(&self, verified: u64) -> Vec<(String, String)> {
        let (lost, due) = self.all_lost_to_keys();
        let opened = |who: usize, whose: &str| {
            (self.ears[who].foreign_opened.to_string(), format!("of {} packets {whose}", self.ears[who].foreign))
        };
        let (played, forged) = (self.forgeries.played(), self.forgeries.arrived());
        let confirmed = match self.rules.mode {
            SealMode::Off => "–".to_owned(),
            _ => format!("{:.1} %", percent(verified, self.heard())),
        };
        vec![
            (self.sent.len().to_string(), "packets through the relay".into()),
            (confirmed, "of what was heard confirmed by a seal".into()),
            (played.to_string(), format!("of {forged} forged frames played")),
            (self.register.len().to_string(), "epochs, each with fresh keys".into()),
            (lost.to_string(), format!("of {due} frames lost because of keys")),
            opened(EVE, "opened by the outsider"),
            opened(CARLO, "opened by the removed one"),
            opened(EMIL, "from before opened by the late one"),
        ]
    }

    /// What is promised about seals, where `verified` frames were confirmed at all ears and `loss` is the share of
    /// packets that the wire loses. Nothing, in a room without.
    pub fn seal_promises(&self, verified: u64, loss: f64) -> Vec<Promise> {
        if self.rules.mode == SealMode::Off {
            return Vec::new();
        }
        let heard = self.heard();
        // Of a frame in a hundred no more than that the last words of who was put out stay without a seal; beyond that
        // both copies of a seal may be lost.
        let least = 99.0 - 100.0 * (0.2 * loss).max(2.0 * loss * loss);
        let (held, late) = (self.sum(|who| self.waiting_in_vain(who)), self.sum(|who| self.ears[who].late_by_seals));
        let dropped = self.sum(|who| self.lost_to_forger(who));
        let hers = self.ears.iter().flat_map(|ear| &ear.fates);
        let hers = hers.filter(|(sent, fate)| self.sent[**sent].speaker == ANA && **fate == Fate::Opened).count();
        let most = if self.rules.mode == SealMode::Strict { 0 } else { 50 };
        let (played, arrived, at_one) =
            (self.forgeries.played(), self.forgeries.arrived(), self.forgeries.most_played_at_one_ear());
        let (unflagged, slowest) = self.forgeries.unflagged();
        vec![
            Promise {
                kept: percent(verified, heard) >= least && verified <= heard,
                text: "who speaks is who they say",
                figure: format!(
                    "{:.2} % of {heard} frames heard were confirmed by a seal (at least {least:.1} %)",
                    percent(verified, heard)
                ),
            },
            Promise {
                kept: at_one <= most && arrived > 0,
                text: "who speaks in another's name is not played for long",
                figure: format!(
                    "{played} of {arrived} forged frames were played, at most {at_one} in one ear (at most {most})"
                ),
            },
            Promise {
                kept: unflagged == 0 && arrived > 0 && slowest <= Duration::from_millis(1_050),
                text: "nothing forged that was played goes unflagged",
                figure: format!("{unflagged} of {played}, each within {:.2} s", slowest.as_secs_f64()),
            },
            Promise {
                kept: dropped == 0 && hers > 0,
                text: "no frame of the one impersonated is dropped because of it",
                figure: format!(
                    "{dropped}, and {hers} of ana's were heard; of all frames that waited for a seal, {late} came out too \
                     late for the ear, and {held} in vain, for the wire had lost the seal twice"
                ),
            },
        ]
    }

    /// What the forger got where nobody seals.
    pub fn without_seals(&self) -> Option<String> {
        let displaced = self.sum(|who| self.ears[who].count(Fate::LostToForger));
        let (played, arrived) = (self.forgeries.played(), self.forgeries.arrived());
        (self.rules.mode == SealMode::Off).then(|| {
            format!(
                "nobody seals here: {played} of {arrived} forged frames were played as ana's, {displaced} of hers refused \
                 as if heard before, and nobody can tell"
            )
        })
    }

    /// What is promised about frames.
    pub fn promises(&self) -> Vec<Promise> {
        let (lost, due) = self.all_lost_to_keys();
        let opens_nothing = |text, who: usize| {
            let Ear { foreign, foreign_opened, .. } = self.ears[who];
            let promise = Promise::never(text, foreign_opened, format!("of {foreign} packets"));
            Promise { kept: promise.kept && foreign > 0, ..promise }
        };
        let foreign_opened: u64 = self.ears.iter().map(|ear| ear.foreign_opened).sum();
        let usurped = |who| {
            let unlawful = |sent: &&Sent| !sent.honest && sent.kind == Kind::Frame && sent.speaker == who;
            self.sent.iter().filter(unlawful).count()
        };
        let (by_nils, by_carlo) = (usurped(NILS), usurped(CARLO));
        let sizes = |seals: bool| -> BTreeSet<usize> {
            let sent = self.sent.iter().filter(|sent| (sent.kind == Kind::Seal) == seals);
            sent.map(|sent| sent.bytes.len() - sent.header.length).collect()
        };
        let (frames, seals) = (sizes(false), sizes(true));
        let in_words =
            |sizes: &BTreeSet<usize>| sizes.iter().map(|size| format!("{size} B")).collect::<Vec<_>>().join(", ");
        let seals_expected = usize::from(self.rules.mode != SealMode::Off);
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
                kept: frames.len() == 1 && seals.len() == seals_expected,
                text: "sizes say nothing about words: one ciphertext length of frames, one of seals",
                figure: [&frames, &seals]
                    .iter()
                    .filter(|sizes| !sizes.is_empty())
                    .map(|sizes| in_words(sizes))
                    .collect::<Vec<_>>()
                    .join("; "),
            },
        ]
    }

    /// The relay's own log: about as many lines as the page has room for, over the whole evening.
    pub fn relay_lines(&self) -> Vec<String> {
        let mut lines = vec!["   time  epoch&ff  leaf  stream  counter  bytes  ciphertext".to_owned()];
        for Sent { at, header, bytes, .. } in self.sent.iter().step_by((self.sent.len() / 26).max(1)) {
            let PacketHeader { stream, leaf, epoch_bits, counter, length } = header;
            let hex: String = bytes.iter().skip(*length).take(14).map(|byte| format!("{byte:02x}")).collect();
            let (at, leaf, length) = (at.as_secs_f64(), leaf.0, bytes.len());
            lines.push(format!("{at:6.2} s  {epoch_bits:8}  {leaf:4}  {stream:6}  {counter:7}  {length:5}  {hex}…"));
        }
        lines
    }
}

/// `part` in a hundred of `whole`.
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
