//! Media keys that somebody published: anybody may send such bytes.

use std::cell::RefCell;

use ed25519_dalek::SigningKey;
use parlor::{Role, room::PublishedKeys};

use super::{input::Input, world::Scene};

thread_local! {
    static SCENE: RefCell<Option<Scene>> = const { RefCell::new(None) };
}

/// They have one encoding, are bounded, and are nobody's business in the room.
pub fn published_keys(data: &[u8]) {
    read(data);

    let mut input = Input::new(data);
    let room = input.array::<32>();
    let mut seeds: Vec<[u8; 32]> = (0..input.below(33)).map(|_| input.array()).collect();
    if input.flag() {
        seeds.sort_unstable();
        seeds.dedup();
    }
    let count = if input.below(8) == 7 { input.u16() } else { seeds.len() as u16 };
    let bytes = [&[1], &room[..], &count.to_be_bytes(), seeds.as_flattened()].concat();
    let is_ascending = seeds.windows(2).all(|two| two[0] < two[1]);
    let is_good = usize::from(count) == seeds.len() && count > 0 && count % 8 == 0 && is_ascending;
    assert_eq!(read(&bytes), is_good);
    if is_good {
        SCENE.with_borrow_mut(|scene| {
            let scene = scene.get_or_insert_with(|| Scene::new(Role::Listener));
            scene.refuse(&bytes);
        });
    }
}

fn read(bytes: &[u8]) -> bool {
    let Ok(keys) = PublishedKeys::from_bytes(bytes) else { return false };
    assert_eq!(keys.to_bytes(), bytes, "published keys have two encodings");
    assert!(keys.seeds().len() <= 4_096 && keys.seeds().is_sorted());
    let public = |seed| SigningKey::from_bytes(seed).verifying_key().to_bytes();
    if let [first, ..] = keys.seeds() {
        assert!(keys.holds(&public(first)));
    }
    assert!(!keys.holds(&public(&[0xEE; 32])) || keys.seeds().contains(&[0xEE; 32]));
    true
}
