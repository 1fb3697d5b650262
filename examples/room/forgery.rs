//! Frames in another's name: what became of each at every ear, and when the ear's owner was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use parlor::{Error as Refusal, media::seal::Finding};

/// What the page shows of the forgery.
#[derive(Default, Debug)]
pub struct Forged {
    /// Each forged frame, and the worst that came of it at any ear.
    pub frames: Vec<(Duration, &'static str)>,
    /// What one ear said of the speaker impersonated, from when on.
    pub states: Vec<(Duration, String)>,
}

/// What became of a forged frame at one ear, the worst last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fate {
    Refused,
    Held,
    Played,
}

#[derive(Default, Debug)]
pub struct Forgeries {
    /// By the place among all that was sent: when, in which epoch, with which counter.
    sent: BTreeMap<usize, (Duration, u64, u64)>,
    /// By ear and place: what came of it, and since when.
    fates: BTreeMap<(usize, usize), (Fate, Duration)>,
    /// What each ear was told: in which epoch, of which counters, when.
    told: Vec<(usize, u64, RangeInclusive<u64>, Duration)>,
}

impl Forgeries {
    pub fn send(&mut self, place: usize, at: Duration, epoch: u64, counter: u64) {
        self.sent.insert(place, (at, epoch, counter));
    }

    /// Notes what came of a forged frame that an ear tried to open.
    pub fn tried(&mut self, ear: usize, place: usize, outcome: Result<(), &Refusal>, now: Duration) {
        let fate = match outcome {
            Ok(()) => Fate::Played,
            Err(Refusal::Held { .. } | Refusal::Parked { .. }) => Fate::Held,
            Err(_) => Fate::Refused,
        };
        let known = self.fates.entry((ear, place)).or_insert((fate, now));
        if fate > known.0 {
            *known = (fate, now);
        }
    }

    /// Notes what an ear was told.
    pub fn told(&mut self, ear: usize, finding: &Finding, now: Duration) {
        match finding {
            Finding::Unverified { epoch, counters, .. } => self.told.push((ear, *epoch, counters.clone(), now)),
            Finding::Forgery(forgery) if forgery.stream == 0 => {
                self.told.push((ear, forgery.epoch, forgery.counters.clone(), now));
            }
            _ => {}
        }
    }

    /// How many reached anybody.
    pub fn arrived(&self) -> u64 {
        self.fates.keys().map(|(_, place)| place).collect::<BTreeSet<_>>().len() as u64
    }

    fn plays(&self) -> impl Iterator<Item = (usize, usize, Duration)> {
        let played = self.fates.iter().filter(|(_, (fate, _))| *fate == Fate::Played);
        played.map(|((ear, place), (_, at))| (*ear, *place, *at))
    }

    /// How many were played by anybody.
    pub fn played(&self) -> u64 {
        self.plays().map(|(_, place, _)| place).collect::<BTreeSet<_>>().len() as u64
    }

    pub fn most_played_at_one_ear(&self) -> u64 {
        let mut ears = BTreeMap::<usize, u64>::new();
        self.plays().for_each(|(ear, ..)| *ears.entry(ear).or_default() += 1);
        ears.into_values().max().unwrap_or(0)
    }

    /// How many were played of which their ear was never told, and the longest that an ear had to wait for it.
    pub fn unflagged(&self) -> (u64, Duration) {
        let (mut unflagged, mut slowest) = (0, Duration::ZERO);
        for (ear, place, played) in self.plays() {
            let (_, epoch, counter) = self.sent[&place];
            let told = self.told.iter().filter(|(whose, of, counters, at)| {
                (*whose, *of) == (ear, epoch) && counters.contains(&counter) && *at >= played
            });
            match told.map(|(.., at)| *at - played).min() {
                Some(after) => slowest = slowest.max(after),
                None => unflagged += 1,
            }
        }
        (unflagged, slowest)
    }

    /// Each forged frame, and the worst that came of it.
    pub fn frames(&self) -> Vec<(Duration, &'static str)> {
        let worst =
            |place: usize| self.fates.iter().filter(|((_, of), _)| *of == place).map(|(_, (fate, _))| *fate).max();
        let in_a_word = |fate| match fate {
            None => "lost",
            Some(Fate::Refused) => "refused",
            Some(Fate::Held) => "held",
            Some(Fate::Played) => "played",
        };
        self.sent.iter().map(|(place, (at, ..))| (*at, in_a_word(worst(*place)))).collect()
    }
}
