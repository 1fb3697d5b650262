//! What seals brought to light, for the app to show: few, in order, one for each run of counters.

use std::{collections::VecDeque, fmt, ops::RangeInclusive, time::Duration};

use crate::identity::MemberId;

/// The most findings that wait to be asked for. Beyond, those of one kind, speaker and epoch become one; else the
/// oldest make room.
const MOST: usize = 256;

/// What seals, or the want of them, brought to light. [`Voice::next_finding`](crate::Voice::next_finding) gives each
/// once.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Finding {
    /// Frames were played in `speaker`'s name that no seal has covered for a second. That is no forgery yet: seals get
    /// lost, and some apps make none.
    Unverified {
        /// In whose name.
        speaker: MemberId,
        /// In which epoch.
        epoch: u64,
        /// Which frames; from the lowest to the highest, where there are too many runs to tell.
        counters: RangeInclusive<u64>,
        /// When it was found.
        at: Duration,
    },
    /// Somebody in the room has spoken in another's name: the speaker's own seal says so, or one's own knowledge.
    Forgery(Forgery),
    /// A speaker has sealed two things under one counter: it is the speaker who cheats. The later seal was not taken.
    Equivocation {
        /// Who.
        speaker: MemberId,
        /// In which epoch.
        epoch: u64,
        /// When it was found.
        at: Duration,
    },
}

/// Packets in somebody's name that they did not make.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Forgery {
    /// Whose name they bear. It is nothing that this member did.
    pub impersonated: MemberId,
    /// In which epoch.
    pub epoch: u64,
    /// 0 for sound, 1 for seals.
    pub stream: u64,
    /// Their counters, from the lowest to the highest of a run; of several, where there are too many to tell.
    pub counters: RangeInclusive<u64>,
    /// How many there were.
    pub packets: u64,
    /// How many of them had been played, in a room that plays before it knows.
    pub played: u64,
    /// When the last of them was found out.
    pub at: Duration,
    /// Who made them, where nobody else can have: in a room of two, who is not oneself. Every member has every frame
    /// key, so in a larger room nothing proves which of them it was.
    pub forger: Option<MemberId>,
}

impl Finding {
    /// Whether both are of one kind, speaker and epoch.
    fn is_kin_of(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Unverified { speaker, epoch, .. },
                Self::Unverified { speaker: other_speaker, epoch: other_epoch, .. },
            ) => (speaker, epoch) == (other_speaker, other_epoch),
            (Self::Forgery(one), Self::Forgery(other)) => one.is_kin_of(other),
            _ => false,
        }
    }

    /// Takes in what an older one of its kin says.
    fn absorb(&mut self, older: Self) {
        match (self, older) {
            (Self::Unverified { counters, .. }, Self::Unverified { counters: older, .. }) => {
                *counters = hull(counters, &older);
            }
            (Self::Forgery(one), Self::Forgery(older)) => one.absorb(&older, one.at),
            _ => {}
        }
    }
}

impl Forgery {
    fn is_kin_of(&self, other: &Self) -> bool {
        (self.impersonated, self.epoch, self.stream, self.forger)
            == (other.impersonated, other.epoch, other.stream, other.forger)
    }

    fn absorb(&mut self, other: &Self, at: Duration) {
        self.counters = hull(&self.counters, &other.counters);
        self.packets += other.packets;
        self.played += other.played;
        self.at = at;
    }

    pub(in crate::media) fn one(
        impersonated: MemberId,
        epoch: u64,
        stream: u64,
        counter: u64,
        played: bool,
        forger: Option<MemberId>,
        at: Duration,
    ) -> Self {
        let (counters, played) = (counter..=counter, u64::from(played));
        Self { impersonated, epoch, stream, counters, packets: 1, played, at, forger }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unverified { speaker, epoch, counters, .. } => write!(
                f,
                "no seal has covered frames {} to {} of {speaker} in epoch {epoch} for a second: they are unverified",
                counters.start(),
                counters.end()
            ),
            Self::Forgery(forgery) => forgery.fmt(f),
            Self::Equivocation { speaker, epoch, .. } => {
                write!(f, "{speaker} has sealed two things under one counter in epoch {epoch}: do not trust them")
            }
        }
    }
}

impl fmt::Display for Forgery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { impersonated, epoch, stream, counters, packets, played, forger, .. } = self;
        let what = if *stream == 0 { "frames" } else { "seals" };
        match forger {
            Some(forger) => write!(f, "{forger}")?,
            None => f.write_str("somebody in the room")?,
        }
        let (first, last) = (counters.start(), counters.end());
        write!(f, " made {packets} {what} in the name of {impersonated} in epoch {epoch}, counters {first} to {last}")?;
        if *played > 0 { write!(f, "; {played} had been played") } else { f.write_str("; none was played") }
    }
}

fn hull(one: &RangeInclusive<u64>, other: &RangeInclusive<u64>) -> RangeInclusive<u64> {
    *one.start().min(other.start())..=*one.end().max(other.end())
}

#[derive(Debug, Default)]
pub(in crate::media) struct Findings {
    found: VecDeque<Finding>,
    /// No two of those that wait are of one kind, speaker and epoch, as far as was looked: then nobody need look again
    /// while it is full, for what has kin joins that.
    all_differ: bool,
    #[cfg(test)]
    compared: std::sync::atomic::AtomicUsize,
}

impl Findings {
    pub(in crate::media) fn next(&mut self) -> Option<Finding> {
        self.all_differ = false;
        self.found.pop_front()
    }

    pub(in crate::media) fn unverified(&mut self, speaker: MemberId, epoch: u64, counter: u64, at: Duration) {
        let is_full = self.is_full();
        let run = self.found.iter_mut().rev().find_map(|finding| match finding {
            Finding::Unverified { speaker: of, epoch: in_epoch, counters, .. }
                if (*of, *in_epoch) == (speaker, epoch) && (is_full || counter == counters.end().saturating_add(1)) =>
            {
                Some(counters)
            }
            _ => None,
        });
        match run {
            Some(counters) => *counters = hull(counters, &(counter..=counter)),
            None => self.push(Finding::Unverified { speaker, epoch, counters: counter..=counter, at }),
        }
    }

    /// Another packet that is forged, or a run of them.
    pub(in crate::media) fn forgery(&mut self, new: Forgery) {
        let is_full = self.is_full();
        let run = self.found.iter_mut().rev().find_map(|finding| match finding {
            Finding::Forgery(run)
                if run.is_kin_of(&new)
                    && (is_full
                        || *new.counters.start() <= run.counters.end().saturating_add(1)
                            && *run.counters.start() <= new.counters.end().saturating_add(1)) =>
            {
                Some(run)
            }
            _ => None,
        });
        match run {
            Some(run) => run.absorb(&new, new.at),
            None => self.push(Finding::Forgery(new)),
        }
    }

    pub(in crate::media) fn equivocation(&mut self, speaker: MemberId, epoch: u64, at: Duration) {
        let is_known = |finding: &Finding| match finding {
            Finding::Equivocation { speaker: of, epoch: in_epoch, .. } => (*of, *in_epoch) == (speaker, epoch),
            _ => false,
        };
        if !self.found.iter().any(is_known) {
            self.push(Finding::Equivocation { speaker, epoch, at });
        }
    }

    /// From then on one finding stands for more than one run: whoever is found out could push the rest out otherwise.
    fn is_full(&self) -> bool {
        self.found.len() >= MOST
    }

    fn push(&mut self, finding: Finding) {
        if self.is_full() {
            self.make_room();
        }
        self.found.push_back(finding);
    }

    /// Makes one finding of the oldest that has another of its kind, and that one; if none has, the oldest goes.
    fn make_room(&mut self) {
        let is_kin = |one: &Finding, other: &Finding| {
            #[cfg(test)]
            self.compared.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            one.is_kin_of(other)
        };
        let pair = self.found.iter().enumerate().filter(|_| !self.all_differ).find_map(|(at, old)| {
            let behind = self.found.iter().skip(at + 1).position(|later| is_kin(later, old))?;
            Some((at, at + behind))
        });
        let Some((at, later)) = pair else {
            self.all_differ = true;
            self.found.pop_front();
            return;
        };
        if let Some(old) = self.found.remove(at)
            && let Some(later) = self.found.get_mut(later)
        {
            later.absorb(old);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: MemberId = MemberId([1; 32]);
    const BEN: MemberId = MemberId([2; 32]);

    fn at(counter: u64) -> Duration {
        Duration::from_secs(counter)
    }

    fn all(mut findings: Findings) -> Vec<Finding> {
        std::iter::from_fn(|| findings.next()).collect()
    }

    #[test]
    fn unsealed_frames_in_a_row_are_one_finding_and_those_of_another_speaker_or_epoch_are_not_in_it() {
        let mut findings = Findings::default();
        for (speaker, epoch, counter) in
            [(ANA, 3, 5), (ANA, 3, 6), (BEN, 3, 7), (ANA, 4, 7), (ANA, 3, 7), (ANA, 3, 9), (BEN, 3, 8)]
        {
            findings.unverified(speaker, epoch, counter, at(counter));
        }
        let run = |speaker, epoch, counters: RangeInclusive<u64>| {
            let at = at(*counters.start());
            Finding::Unverified { speaker, epoch, counters, at }
        };
        assert_eq!(all(findings), [run(ANA, 3, 5..=7), run(BEN, 3, 7..=8), run(ANA, 4, 7..=7), run(ANA, 3, 9..=9)]);
    }

    #[test]
    fn forgeries_side_by_side_are_one_finding_and_those_of_another_kind_are_not_in_it() {
        let mut findings = Findings::default();
        let one = |counter, played| Forgery::one(ANA, 3, 0, counter, played, None, at(counter));
        let of_another_kind = [
            Forgery { impersonated: BEN, ..one(7, true) },
            Forgery { epoch: 4, ..one(7, true) },
            Forgery { stream: 1, ..one(7, true) },
            Forgery { forger: Some(BEN), ..one(7, true) },
        ];
        [one(5, true), one(6, false)].into_iter().chain(of_another_kind.clone()).for_each(|new| findings.forgery(new));
        [one(4, false), one(8, true), one(2, true)].into_iter().for_each(|new| findings.forgery(new));
        let run = Forgery { counters: 4..=6, packets: 3, at: at(4), ..one(5, true) };
        let apart = [one(8, true), one(2, true)];
        let expected = std::iter::once(run).chain(of_another_kind).chain(apart).map(Finding::Forgery);
        assert_eq!(all(findings), expected.collect::<Vec<_>>());
    }

    #[test]
    fn who_cheats_is_told_of_once_an_epoch() {
        let mut findings = Findings::default();
        for (speaker, epoch) in [(ANA, 3), (ANA, 3), (BEN, 3), (ANA, 4), (BEN, 3)] {
            findings.equivocation(speaker, epoch, at(epoch));
        }
        let told = |speaker, epoch| Finding::Equivocation { speaker, epoch, at: at(epoch) };
        assert_eq!(all(findings), [told(ANA, 3), told(BEN, 3), told(ANA, 4)]);
    }

    #[test]
    fn each_is_told_in_a_sentence() {
        let told = |forgery| Finding::Forgery(forgery).to_string();
        let one = Forgery::one(ANA, 3, 0, 5, false, None, at(5));
        let words = "in epoch 3, counters 5 to 5; none was played";
        assert_eq!(told(one.clone()), format!("somebody in the room made 1 frames in the name of {ANA} {words}"));
        let two = Forgery { stream: 1, counters: 5..=6, packets: 2, played: 1, forger: Some(BEN), ..one };
        let words = "in epoch 3, counters 5 to 6; 1 had been played";
        assert_eq!(told(two), format!("{BEN} made 2 seals in the name of {ANA} {words}"));
        let unverified = Finding::Unverified { speaker: ANA, epoch: 3, counters: 5..=7, at: at(9) }.to_string();
        assert!(unverified.contains(&format!("frames 5 to 7 of {ANA} in epoch 3")), "{unverified}");
        let cheat = Finding::Equivocation { speaker: ANA, epoch: 3, at: at(9) }.to_string();
        assert!(cheat.contains(&format!("{ANA} has sealed two things")), "{cheat}");
    }

    /// Who is found out again and again takes the place of nobody else.
    #[test]
    fn where_there_are_too_many_one_stands_for_several_of_its_kind_and_no_kind_is_lost() {
        for is_forged in [false, true] {
            let mut findings = Findings::default();
            let find = |findings: &mut Findings, whom, counter| match is_forged {
                true => findings.forgery(Forgery::one(whom, 3, 0, counter, true, None, at(counter))),
                false => findings.unverified(whom, 3, counter, at(counter)),
            };
            findings.equivocation(BEN, 3, at(0));
            find(&mut findings, ANA, 0);
            findings.equivocation(ANA, 3, at(0));
            let runs = MOST as u64 - 3;
            (1..=runs).for_each(|run| find(&mut findings, ANA, 10 * run));
            // One more of Ana's, and the first of Ben's.
            find(&mut findings, ANA, 10 * (runs + 1));
            find(&mut findings, BEN, 7);
            let found = all(findings);
            assert_eq!(found.len(), MOST);
            let counters = |finding: &Finding| match finding {
                Finding::Unverified { counters, .. } => Some((counters.clone(), 0)),
                Finding::Forgery(Forgery { counters, packets, played, .. }) if packets == played => {
                    Some((counters.clone(), *packets))
                }
                _ => None,
            };
            let packets = |packets: u64| if is_forged { packets } else { 0 };
            assert!(matches!(found[0], Finding::Equivocation { speaker: BEN, .. }));
            assert!(matches!(found[1], Finding::Equivocation { speaker: ANA, .. }));
            assert_eq!(counters(&found[2]), Some((0..=10, packets(2))));
            assert_eq!(counters(&found[3]), Some((20..=20, packets(1))));
            assert_eq!(counters(&found[MOST - 2]), Some((10 * runs..=10 * (runs + 1), packets(2))));
            assert_eq!(counters(&found[MOST - 1]), Some((7..=7, packets(1))));
        }
    }

    #[test]
    fn where_no_two_are_of_a_kind_the_oldest_makes_room() {
        let mut findings = Findings::default();
        (0..=MOST as u64).for_each(|epoch| findings.equivocation(ANA, epoch, at(0)));
        let found = all(findings);
        assert_eq!(found.len(), MOST);
        assert!(matches!(found[0], Finding::Equivocation { epoch: 1, .. }));
    }

    /// As a member may make them, of a room with more on stage than there are findings.
    #[test]
    fn a_finding_of_somebody_else_each_time_costs_no_search_of_all_pairs_each_time() {
        let mut findings = Findings::default();
        let forge = |findings: &mut Findings, n: u64| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            findings.forgery(Forgery::one(MemberId(id), 3, 0, 9, false, None, at(1)));
        };
        (0..MOST as u64).for_each(|n| forge(&mut findings, n));
        (1_000..11_000).for_each(|n| forge(&mut findings, n));
        assert_eq!(findings.found.len(), MOST);
        let compared = findings.compared.load(std::sync::atomic::Ordering::Relaxed);
        assert!((MOST..MOST * MOST).contains(&compared), "{compared} for 10,000");
        // Once there was room, two may be of one kind again: they become one before anything goes.
        findings.next();
        findings.next();
        findings.unverified(ANA, 3, 1, at(1));
        findings.unverified(ANA, 3, 5, at(2));
        forge(&mut findings, 20_000);
        let kept = all(findings);
        assert_eq!(kept.len(), MOST);
        let both = |finding: &Finding| matches!(finding, Finding::Unverified { counters, .. } if *counters == (1..=5));
        assert!(kept.iter().any(both));
    }
}
