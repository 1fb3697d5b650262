//! What lies on the disk of a room that is kept: no secret of it, raw or in any encoding; and of a text that is to vanish
//! nothing, even for who has the key.

#[path = "common/search.rs"]
mod search;

use std::time::Duration;

use chacha20poly1305::{AeadInPlace as _, ChaCha20Poly1305, KeyInit as _};
use hkdf::Hkdf;
use parlor::{
    Event, Guest, Identity, Kept, Role, Room, Settings, Voice,
    media::BASE_KEY_LABEL,
    room::{PUBLISH_AFTER, PublishedKeys},
    vault::{MemoryVault, VaultKey},
};
use search::Search;
use sha2::Sha256;

const NOW: Duration = Duration::from_secs(7);
const KEY: [u8; 32] = *b"what the app keeps in a keychain";
const STAYS: &str = "the treasure is below the third step of the cellar";
const VANISHES: &str = "burn this letter as soon as it has been read";

/// All that is stored, opened as `src/vault/mod.rs` documents its form, by hand.
fn plain(stored: &[u8]) -> Vec<u8> {
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(Some(&stored[7..39]), &KEY).expand(b"parlor stored state 1\0", &mut key).unwrap();
    let cipher = ChaCha20Poly1305::new(&key.into());
    let (mut left, mut plain, mut sequence) = (&stored[39..], Vec::new(), 0_u64);
    while let Some((length, rest)) = left.split_first_chunk::<4>() {
        let (sealed, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        let (body, tag) = sealed.split_last_chunk::<16>().unwrap();
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&sequence.to_be_bytes());
        let aad = match sequence {
            0 => stored[..43].to_vec(),
            _ => [&sequence.to_be_bytes()[..], length].concat(),
        };
        let mut body = body.to_vec();
        cipher.decrypt_in_place_detached(&nonce.into(), &aad, &mut body, tag.into()).unwrap();
        plain.extend(body);
        (left, sequence) = (rest, sequence + 1);
    }
    plain
}

fn receive(kept: &mut Kept<MemoryVault>, voice: &mut Voice, message: &[u8]) {
    for event in kept.act(|room| room.receive(message, NOW)).unwrap().unwrap() {
        event.tell(voice).unwrap();
    }
}

#[test]
fn no_secret_of_a_room_is_stored_in_the_clear_and_a_text_that_vanishes_not_at_all() {
    let ana = Identity::generate("Anastasia Nikolaevna").unwrap();
    let secret = ana.secret();
    let (room, mut voice) =
        Room::create(ana, Settings::default().with_title("an evening below stairs").unwrap()).unwrap();
    let mut ana = Kept::new(room, MemoryVault::new(), VaultKey::from_bytes(&KEY)).unwrap();
    let mut seen = Search::default();
    let mut stored = Vec::new();

    let guest = Guest::new(Identity::generate("Benedetto Guestini").unwrap()).unwrap();
    let admission = ana.act(|room| room.admit(guest.card(), Role::Speaker)).unwrap().unwrap();
    stored.push(ana.vault().bytes().unwrap().to_vec());
    receive(&mut ana, &mut voice, &admission.commit);
    let (mut ben, _) = guest.enter(&admission.welcome).unwrap();

    // Of both, and in both kinds of record: increments, and wholes after a commit.
    for (text, lifetime) in [(STAYS, None), (VANISHES, Some(Duration::from_secs(60)))] {
        let words = [ana.act(|room| room.say(text, lifetime)).unwrap().unwrap().1, ben.say(text, lifetime).unwrap().1];
        for word in words {
            receive(&mut ana, &mut voice, &word);
            ben.receive(&word, NOW).unwrap();
            stored.push(ana.vault().bytes().unwrap().to_vec());
        }
    }
    let refresh = ana.act(Room::refresh).unwrap().unwrap();
    stored.push(ana.vault().bytes().unwrap().to_vec());
    let base_key = |events: Vec<Event>| {
        let keys = events.into_iter().find_map(|event| match event {
            Event::Rekeyed(keys) => Some(keys),
            _ => None,
        });
        keys.unwrap().into_base_key()
    };
    let base = base_key(ben.receive(&refresh, NOW).unwrap());
    receive(&mut ana, &mut voice, &refresh);
    stored.push(ana.vault().bytes().unwrap().to_vec());
    assert_eq!(ana.messages().count(), 4);

    // Whoever has the key reads what is to stay.
    let last = plain(stored.last().unwrap());
    let finds = |text: &str| last.windows(text.len()).filter(|window| *window == text.as_bytes()).count();
    assert_eq!((finds(STAYS), finds(VANISHES)), (2, 0));
    let mut vanishing = Search::default();
    vanishing.text("what vanishes", VANISHES);
    for stored in &stored {
        assert_eq!(vanishing.hits(&plain(stored)), []);
    }
    // And once its time is over, not even the message that carried it is there.
    let before = ana.act(|room| room.say(VANISHES, Some(Duration::from_secs(1)))).unwrap().unwrap().1;
    receive(&mut ana, &mut voice, &before);
    let holds = |ana: &Kept<MemoryVault>| {
        let stored = plain(ana.vault().bytes().unwrap());
        stored.windows(before.len()).any(|window| window == before)
    };
    assert!(holds(&ana));
    ana.act(|room| room.tick(NOW + Duration::from_secs(2))).unwrap();
    assert!(!holds(&ana));

    // The JSON of the group names its secrets: each long run of numbers in it is one, or a public key.
    seen.bytes("identity", &*secret);
    seen.bytes("the vault's key", &KEY);
    seen.bytes(BASE_KEY_LABEL, &base);
    for text in [STAYS, VANISHES, "Anastasia Nikolaevna", "Benedetto Guestini", "an evening below stairs"] {
        seen.text(text, text);
    }
    let text = String::from_utf8_lossy(&last).into_owned();
    let mut secrets = 0;
    for list in text.split('[').filter_map(|rest| rest.split_once(']')) {
        let bytes: Vec<u8> = list.0.split(',').map_while(|byte| byte.parse().ok()).collect();
        if bytes.len() >= 16 {
            seen.bytes("a secret of the group", &bytes);
            secrets += 1;
        }
    }
    assert!(secrets > 10, "{secrets}");
    let end = ana.act(Room::end).unwrap().unwrap();
    stored.push(ana.vault().bytes().unwrap().to_vec());
    receive(&mut ana, &mut voice, &end);
    stored.push(ana.vault().bytes().unwrap().to_vec());
    let [Event::Send(published)] = &ana.act(|room| room.tick(NOW + PUBLISH_AFTER)).unwrap()[..] else { panic!() };
    for seed in PublishedKeys::from_bytes(published).unwrap().seeds() {
        seen.bytes("a media key", seed);
    }
    assert!(!seen.hits(&last).is_empty(), "the search finds them where they are");
    for stored in &stored {
        assert_eq!(seen.hits(stored), []);
    }
    println!("{} runs of bytes looked for in {} stored states", seen.patterns(), stored.len());
}

/// The relay's answer that was never handed out: who died then can make it again.
#[test]
fn what_was_published_is_to_be_sent_again_after_a_crash() {
    let ana = Identity::generate("ana").unwrap();
    let secret = ana.secret();
    let (room, _) = Room::create(ana, Settings::default()).unwrap();
    let mut kept = Kept::new(room, MemoryVault::new(), VaultKey::from_bytes(&KEY)).unwrap();
    let end = kept.act(Room::end).unwrap().unwrap();
    kept.act(|room| room.receive(&end, NOW)).unwrap().unwrap();
    let [Event::Send(published)] = &kept.act(|room| room.tick(NOW + PUBLISH_AFTER)).unwrap()[..] else { panic!() };
    let ana = Identity::from_secret("ana", &secret).unwrap();
    let vault = kept.vault().clone();
    let restored = Kept::restore(ana, vault, VaultKey::from_bytes(&KEY), NOW).unwrap().unwrap();
    assert!(restored.voice.is_none());
    assert!(restored.room.unsent().eq([&published[..]]));
    assert_eq!(restored.room.next_tick(), None);
}
