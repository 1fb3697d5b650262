//! A seal is of one room, epoch, speaker, stream, frame key and range: nowhere else is it taken, nor anything like it.

use std::time::Duration;

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use parlor::{
    EpochKeys, Error, Identity, KeyIdLayout, LeafIndex, MemberId, Suite, Voice,
    media::{
        Quiet, Speaker,
        seal::{MediaCertificate, MediaKey, Proof, SealKeys, SealMode},
    },
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use zeroize::Zeroizing;

use crate::{
    forger::Forger,
    insider::{ANA, BEN, MICROPHONE, SEALS, Statement, rules, signing_key, text_of},
    sealed::{FRAME, Room, say},
};

const EVERY: u8 = 25;

/// Everything that a seal depends on.
#[derive(Clone)]
struct Context {
    suite: Suite,
    room: &'static [u8],
    epoch: u64,
    transcript: Vec<u8>,
    leaf: u32,
    base_key: Vec<u8>,
    media: u8,
    proof: Proof,
    every: u8,
}

impl Context {
    fn new(suite: Suite) -> Self {
        let base_key = vec![5; suite.key_len()];
        let (transcript, proof) = (vec![9; 32], Proof::Deniable);
        Self { suite, room: b"this room", epoch: 3, transcript, leaf: 0, base_key, media: 77, proof, every: EVERY }
    }

    /// Ana's voice, or Ben's.
    fn voice(&self, me: usize) -> Voice {
        let ana = Identity::from_secret("ana", &[1; 32]).unwrap();
        let leaves = [self.leaf, 1, 2].map(LeafIndex);
        let ids = [ana.id(), MemberId::from_bytes([2; 32]), MemberId::from_bytes([3; 32])];
        let stage = leaves.into_iter().zip(ids).map(|(leaf, id)| Speaker { leaf, id }).collect();
        let mut rules = rules(SealMode::Live, self.every);
        rules.proof = self.proof;
        let media = || MediaKey::from_seed(&[self.media; 32]);
        let mut seals = SealKeys::new(rules, &self.transcript);
        seals = seals.with_speaker(leaves[ANA], ids[ANA], "ana", MediaCertificate::new(&ana, &media()));
        if me == ANA {
            seals = seals.with_signer(media());
        }
        let (layout, base_key) = (KeyIdLayout::default(), Zeroizing::new(self.base_key.clone()));
        let keys = EpochKeys::new(self.suite, layout, self.epoch, base_key, leaves[me], stage, Duration::ZERO);
        let keys = keys.unwrap().with_offstage(Vec::<Quiet>::new()).of_room(self.room);
        Voice::new(keys.with_seals(seals).unwrap())
    }

    fn kid(&self, stream: u64) -> u64 {
        KeyIdLayout::default().key_id(stream, LeafIndex(self.leaf), self.epoch).unwrap()
    }

    /// The insider's own seals of Ana's, whatever they say.
    fn forger(&self) -> Forger {
        Forger::new(self.suite, &self.base_key, self.kid(SEALS))
    }
}

/// Fifty frames and the two seals of them.
fn spoken(ana: &mut Voice) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut frames, mut seals) = (Vec::new(), Vec::new());
    for tick in 0..50 {
        let mut packets = say(ana, &[tick; 60], FRAME * u32::from(tick));
        seals.extend(packets.split_off(1));
        frames.append(&mut packets);
    }
    seals.dedup();
    (frames, seals)
}

#[test]
fn the_seal_of_one_context_is_nothing_in_another() {
    let mut tried = 0;
    for suite in Suite::ALL {
        let here = Context::new(suite);
        let (_, seals) = spoken(&mut here.voice(ANA));
        let text = text_of(suite, &here.base_key, here.kid(SEALS), &seals[0]);
        let mut elsewhere = vec![
            ("room", Context { room: b"that room", ..here.clone() }),
            ("epoch", Context { epoch: 4, ..here.clone() }),
            // Its key ids are the same, and so are all its packets.
            ("epoch of the same bits", Context { epoch: 3 + 256, ..here.clone() }),
            ("transcript", Context { transcript: vec![8; 32], ..here.clone() }),
            ("longer transcript", Context { transcript: vec![9; 33], ..here.clone() }),
            ("no transcript", Context { transcript: Vec::new(), ..here.clone() }),
            ("leaf", Context { leaf: 7, ..here.clone() }),
            ("frame key", Context { base_key: vec![6; suite.key_len()], ..here.clone() }),
            ("media key", Context { media: 78, ..here.clone() }),
            ("kind of proof", Context { proof: Proof::Evidence, ..here.clone() }),
            ("length", Context { every: 10, ..here.clone() }),
        ];
        for other in Suite::ALL.into_iter().filter(|other| *other != suite) {
            let mut base_key = here.base_key.clone();
            base_key.resize(other.key_len(), 5);
            elsewhere.push(("suite", Context { suite: other, base_key, ..here.clone() }));
        }
        for (what, there) in elsewhere {
            let (mut ear, forger) = (there.voice(BEN), there.forger());
            let (frames, own) = spoken(&mut there.voice(ANA));
            for frame in &frames {
                ear.open(frame, FRAME).unwrap();
            }
            let before = ear.state_digest();
            // As it came, and under each number.
            let _ = ear.open(&seals[0], FRAME);
            for number in 0..40 {
                let refused = ear.open(&forger.seal_at(number, &text), FRAME * number as u32).unwrap_err();
                assert!(matches!(refused, Error::Impersonated { .. }), "{what}: {refused}");
                tried += 1;
            }
            assert_eq!((ear.stats().seals_taken, ear.stats().verified), (0, 0), "{suite:?}: {what}");
            assert_eq!(ear.state_digest(), before, "{suite:?}: {what}");
            for seal in &own {
                assert!(matches!(ear.open(seal, FRAME * 2_000), Err(Error::Seal { .. })));
            }
            assert_eq!(ear.stats().verified, 50, "{suite:?}: {what}");
        }
        // Here, under other numbers and in other streams.
        let mut ear = here.voice(BEN);
        for number in 1..60 {
            assert!(ear.open(&here.forger().seal_at(number, &text), FRAME * number as u32).is_err());
        }
        for stream in [MICROPHONE, 2, 3, 9] {
            let stream = Forger::new(suite, &here.base_key, here.kid(stream));
            let _ = ear.open(&stream.seal_at(0, &text), FRAME * 80);
        }
        assert_eq!((ear.stats().seals_taken, ear.stats().verified), (0, 0), "{suite:?}");
        assert!(matches!(ear.open(&seals[0], FRAME * 90), Err(Error::Seal { .. })));
        assert_eq!(ear.stats().seals_taken, 1);
    }
    println!("{tried} seals of elsewhere: 0 taken");
}

#[test]
fn a_seal_altered_anywhere_is_not_taken() {
    for suite in Suite::ALL {
        let here = Context::new(suite);
        let (frames, seals) = spoken(&mut here.voice(ANA));
        let text = text_of(suite, &here.base_key, here.kid(SEALS), &seals[0]);
        let (mut ear, forger) = (here.voice(BEN), here.forger());
        for frame in &frames {
            ear.open(frame, FRAME).unwrap();
        }
        let mut altered: Vec<_> = (0..8 * text.len())
            .map(|bit| {
                let mut text = text.clone();
                text[bit / 8] ^= 1 << (bit % 8);
                text
            })
            .collect();
        altered.extend((0..text.len()).map(|len| text[..len].to_vec()));
        altered.extend([1, 16, 64, 400].map(|more| [&text[..], &vec![0; more]].concat()));
        // Fewer hashes, with padding or junk instead.
        for count in 0..=EVERY {
            let mut fewer = text.clone();
            fewer[10] = count.wrapping_sub(1);
            altered.push(fewer.clone());
            let at = 11 + 16 * usize::from(count.saturating_sub(1));
            fewer[at..11 + 16 * usize::from(EVERY)].fill(0);
            altered.push(fewer);
        }
        // The same signature in its other form: the order of the group added to its scalar.
        let order = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let mut carry = 0_u16;
        let mut other_form = text.clone();
        let at = text.len() - 32;
        for (byte, add) in other_form[at..].iter_mut().zip(order) {
            carry += u16::from(*byte) + u16::from(add);
            *byte = carry as u8;
            carry >>= 8;
        }
        assert_eq!(carry, 0);
        altered.push(other_form);
        altered.retain(|altered| *altered != text);
        // Slowly, so that each is looked at.
        let mut now = FRAME;
        for text in &altered {
            now += FRAME;
            assert!(ear.open(&forger.seal_at(0, text), now).is_err());
        }
        assert_eq!((ear.stats().seals_taken, ear.stats().verified), (0, 0));
        assert_eq!(ear.stats().impersonated, altered.len() as u64, "each was looked at");
        assert!(matches!(ear.open(&seals[0], now), Err(Error::Seal { .. })));
        assert_eq!((ear.stats().seals_taken, ear.stats().verified), (1, 25));
    }
}

/// What the speaker's own key signs, but with one thing otherwise; and what the key of another signs.
#[test]
fn only_what_the_speaker_signed_of_this_very_place_is_taken() {
    let mut random = StdRng::seed_from_u64(1);
    for suite in Suite::ALL {
        let room = Room::new(suite, rules(SealMode::Live, EVERY), 3);
        let (mut ana, mut ear) = (room.voice(ANA, 0), room.voice(BEN, 0));
        let (frames, _) = spoken(&mut ana);
        for frame in &frames {
            ear.open(frame, FRAME).unwrap();
        }
        let key = signing_key(&room, ANA);
        let forger = Forger::new(suite, &room.base_key(0), room.key_id(SEALS, ANA, 0));
        let truth = Statement::new(&room, 0, 6, 0, &frames[..25]);
        // What does not travel, the ear fills in with what is true.
        let mut wrong = Vec::new();
        let mut alter = |change: &dyn Fn(&mut Statement)| {
            let mut signed = truth.clone();
            change(&mut signed);
            wrong.push(signed.signed_by(&key, EVERY));
        };
        alter(&|it| it.room[31] ^= 1);
        alter(&|it| it.epoch = 256);
        alter(&|it| it.transcript[0] ^= 1);
        alter(&|it| it.transcript.push(0));
        alter(&|it| it.transcript.clear());
        alter(&|it| it.leaf = 1);
        alter(&|it| it.speaker = *room.id(2).as_bytes());
        alter(&|it| it.stream = 2);
        alter(&|it| it.stream = 1);
        alter(&|it| it.suite ^= 1);
        alter(&|it| it.commitment[5] ^= 1);
        alter(&|it| it.number = 7);
        alter(&|it| it.number = 5);
        alter(&|it| it.marks = 1);
        alter(&|it| it.marks = 2);
        alter(&|it| it.hashes.clear());
        alter(&|it| it.first = 1 << 32);
        alter(&|it| it.first = u64::MAX);
        for who in 1..3 {
            wrong.push(truth.signed_by(&signing_key(&room, who), EVERY));
            let own = Statement { leaf: who as u32, ..truth.clone() };
            wrong.push(own.signed_by(&signing_key(&room, who), EVERY));
        }
        // The key for evidence is another.
        let seed = MediaKey::from_seed(&room.media[ANA]);
        assert_ne!(seed.public(Proof::Evidence), seed.public(Proof::Deniable));
        // Ana's signature of something else of as many bytes.
        let elsewhere = Statement { hashes: vec![[random.random(); 16]; 25], ..truth.clone() };
        let signature = elsewhere.signed_by(&key, EVERY);
        let mut swapped = truth.signed_by(&key, EVERY);
        let at = swapped.len() - 64;
        swapped[at..].copy_from_slice(&signature[at..]);
        wrong.push(swapped);
        for (at, text) in wrong.iter().enumerate() {
            let refused = ear.open(&forger.seal_at(6, text), FRAME * at as u32).unwrap_err();
            assert!(matches!(refused, Error::Impersonated { .. }), "{suite:?}, {at}: {refused}");
        }
        assert_eq!((ear.stats().seals_taken, ear.stats().verified), (0, 0));
        let _ = ear.open(&forger.seal_at(6, &truth.signed_by(&key, EVERY)), FRAME * 100);
        assert_eq!((ear.stats().seals_taken, ear.stats().verified), (1, 25), "and the true one is");
    }
}

/// Points whose multiples are few: a lax verification takes signatures of theirs that nobody made.
#[test]
fn nobody_seals_with_a_weak_key() {
    // All of the order of 8 and less, then the same in forms that are not the shortest, each with either sign.
    let weak = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    let mut encodings: Vec<[u8; 32]> = Vec::new();
    for weak in weak {
        let mut bytes = bytes(weak);
        encodings.push(bytes);
        bytes[31] |= 0x80;
        encodings.push(bytes);
    }
    let (mut lax, mut tried) = (0, 0);
    let room = Room::new(Suite::default(), rules(SealMode::Live, EVERY), 3);
    let (frames, _) = spoken(&mut room.voice(ANA, 0));
    for weak in &encodings {
        let certificate = MediaCertificate { deniable: *weak, evidence: *weak, signature: [0; 64] };
        let mut seals = SealKeys::new(room.rules, &[0; 32]);
        seals = seals.with_speaker(LeafIndex(0), room.id(ANA), "speaker 0", certificate);
        let mut ear = Voice::new(room.plain_keys(BEN, 0, Duration::ZERO).with_seals(seals).unwrap());
        for frame in &frames {
            ear.open(frame, FRAME).unwrap();
        }
        let forger = Forger::new(room.suite, &room.base_key(0), room.key_id(SEALS, ANA, 0));
        let mut now = FRAME;
        for r in &encodings {
            for number in 0..4 {
                let truth = Statement::new(&room, 0, number, 0, &frames[..25]);
                let mut signature = [0; 64];
                signature[..32].copy_from_slice(r);
                let key = VerifyingKey::from_bytes(weak);
                let takes = |key: VerifyingKey| key.verify(&truth.signed(), &Signature::from_bytes(&signature)).is_ok();
                lax += u32::from(key.is_ok_and(takes));
                now += FRAME;
                let text = truth.text(EVERY, signature);
                assert!(matches!(ear.open(&forger.seal_at(number, &text), now), Err(Error::Impersonated { .. })));
                tried += 1;
            }
        }
        assert_eq!((ear.stats().seals_taken, ear.stats().verified), (0, 0));
    }
    println!("{tried} seals under weak keys, of which {lax} would pass a lax verification: 0 taken");
    assert!(lax > 20, "{lax}");
}

fn bytes(hex: &str) -> [u8; 32] {
    std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
}
