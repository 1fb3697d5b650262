//! Seals: what an insider makes of the stream that carries them, and what the speaker signs who keeps to no rule.

use std::{collections::HashSet, time::Duration};

use parlor::{
    Error, Suite, Voice,
    media::{
        seal::{Finding, Proof, SealMode, SealRules, Unsealed},
        sframe::Header,
    },
};

use super::input::Input;
use crate::{
    insider::{ANA, BEN, MICROPHONE, SEALS, Statement, forger, signing_key},
    sealed::{FRAME, Room},
};

/// The third, whom nobody impersonates.
const CY: usize = 2;

/// What is called sealed was signed by its speaker; what is held until it is sealed does not come out before. The
/// lists stay short, and another speaker's seals count after all of it.
pub fn seal(data: &[u8]) {
    let mut input = Input::new(data);
    let mut rules = SealRules::default();
    rules.mode = [SealMode::Live, SealMode::Strict][input.below(2)];
    rules.every = [1, 2, 5, 25, 50][input.below(5)];
    rules.unsealed = [Unsealed::Play, Unsealed::Hold][input.below(2)];
    rules.proof = [Proof::Deniable, Proof::Evidence][input.below(2)];
    let room = Room::new(*input.choose(&Suite::ALL), rules, 3);
    let (mut voice, mut cy) = (room.voice(BEN, 0), room.voice(CY, 0));
    let (microphone, seals) = (forger(&room, MICROPHONE, 0), forger(&room, SEALS, 0));
    let key = signing_key(&room, ANA);
    let mut now = Duration::ZERO;
    let mut said: Vec<(u64, Vec<u8>)> = Vec::new();
    // What Ana's key has signed for, as packets.
    let mut signed: HashSet<Vec<u8>> = HashSet::new();
    let mut tally = Tally::default();

    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        let packet = match input.below(8) {
            0 | 1 => {
                let counter = if input.flag() { said.len() as u64 } else { input.number() };
                let packet = microphone.seal_at(counter, input.run());
                said.push((counter, packet.clone()));
                packet
            }
            // A statement of Ana's on some of it, with any number, first counter and marks.
            2 | 3 => {
                let (number, first) = (input.number(), input.number());
                let from = input.below(said.len().clamp(1, 256));
                let count = (1 + input.below(rules.every.into())).min(said.len() - from.min(said.len()));
                let packets: Vec<_> = said[from.min(said.len())..][..count].iter().map(|(_, it)| it.clone()).collect();
                let mut statement = Statement::new(&room, 0, number, first, &packets);
                statement.marks =
                    if input.below(4) == 3 { input.byte() } else { u8::from(rules.proof == Proof::Evidence) };
                let way = input.below(4);
                // Hers is the key for deniable rooms: with the other she signs nothing here.
                if rules.proof == Proof::Deniable && way != 1 {
                    signed.extend(packets);
                }
                let text = statement.signed_by(&key, rules.every);
                // Who signs for a stranger, or whose text is altered, has signed nothing.
                let text = match way {
                    0 => input.mutate(&text),
                    1 => statement.signed_by(&signing_key(&room, BEN), rules.every),
                    _ => text,
                };
                seals.seal_at(if input.below(4) == 3 { input.number() } else { number }, &text)
            }
            // Anything at all under the key of her seals.
            4 => seals.seal_at(input.number(), input.run()),
            5 => {
                let length = 75 + 16 * usize::from(rules.every);
                let mut text = input.run().to_vec();
                text.resize(length, 0);
                text[0] = 1;
                seals.seal_at(input.number(), &text)
            }
            6 => {
                now += FRAME * u32::from(input.byte());
                tally.poll(&mut voice, now);
                continue;
            }
            _ if !said.is_empty() => {
                let before = &said[input.below(said.len().min(256))].1;
                input.mutate(before)
            }
            _ => input.run().to_vec(),
        };
        match voice.open(&packet, now) {
            Ok(heard) => tally.take(heard.leaf.0, heard.counter, heard.verified),
            Err(Error::Seal { .. }) => tally.poll(&mut voice, now),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    now += Duration::from_secs(3);
    tally.poll(&mut voice, now);

    // Sealed is what she signed, and nothing else; every counter comes out once.
    let counters: HashSet<u64> = signed.iter().map(|packet| Header::decode(packet).unwrap().0.counter).collect();
    for counter in &tally.sealed {
        assert!(counters.contains(counter), "nobody has sealed {counter}");
    }
    assert!(voice.stats().verified <= counters.len() as u64, "of {counters:?}: {:?}", voice.stats());
    if rules.mode == SealMode::Strict {
        assert!(tally.plain.is_empty(), "frames came out unsealed: {:?}", tally.plain);
    }

    honest(&mut cy, &mut voice, now, rules);
}

#[derive(Default)]
struct Tally {
    sealed: HashSet<u64>,
    plain: HashSet<u64>,
}

impl Tally {
    fn take(&mut self, leaf: u32, counter: u64, sealed: bool) {
        assert_eq!(leaf, ANA as u32);
        let list = if sealed { &mut self.sealed } else { &mut self.plain };
        assert!(list.insert(counter), "heard twice");
    }

    fn poll(&mut self, voice: &mut Voice, now: Duration) {
        while let Some(heard) = voice.unpark(now) {
            if let Ok(heard) = heard {
                self.take(heard.leaf.0, heard.counter, heard.verified);
            }
        }
        let mut count = 0;
        while let Some(finding) = voice.next_finding(now) {
            count += 1;
            assert!(count < 10_000, "findings without an end");
            assert!(!finding.to_string().is_empty());
            if let Finding::Forgery(forgery) = finding {
                assert_ne!(forgery.impersonated, parlor::MemberId::from_bytes([0; 32]));
            }
        }
    }
}

/// Cy says what fills a seal or two: it is heard and verified.
fn honest(cy: &mut Voice, voice: &mut Voice, now: Duration, rules: SealRules) {
    let (before, frames) = (voice.stats().verified, u64::from(rules.every) * 2);
    for at in 0..frames {
        let packet = cy.seal(&at.to_be_bytes()).unwrap();
        match voice.open(&packet, now) {
            Ok(_) | Err(Error::Held { .. }) => {}
            Err(error) => panic!("an honest frame is refused: {error}"),
        }
        while let Some(seal) = cy.next_seal(now) {
            let taken = voice.open(&seal, now);
            assert!(matches!(taken, Err(Error::Seal { .. })), "an honest seal is refused: {taken:?}");
        }
    }
    while voice.unpark(now).is_some() {}
    assert!(voice.stats().verified >= before + frames, "{:?}", voice.stats());
}
