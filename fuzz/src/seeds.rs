//! What fuzzing begins with: real objects, and each choice that a target makes first.

use std::{fs, path::Path};

use parlor::{
    Role,
    sound::{Encoder, Encoding, wav},
};

use crate::{
    party::{Party, guest},
    targets::{self, Porch},
};

/// Writes the seeds of every target into `corpus`.
pub fn write(corpus: &Path) {
    let mut party = Party::new(&[("ana", Role::Host), ("ben", Role::Speaker)]);
    let card = guest("cy").card().as_bytes().to_vec();
    let admission = party.rooms[0].admit(guest("dan").card(), Role::Listener).unwrap();
    party.rooms[0].abandon();
    let words = party.rooms[0].say("good evening", None).unwrap().1;
    let porch = Porch::new();
    let link = porch.link.reveal().as_bytes().to_vec();
    let plate = porch.room.doorplate(&porch.link).unwrap();
    let packet = party.voices[0].seal(b"a frame of an evening").unwrap();
    let seeds = (0_u8..8).map(|n| [n; 32]).collect::<Vec<_>>();
    let published = [&[1; 33][..], &[0, 8], seeds.as_flattened()].concat();
    let chirp: Vec<f32> = (0..960).map(|at| (at as f32 * at as f32 / 9_000.0).sin() * 0.5).collect();
    let mut frame = vec![0; 1_500];
    let samples = chirp.clone().try_into().unwrap();
    let length = Encoder::new(Encoding::default()).unwrap().encode(&samples, &mut frame).unwrap();
    frame.truncate(length);
    let sound = wav::to_bytes(&chirp).unwrap();
    let gate = porch.link.gate().to_bytes().to_vec();

    for (name, _) in targets::ALL {
        let raw = |bytes: &[u8]| [&[0][..], bytes].concat();
        let real: Vec<Vec<u8>> = match *name {
            "answer" => vec![raw(&[1; 4_096])],
            "card" => vec![raw(&card)],
            "control_message" => vec![raw(&[&[0][..], &admission.commit].concat()), raw(&[&[0][..], &words].concat())],
            "doorplate" => vec![raw(&plate)],
            "frame" => vec![frame.clone(), [&[0, frame.len() as u8], &frame[..]].concat()],
            "gate" => vec![gate.clone()],
            "link" => vec![raw(&link)],
            "packet_header" | "packet" | "seal" => vec![packet.clone()],
            "published_keys" => vec![published.clone()],
            "wav" => vec![sound.clone()],
            "welcome" => vec![raw(&admission.welcome)],
            _ => Vec::new(),
        };
        let folder = corpus.join(name);
        fs::create_dir_all(&folder).unwrap();
        for (at, bytes) in real.iter().enumerate() {
            fs::write(folder.join(format!("real-{at}")), bytes).unwrap();
        }
        // Each first choice, with something to choose from after it.
        let steps: Vec<u8> = (0..96_u32).map(|at| (at * at * 31 + at * 7) as u8).collect();
        for choice in 0..6 {
            fs::write(folder.join(format!("choice-{choice}")), [&[choice][..], &steps].concat()).unwrap();
        }
    }
}
