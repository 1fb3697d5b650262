//! Against another implementation of RFC 9605, the `sframe` crate, both ways on random frames.

use parlor::{
    Suite,
    media::{
        Backend,
        sframe::{MAX_COUNTER, Opener, Sealer},
    },
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sframe::{
    CipherSuite,
    frame::{EncryptedFrameView, MediaFrameView, MonotonicCounter},
    key::{DecryptionKey, EncryptionKey},
};

const ROUNDS: u64 = 2_000;

#[test]
fn a_peer_opens_what_we_seal_and_we_open_what_it_seals() {
    for seed in 0..ROUNDS {
        let mut random = StdRng::seed_from_u64(seed);
        let (ours, theirs) =
            [(Suite::Aes128Gcm, CipherSuite::AesGcm128Sha256), (Suite::Aes256Gcm, CipherSuite::AesGcm256Sha512)]
                [random.random_range(0..2)];
        let backend = Backend::ALL[random.random_range(0..Backend::ALL.len())];
        // Every length of both header fields turns up.
        let kid = random.random::<u64>().unbounded_shr(random.random_range(0..=64));
        let counter = (random.random::<u64>().unbounded_shr(random.random_range(32..=64))).min(MAX_COUNTER);
        let base_key: [u8; 32] = random.random();
        let mut plaintext = vec![0; random.random_range(0..400)];
        random.fill(&mut plaintext[..]);
        let mut metadata = vec![0; random.random_range(0..3) * random.random_range(0..40)];
        random.fill(&mut metadata[..]);
        let what = format!("seed {seed}: {ours:?} {backend:?}, key id {kid:#x}, counter {counter}");

        let mut sealer = Sealer::new(ours, backend, &base_key, kid, counter).unwrap();
        let mut packet = vec![0; plaintext.len() + sealer.overhead()];
        sealer.seal_into(&metadata, &plaintext, &mut packet).unwrap();
        let key = DecryptionKey::derive_from(theirs, kid, base_key).unwrap();
        let opened = EncryptedFrameView::try_with_meta_data(&packet, &metadata).unwrap().decrypt(&key).expect(&what);
        assert_eq!((opened.counter(), opened.payload()), (counter, &plaintext[..]), "{what}");

        let key = EncryptionKey::derive_from(theirs, kid, base_key).unwrap();
        let mut counters = MonotonicCounter::with_start_value(counter, u64::MAX);
        let sealed = MediaFrameView::try_with_meta_data(&mut counters, &plaintext, &metadata)
            .unwrap()
            .encrypt(&key)
            .expect(&what);
        // Their frame begins with the metadata, which ours leaves to the caller.
        let mut sealed = sealed.as_ref()[metadata.len()..].to_vec();
        assert_eq!(sealed, packet, "{what}");
        let opener = Opener::new(ours, backend, &base_key, kid).unwrap();
        let (got, frame) = opener.open_in_place(&metadata, &mut sealed).expect(&what);
        assert_eq!((got, &*frame), (counter, &plaintext[..]), "{what}");
    }
}
