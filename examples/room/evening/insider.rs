//! The insider, and what is found out about him: nils, who has the room's real keys, and a client of his own making.

use std::{mem, ops::Range, time::Duration};

use parlor::{
    EpochKeys, Heard, KeyIdLayout, LeafIndex, MemberId, Suite, Voice,
    frame::{MediaTime, VoiceFrame},
    media::{
        SealState, Speaker,
        seal::{Finding, SealKeys, SealMode},
        sframe::{Backend, Sealer},
    },
    sound::{Encoder, Encoding, FRAME_UNITS, Samples},
};
use zeroize::Zeroizing;

use super::{END, Evening, Outcome, Place, media::MAX_PAYLOAD};
use crate::{
    account::{Kind, PacketHeader, Promise, Sent},
    cast::{ANA, CAST, DORA, NILS},
};

/// He begins so many frames ahead of ana, where nothing of hers contradicts him yet, and goes on for so many.
const AHEAD: u64 = 40;
const UNDISTURBED: u64 = 25;

/// Then he aims at the counters that she is using, in turn: next to come, just used, far ahead, long sealed.
const AIMS: [i64; 5] = [4, 4, 0, 60, -40];

/// How often the members' apps say what they were told.
const EVERY: Duration = Duration::from_secs(1);

/// What the patched client has.
pub(super) struct Insider {
    encoding: Encoding,
    /// When he speaks as himself, and when in the name of ana.
    pub(super) patched: Range<Duration>,
    pub(super) forges: Range<Duration>,
    /// A voice that thinks its owner is on stage.
    voice: Option<Voice>,
    /// What every member has: the base key of the epoch, from which every frame key comes.
    stolen: Option<Stolen>,
    /// How many frames he has forged, and the counter of the first.
    forged: u64,
    first: Option<u64>,
}

struct Stolen {
    suite: Suite,
    layout: KeyIdLayout,
    epoch: u64,
    base_key: Zeroizing<Vec<u8>>,
    stage: Vec<Speaker>,
    /// Where those on stage were last heard: leaf, counter, media time.
    heard: Vec<(LeafIndex, u64, MediaTime)>,
}

impl Insider {
    pub(super) fn new(encoding: Encoding) -> Self {
        let never = Duration::ZERO..Duration::ZERO;
        let (patched, forges) = (never.clone(), never);
        Self { encoding, patched, forges, voice: None, stolen: None, forged: 0, first: None }
    }

    pub(super) fn is_patched(&self) -> bool {
        !self.patched.is_empty()
    }

    /// The voice that he speaks with as himself.
    pub(super) fn voice_at(&mut self, now: Duration) -> Option<&mut Voice> {
        self.voice.as_mut().filter(|_| self.patched.contains(&now))
    }

    /// Takes down where a speaker is.
    pub(super) fn overhear(&mut self, heard: &Heard<Vec<u8>>) {
        let Some(stolen) = self.stolen.as_mut().filter(|stolen| stolen.epoch == heard.epoch) else { return };
        let Ok(frame) = VoiceFrame::parse(&heard.frame) else { return };
        stolen.heard.retain(|(leaf, counter, _)| *leaf != heard.leaf || *counter > heard.counter);
        if stolen.heard.iter().all(|(leaf, ..)| *leaf != heard.leaf) {
            stolen.heard.push((heard.leaf, heard.counter, frame.time));
        }
    }

    /// The next frame in the name of `victim`, if anything was heard of them.
    fn forge(&mut self, victim: MemberId, pcm: &Samples, now: Duration) -> Outcome<Option<Sent>> {
        let Some(Stolen { suite, layout, epoch, base_key, stage, heard }) = &self.stolen else { return Ok(None) };
        let Some(leaf) = stage.iter().find(|speaker| speaker.id == victim).map(|speaker| speaker.leaf) else {
            return Ok(None);
        };
        let Some((_, last, time)) = heard.iter().find(|(at, ..)| *at == leaf) else { return Ok(None) };
        let counter = match self.forged.checked_sub(UNDISTURBED) {
            None => *self.first.get_or_insert(last + AHEAD) + self.forged,
            Some(since) => last.saturating_add_signed(AIMS[since as usize % AIMS.len()]),
        };
        // Her media time at that counter, so that ears take it for hers.
        let ahead = (counter as i64 - *last as i64) * FRAME_UNITS as i64;
        let time = MediaTime::from_units(u64::from(time.units()).saturating_add_signed(ahead));
        let mut encoder = Encoder::starting_at(self.encoding, time)?;
        let mut payload = [0; MAX_PAYLOAD];
        let length = encoder.encode(pcm, &mut payload)?;
        let frame = payload[..length].to_vec();
        let kid = layout.key_id(0, leaf, *epoch)?;
        let mut sealer = Sealer::new(*suite, Backend::default(), base_key, kid, counter)?;
        let mut packet = vec![0; MAX_PAYLOAD];
        let length = sealer.seal_into(b"", &frame, &mut packet)?;
        packet.truncate(length);
        self.forged += 1;
        Ok(Some(Sent {
            at: now,
            kind: Kind::Forgery,
            speaker: NILS,
            epoch: *epoch,
            header: PacketHeader::of(&packet)?,
            honest: false,
            frame,
            bytes: packet,
        }))
    }
}

/// What the members' apps were told.
#[derive(Default)]
pub(super) struct Told {
    /// What each ear was told, since it was last said.
    fresh: Vec<(usize, Found)>,
    said: Duration,
    /// What dora's ear says of ana, from when on.
    pub(super) states: Vec<(Duration, String)>,
    state: SealState,
}

/// Findings of one kind about one speaker.
enum Found {
    Forged { of: MemberId, packets: u64, played: u64 },
    Unverified { of: MemberId, frames: u64 },
    Other(Finding),
}

impl Told {
    fn take(&mut self, ear: usize, finding: Finding) {
        let mut known = self.fresh.iter_mut().filter(|(whose, _)| *whose == ear).map(|(_, found)| found);
        let found = match finding {
            Finding::Forgery(forgery) => {
                let alike = known.find_map(|found| match found {
                    Found::Forged { of, packets, played } if *of == forgery.impersonated => Some((packets, played)),
                    _ => None,
                });
                if let Some((packets, played)) = alike {
                    (*packets, *played) = (*packets + forgery.packets, *played + forgery.played);
                    return;
                }
                Found::Forged { of: forgery.impersonated, packets: forgery.packets, played: forgery.played }
            }
            Finding::Unverified { speaker, counters, .. } => {
                let more = counters.count() as u64;
                let alike = known.find_map(|found| match found {
                    Found::Unverified { of, frames } if *of == speaker => Some(frames),
                    _ => None,
                });
                if let Some(frames) = alike {
                    *frames += more;
                    return;
                }
                Found::Unverified { of: speaker, frames: more }
            }
            other => Found::Other(other),
        };
        self.fresh.push((ear, found));
    }
}

impl Evening<'_> {
    /// The patched client: keys to listen with as before, and a second voice that thinks its owner is on stage.
    pub(super) fn patch(&mut self, keys: EpochKeys) -> Outcome<EpochKeys> {
        let (suite, layout, epoch, me, since) = (keys.suite(), keys.layout(), keys.epoch(), keys.me(), keys.since());
        let (stage, offstage) = (keys.stage().to_vec(), keys.offstage().to_vec());
        let usurped = [stage.clone(), vec![Speaker { leaf: me, id: self.ids[NILS] }]].concat();
        let base_key = keys.into_base_key();
        let Place::Inside(room) = &self.people[NILS].place else { return Err("nils is not in the room".into()) };
        let voice = Voice::new(EpochKeys::new(suite, layout, epoch, base_key.clone(), me, usurped, since)?);
        self.insider.voice = Some(voice);
        let again = EpochKeys::new(suite, layout, epoch, base_key.clone(), me, stage.clone(), since)?;
        self.insider.stolen = Some(Stolen { suite, layout, epoch, base_key, stage, heard: Vec::new() });
        let again = again.with_offstage(offstage).of_room(room.id());
        let rules = room.settings().seals();
        if rules.mode == SealMode::Off {
            return Ok(again);
        }
        let mut seals = SealKeys::new(rules, room.transcript());
        for member in room.roster() {
            if let Some(certificate) = room.media_keys(&member.id) {
                seals = seals.with_speaker(member.leaf, member.id, &member.name, *certificate);
            }
        }
        Ok(again.with_seals(seals)?)
    }

    /// nils says what he picks up in the name of ana, while he does that.
    pub(super) fn forge(&mut self, pcm: &Samples, now: Duration) -> Outcome<()> {
        if self.insider.forges.contains(&now)
            && let Some(forged) = self.insider.forge(self.ids[ANA], pcm, now)?
        {
            self.carry(forged, now);
        }
        Ok(())
    }

    /// Takes down what somebody's voice has found out, and says so once a second for ana and for dora.
    pub(super) fn look_over(&mut self, who: usize, now: Duration) {
        let ana = self.ids[ANA];
        let Some(voice) = &mut self.people[who].voice else { return };
        while let Some(finding) = voice.next_finding(now) {
            self.account.forgeries.told(who, &finding, now);
            self.told.take(who, finding);
        }
        let state = voice.hearing(&ana, now).seals;
        if who == DORA && state != self.told.state && now < END {
            self.told.state = state;
            self.told.states.push((now, state.to_string()));
            self.note(now, &format!("dora's app on ana: {state}"));
        }
        if who == ANA && now.saturating_sub(self.told.said) >= EVERY {
            self.told.said = now;
            for (ear, found) in mem::take(&mut self.told.fresh) {
                if ear == ANA || ear == DORA {
                    self.note(now, &format!("{}'s app: {}", CAST[ear].0, self.in_words(ear, found)));
                }
            }
        }
    }

    fn in_words(&self, ear: usize, found: Found) -> String {
        match found {
            Found::Forged { of, packets, played } => {
                let whom =
                    if of == self.ids[ear] { "her own name".into() } else { format!("the name of {}", self.name(of)) };
                let played = if played == 0 { "none was played".into() } else { format!("{played} had been played") };
                format!("somebody in the room made {packets} frames in {whom}; {played}")
            }
            Found::Unverified { of, frames } => {
                format!("no seal has covered {frames} frames of {}'s for a second: they are unverified", self.name(of))
            }
            Found::Other(finding) => finding.to_string(),
        }
    }

    /// That the forgery was shown, and is over.
    pub(super) fn seal_states(&self) -> Option<Promise> {
        let states: Vec<&str> = self.told.states.iter().map(|(_, state)| &**state).collect();
        let mut left = states.iter();
        let order = [SealState::Verified, SealState::Contested, SealState::Verified].map(|state| state.to_string());
        (self.options.seals != SealMode::Off).then(|| Promise {
            kept: order.iter().all(|wanted| left.any(|state| state == wanted)) && states.last() == Some(&&*order[0]),
            text: "who is impersonated is shown as such, and as themselves when it is over",
            figure: format!("dora on ana: {}", states.join(", then ")),
        })
    }
}
