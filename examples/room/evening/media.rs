//! The media of the evening: out of the microphones, through the relay's hands, into the ears.

use std::time::Duration;

use parlor::{
    EpochKeys, Error as Refusal, KeyIdLayout, LeafIndex, MemberId, Suite,
    media::{Speaker, seal::SealMode},
    sound::{Arrival, SILENCE, Samples},
};
use rand::{Rng, RngExt};
use zeroize::Zeroizing;

use super::{END, Evening, Happening, Outcome, Person, Place};
use crate::{
    account::{Kind, PacketHeader, Sent},
    cast::{CAST, NILS},
};

/// Room for the longest payload that an encoder makes.
pub(super) const MAX_PAYLOAD: usize = 512;

impl Evening<'_> {
    pub(super) fn tick(&mut self, who: usize, now: Duration) -> Outcome<()> {
        self.refresh_if_due(who, now)?;
        self.let_go_if_due(who, now)?;
        let pcm = self.picked_up(who, now);
        let (me, seals) = (self.ids[who], self.options.seals != SealMode::Off);
        let person = &mut self.people[who];
        let inside = matches!(person.place, Place::Inside(_));
        // An honest client keeps its microphone shut until its seals count: nobody could tell yet who speaks.
        let waits = matches!(&person.place, Place::Inside(room) if seals && room.media_keys(&me).is_none());
        let patched = self.insider.voice_at(now).filter(|_| who == NILS);
        let (voice, honest) = match patched {
            Some(voice) => (Some(voice), false),
            // A removed speaker whose client does not care goes on under the last keys it had.
            None => (person.voice.as_mut(), inside),
        };
        let mut packets = Vec::new();
        if let Some(voice) = voice {
            if now < END && voice.on_stage() && !(honest && waits) && !self.microphones[who].is_empty() {
                let mut payload = [0; MAX_PAYLOAD];
                let length = person.encoder.encode(&pcm, &mut payload)?;
                let (frame, epoch) = (payload[..length].to_vec(), voice.epoch());
                packets.push((Kind::Frame, epoch, voice.seal(&frame)?, frame));
            }
            while let Some(bytes) = voice.next_seal(now) {
                // The last seal of an epoch comes out when the next has begun.
                let behind = voice.epoch().wrapping_sub(PacketHeader::of(&bytes)?.epoch_bits) & 0xff;
                packets.push((Kind::Seal, voice.epoch() - behind, bytes, Vec::new()));
            }
        }
        for (kind, epoch, bytes, frame) in packets {
            let header = PacketHeader::of(&bytes)?;
            self.carry(Sent { at: now, kind, speaker: who, epoch, header, honest, frame, bytes }, now);
        }
        if who == NILS {
            self.forge(&pcm, now)?;
        }
        self.look_over(who, now);
        if now < END {
            let mut heard = SILENCE;
            let person = &mut self.people[who];
            person.ear.mix(now, &mut heard);
            person.pcm.extend_from_slice(&heard);
        }
        Ok(())
    }

    /// What somebody's microphone picks up.
    fn picked_up(&self, who: usize, now: Duration) -> Samples {
        let mut pcm = SILENCE;
        let from = (now.as_micros() * 48 / 1000) as usize;
        for (slot, sample) in pcm.iter_mut().zip(self.microphones[who].get(from..).unwrap_or_default()) {
            *slot = *sample;
        }
        pcm
    }

    /// The relay fans a packet out to everybody it knows of, and tampers with some.
    pub(super) fn carry(&mut self, packet: Sent, now: Duration) {
        let speaker = packet.speaker;
        let sent = self.account.send(packet);
        for (ear, person) in self.people.iter_mut().enumerate() {
            if ear == speaker || matches!(person.place, Place::Door(_)) {
                continue;
            }
            let arrivals: Vec<Duration> = person.link.carry(now).collect();
            self.account.carried(ear, sent, !arrivals.is_empty());
            for at in arrivals {
                self.agenda.put(at, Happening::Packet { ear, sent, altered: None });
            }
            // The relay's own mischief: one packet in a hundred altered, one in a hundred played again.
            if self.rng.random_bool(0.01) {
                let mut altered = self.account.sent[sent].bytes.clone();
                let at = self.rng.random_range(0..altered.len());
                altered[at] ^= 1 << self.rng.random_range(0..8);
                let at = now + Duration::from_millis(30);
                self.agenda.put(at, Happening::Packet { ear, sent, altered: Some(altered) });
            }
            if self.rng.random_bool(0.01) {
                let (again, at) = (self.rng.random_range(0..=sent), now + Duration::from_millis(150));
                self.agenda.put(at, Happening::Packet { ear, sent: again, altered: None });
            }
        }
    }

    /// Whoever they are and whatever voice they have, they try to open what comes, and hear it if it opens.
    pub(super) fn arrive(&mut self, ear: usize, sent: usize, altered: Option<Vec<u8>>, now: Duration) {
        let person = &mut self.people[ear];
        let Some(voice) = &mut person.voice else { return };
        let packet = altered.as_ref().unwrap_or(&self.account.sent[sent].bytes);
        let opened = voice.open(packet, now).map(|heard| {
            if ear == NILS {
                self.insider.overhear(&heard);
            }
            // A payload that is no voice frame is the jitter buffer's to refuse and to count.
            let _ = person.ear.hear(&heard, now);
        });
        self.account.tried(ear, sent, voice.epoch(), altered.is_some(), opened.as_ref().copied(), now);
        if matches!(opened, Err(Refusal::Seal { .. })) {
            self.unpark(ear, now);
        }
    }

    /// Lets out what had waited for the key, or for the seal, that has just come.
    pub(super) fn unpark(&mut self, who: usize, now: Duration) {
        let Person { voice: Some(voice), ear, .. } = &mut self.people[who] else { return };
        while let Some(parked) = voice.unpark(now) {
            let Ok(heard) = parked else { continue };
            let arrival = ear.hear(&heard, now);
            self.account.unparked(who, &heard, matches!(arrival, Ok(Arrival::Late)), now);
        }
    }
}

/// The outsider's keys for an epoch: she reads suite, epoch and leaves off the wire, and guesses the rest.
pub(super) fn guessed_keys(suite: Suite, epoch: u64) -> Outcome<EpochKeys> {
    let mut guess = Zeroizing::new(vec![0; suite.key_len()]);
    rand::rng().fill_bytes(&mut guess);
    let leaves = (0..CAST.len()).map(|leaf| LeafIndex(leaf as u32));
    let stage = leaves.map(|leaf| Speaker { leaf, id: MemberId::from_bytes([leaf.0 as u8; 32]) }).collect();
    let unused = LeafIndex(CAST.len() as u32);
    Ok(EpochKeys::new(suite, KeyIdLayout::default(), epoch, guess, unused, stage, Duration::ZERO)?)
}
