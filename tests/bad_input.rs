//! Bad input gets an error that says what it was, who or which epoch, and what to do; the object stays as it was.

mod party;

use parlor::{
    Card, Error, Event, Role, Settings,
    frame::{FRAME_HEADER, MAX_OPUS, VoiceFrame},
    media::MAX_FRAME,
};
use party::{NOW, Person, guest, room_of};

/// That the text of `error` says all of `parts`.
#[track_caller]
fn says(error: &impl std::error::Error, parts: &[&str]) {
    let text = error.to_string();
    println!("{text}");
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

/// Both in epoch 1.
fn host_and_ben() -> [Person; 2] {
    let people = room_of(Settings::default(), &[("ben", Role::Listener)]);
    people.try_into().ok().unwrap()
}

#[test]
fn a_truncated_card() {
    let cy = guest("cy");
    let card = cy.card();
    let bytes = card.as_bytes();
    says(&Card::from_bytes(&bytes[..bytes.len() / 2]).unwrap_err(), &["card", "cut short", "ask its owner"]);
    assert_eq!(&Card::from_bytes(bytes).unwrap(), card);
}

#[test]
fn a_welcome_for_somebody_else() {
    let [mut host, _] = host_and_ben();
    let (cy, eve) = (guest("cy"), guest("eve"));
    let card = eve.card().clone();
    let admission = host.room.admit(cy.card(), Role::Listener).unwrap();
    let failed = eve.enter(&admission.welcome).unwrap_err();
    says(&failed, &["eve cannot enter", "welcome", "somebody else", "ask who invited you"]);
    assert_eq!(failed.guest.card(), &card);
}

#[test]
fn a_message_of_another_room() {
    let ([_, mut ben], [mut other, _]) = (host_and_ben(), host_and_ben());
    let foreign = other.room.refresh().unwrap();
    let code = ben.room.code();
    let error = ben.room.receive(&foreign, NOW).unwrap_err();
    says(&error, &["control message", "epoch 1", "another room", "drop it"]);
    assert_eq!((ben.room.epoch(), ben.room.code()), (1, code));
}

#[test]
fn a_packet_of_another_room() {
    let ([_, mut ben], [mut other, _]) = (host_and_ben(), host_and_ben());
    let foreign = other.voice.seal(b"from next door").unwrap();
    let before = ben.voice.state_digest();
    let error = ben.voice.open(&foreign, NOW).unwrap_err();
    assert!(matches!(error, Error::Forged { epoch: 1, .. }), "{error:?}");
    says(&error, &["packet of leaf 0", "epoch 1", "another room's", "dropped"]);
    assert_eq!(ben.voice.state_digest(), before);
}

#[test]
fn keys_of_another_room() {
    let ([_, mut ben], [mut other, _]) = (host_and_ben(), host_and_ben());
    let refresh = other.room.refresh().unwrap();
    let Some(Event::Rekeyed(keys)) = other.room.receive(&refresh, NOW).unwrap().into_iter().next() else { panic!() };
    let before = ben.voice.state_digest();
    says(&ben.voice.rekey(keys).unwrap_err(), &["keys", "epoch 2", "another room", "voice of its own"]);
    assert_eq!(ben.voice.state_digest(), before);
}

#[test]
fn an_opus_frame_that_is_too_long() {
    let [Person { voice: mut host, .. }, _] = host_and_ben();
    let before = host.state_digest();
    says(&host.seal(&[0; MAX_FRAME + 1]).unwrap_err(), &["audio frame", "2049", "2048", "drop it"]);
    assert_eq!(host.state_digest(), before);
    let long = [0; FRAME_HEADER + MAX_OPUS + 1];
    says(&VoiceFrame::parse(&long).unwrap_err(), &["something else than time, level", "VoiceFrame::write", "drop it"]);
}

#[cfg(any(feature = "opus", feature = "opus-pure"))]
#[test]
fn a_wav_that_is_none_and_a_file_that_is_missing() {
    use parlor::sound::wav;

    let dir = std::env::temp_dir().join(format!("parlor-bad-input-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("list.wav"), "a shopping list, and nothing that sounds").unwrap();
    says(&wav::read(dir.join("list.wav")).unwrap_err(), &["list.wav", "no WAV file", "save the recording as"]);
    says(&wav::read(dir.join("missing.wav")).unwrap_err(), &["missing.wav", "check the path"]);
    std::fs::remove_dir_all(&dir).unwrap();
}
