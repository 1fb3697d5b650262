//! Clips as a room's member makes them: out of a voice, vouched for by the room.

use std::time::Duration;

use parlor::{
    Clip, Error, Event, Guest, Identity, MemberId, Role, Room, Settings, Voice,
    media::{clip::Draft, seal::Proof},
    room::PUBLISH_AFTER,
};

const NOW: Duration = Duration::ZERO;

struct Scene {
    ana: MemberId,
    rooms: Vec<(Room, Voice)>,
}

impl Scene {
    /// Ana speaks; benno listens.
    fn new(proof: Proof) -> Self {
        let ana = Identity::generate("ana").unwrap();
        let guest = Guest::new(Identity::generate("benno").unwrap()).unwrap();
        let id = ana.id();
        let mut scene =
            Self { ana: id, rooms: vec![Room::create(ana, Settings::default().with_proof(proof)).unwrap()] };
        let admission = scene.rooms[0].0.admit(guest.card(), Role::Listener).unwrap();
        scene.spread(&admission.commit);
        scene.rooms.push(guest.enter(&admission.welcome).unwrap());
        scene
    }

    fn spread(&mut self, message: &[u8]) {
        for (room, voice) in &mut self.rooms {
            for event in room.receive(message, NOW).unwrap() {
                match event {
                    Event::Rekeyed(keys) => voice.rekey(keys).unwrap(),
                    Event::Ended { .. } => voice.close(),
                    _ => {}
                }
            }
        }
    }

    fn refresh(&mut self) {
        let message = self.rooms[0].0.refresh().unwrap();
        self.spread(&message);
    }

    fn say(&mut self, frames: usize) {
        for frame in 0..frames {
            let [(_, ana), (_, benno)] = &mut self.rooms[..] else { panic!("there are two") };
            let packet = ana.seal(format!("frame {frame}").as_bytes()).unwrap();
            benno.open(&packet, NOW).unwrap();
            while let Some(seal) = ana.next_seal(NOW) {
                assert!(matches!(benno.open(&seal, NOW), Err(Error::Seal { .. })));
            }
        }
    }

    fn draft(&self) -> parlor::Result<Draft> {
        self.rooms[1].1.clip(&self.ana)
    }

    fn vouch(&self, draft: &Draft) -> parlor::Result<Vec<u8>> {
        self.rooms[1].0.vouch(draft, NOW + PUBLISH_AFTER)
    }
}

#[test]
fn what_was_said_on_the_record_can_be_shown_to_anybody_once_its_key_is_out_of_use() {
    let mut scene = Scene::new(Proof::Evidence);
    assert!(scene.draft().is_err(), "nothing is said yet");
    scene.say(60);
    let draft = scene.draft().unwrap();
    assert_eq!((draft.speaker(), draft.epoch(), draft.frames(), draft.missing()), (scene.ana, 1, 50, 0));
    let refused = scene.vouch(&draft).unwrap_err().to_string();
    assert!(refused.contains("still in use: refresh the room"), "{refused}");
    scene.refresh();
    let refused = scene.rooms[1].0.vouch(&draft, NOW).unwrap_err().to_string();
    assert!(refused.contains("15 seconds later"), "{refused}");
    let clip = Clip::verify(&scene.vouch(&draft).unwrap()).unwrap();
    assert_eq!((clip.speaker(), clip.name(), clip.epoch()), (scene.ana, "ana", 1));
    assert_eq!(clip.exporter(), scene.rooms[1].0.me().unwrap().id);
    let frames = clip.frames().map(|(counter, frame)| (counter, String::from_utf8(frame.unwrap().into()).unwrap()));
    assert!(frames.eq((0..50).map(|counter| (counter, format!("frame {counter}")))));

    let another = Scene::new(Proof::Evidence);
    let refused = another.vouch(&draft).unwrap_err().to_string();
    assert!(refused.contains("of another room"), "{refused}");
}

#[test]
fn a_clip_can_be_exported_after_the_room_is_over() {
    let mut scene = Scene::new(Proof::Evidence);
    scene.say(50);
    let end = scene.rooms[0].0.end().unwrap();
    scene.spread(&end);
    assert!(!scene.rooms[1].0.is_open());
    let draft = scene.draft().unwrap();
    assert_eq!(Clip::verify(&scene.vouch(&draft).unwrap()).unwrap().frames().len(), 50);
}

#[test]
fn a_room_off_the_record_gives_no_clip() {
    let mut scene = Scene::new(Proof::Deniable);
    scene.say(60);
    let refused = scene.draft().unwrap_err().to_string();
    assert!(refused.contains("keeps no evidence"), "{refused}");
}

#[test]
fn by_default_two_mebibytes_are_kept_for_clips_and_beyond_that_the_newest() {
    let mut scene = Scene::new(Proof::Evidence);
    let say = |scene: &mut Scene, frames: usize| {
        for _ in 0..frames {
            let [(_, ana), (_, benno)] = &mut scene.rooms[..] else { panic!("there are two") };
            benno.open(&ana.seal(&[7; 2_000]).unwrap(), NOW).unwrap();
            while let Some(seal) = ana.next_seal(NOW) {
                let _ = benno.open(&seal, NOW);
            }
        }
    };
    // With its header and tag, and the part of a seal that covers it, each takes 2,050 bytes at most.
    say(&mut scene, 1_000);
    let draft = scene.draft().unwrap();
    assert_eq!((draft.frames(), draft.missing()), (1_000, 0));
    say(&mut scene, 1_000);
    let draft = scene.draft().unwrap();
    assert!((1_000..=2 * 1024 * 1024 / 2_000).contains(&draft.frames()), "{} frames", draft.frames());
    assert_eq!(draft.missing(), 0);
}
