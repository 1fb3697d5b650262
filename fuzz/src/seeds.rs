//! What fuzzing begins with: real objects, and each choice that a target makes first.

use std::{fs, path::Path};

use parlor::{
    Role,
    sound::{Encoder, Encoding, ogg, wav},
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
    let length = Encoder::new(Encoding::default()).unwrap().encode(&chirp, &mut frame).unwrap();
    frame.truncate(length);
    let sound = wav::to_bytes(&chirp).unwrap();
    let gate = porch.link.gate().to_bytes().to_vec();

    for (name, _) in targets::ALL {
        let raw = |bytes: &[u8]| [&[0][..], bytes].concat();
        let real: Vec<Vec<u8>> = match *name {
            "answer" => vec![raw(&[2; 4_096])],
            "card" => vec![raw(&card)],
            "control_message" => vec![raw(&[&[0][..], &admission.commit].concat()), raw(&[&[0][..], &words].concat())],
            "doorplate" => vec![raw(&plate)],
            "frame" => vec![frame.clone(), [&[0, frame.len() as u8], &frame[..]].concat()],
            "gate" => vec![gate.clone()],
            "link" => vec![raw(&link)],
            "packet_header" | "packet" | "seal" => vec![packet.clone()],
            "published_keys" => vec![published.clone()],
            "ogg" => vec![ogg::to_bytes(&chirp).unwrap()],
            "wav" => vec![sound.clone()],
            "welcome" => vec![raw(&admission.welcome)],
            _ => Vec::new(),
        };
        let folder = corpus.join(name);
        fs::create_dir_all(&folder).unwrap();
        for (at, bytes) in real.iter().enumerate() {
            fs::write(folder.join(format!("real-{at}")), bytes).unwrap();
        }
        for (at, recipe) in recipes(name).iter().enumerate() {
            fs::write(folder.join(format!("recipe-{at}")), recipe).unwrap();
        }
        // Each first choice, with something to choose from after it.
        let steps: Vec<u8> = (0..96_u32).map(|at| (at * at * 31 + at * 7) as u8).collect();
        for choice in 0..6 {
            fs::write(folder.join(format!("choice-{choice}")), [&[choice][..], &steps].concat()).unwrap();
        }
    }
}

/// What leads a target deep: its choices one by one, up to something that is in order, or just not.
fn recipes(name: &str) -> Vec<Vec<u8>> {
    // One change: a byte at a place.
    let change = |choice: u8, at: u16| [&[choice, 1][..], &at.to_be_bytes(), &[5, 1]].concat();
    match name {
        "answer" => vec![vec![4, 0], vec![4, 0, 1], change(4, 200), vec![3, 2, b'n', b'o', 1]],
        "card" => vec![vec![1, 0], vec![2, 0, 0, 0, 0], vec![3, 0, 0, 0, 0, 0, 2, 0], vec![2, 0, 1, 0, 5, 5, 1, 0]],
        // The last bans two, in order and out of it.
        "charter" => {
            let bans = |swap| vec![2, 1, 12, 6, 9, 12, 6, 8, swap];
            vec![vec![1, 0], vec![2, 0, 8, 2, b'h', b'i'], vec![2, 0, 12, 2], vec![2, 0, 11, 1, 2], bans(0), bans(7)]
        }
        // All of it; the first packet of the second seal in place of the first one's; a packet left out.
        "clip" => vec![vec![3, 0, 0, 0], vec![3, 0, 0, 0, 250, 25], vec![3, 0, 0, 0, 0, 240], vec![3, 1, 0, 0, 0, 0]],
        "control_message" => {
            let refresh = |role| vec![role, 3, 0, 5];
            let mut all: Vec<_> = (0..3).map(refresh).collect();
            all.extend((0..3).map(|role| vec![role, 3, 1, 2, 1, 5]));
            all.extend((0..8).map(|part| vec![2, 3, 1, 2, part, 1, 1, 1, 1, 5, 5]));
            all.extend((0..4).map(|kind| vec![0, 4, 1, 0, 2, kind]));
            // A commit and a word that were altered, and what no room reads as it is.
            all.extend([vec![0, 1, 0, 1, 0, 60, 5, 1], vec![0, 1, 3, 1, 0, 60, 5, 1], vec![0, 1, 7, 0]]);
            // A host takes another's role and puts her out.
            all.push(vec![2, 3, 2, 0, 0, 0, 0, 0, 2, 0, 5]);
            all
        }
        "doorplate" => {
            vec![vec![1, 0], vec![2, 0], change(2, 3), vec![4, 0, 1, b't', 1, b'a', 0, 3, 1, 2, 3, 0, 0, 0, 0, 1]]
        }
        "knock" => {
            let mut all = vec![vec![1, 0], vec![2, 0], vec![3, 0], vec![5, 32]];
            all.extend([0, 20, 41, 47, 60].map(|at| change(2, at)));
            all.extend([0, 7, 20, 41].map(|at| change(3, at)));
            all.push(vec![4, 1, 9, 1, 3, 2, b'h', b'i', 0]);
            all
        }
        "payload" => {
            let mut all: Vec<_> = (1..=9).map(|kind| vec![2, 0, 1, kind - 1, 2, 0]).collect();
            let number = [9; 16];
            all.push([&[0, 0, 5][..], &number, &[4], b"text", &[1, 2]].concat());
            all.push(vec![0, 0, 3, 0, 0, 0, 9, 3, 0, 6, 3, 0xF0, 0x9F, 0x91, 0, 6, 1, b'!', 0, 2, 0]);
            // Eve is asked and answers; mal is asked and answers, to that and to something else; a step of a code.
            all.push(vec![2, 0, 1, 2, 3, 0, 7, 0, 1]);
            all.push(vec![1, 7, 1, 0, 7, 0, 1, 1, 0, 7, 0, 0, 1, 0, 7, 0, 0, 2]);
            all.push(vec![0, 0, 4, 0, 0, 1, 2, 0, 0, 4, 0, 2, 1, 2, 0, 0, 4, 0, 2, 1, 2, 3, 1, 0, 3, 5, 1]);
            all
        }
        // Two frames, one lost, and the end cut off by a few samples.
        "ogg" => {
            let packet = [1, 3, 31 << 3, 0xff, 0xfe];
            vec![[&[240, 1, 56, 7, 0][..], &packet, &packet, &[0, 16], &packet, &[0; 56], &[9]].concat()]
        }
        "published_keys" => {
            let seeds: Vec<_> = (0..8_u8).flat_map(|at| [at; 32]).collect();
            vec![[&[7; 32][..], &[8], &seeds, &[0, 0]].concat(), [&[7; 32][..], &[8]].concat()]
        }
        // Each asker as they should; by words of their own; answered by mal; two in a row.
        "request" => {
            let genuine = |asker: u8, end: &[u8]| [&[0, asker, 2, 1, 0][..], end].concat();
            // Since when they have their role and when they ask; which door key; which card, and what its leaf says.
            let word = |asker: u8, said: &[u8], door: u8, card: u8, date: u8, end: &[u8]| {
                let rest = [door, 0, 0, card, 0, date, 0, 1, 1, 5];
                [&[3, asker, 2, 4, 0][..], said, &rest, end].concat()
            };
            let (by_ana, by_mal, by_nobody) = (&[0, 1, 1][..], &[3, 0][..], &[0, 0, 0][..]);
            let one = |house: u8, ask: Vec<u8>| [&[house, 0][..], &ask, &[1, 0, 1]].concat();
            let two = |first: Vec<u8>, second: Vec<u8>| [&[0, 1][..], &first, &second, &[1, 0, 9]].concat();
            let mut all: Vec<_> = (0..3).map(|asker| one(0, genuine(asker, &[1, 1]))).collect();
            all.push(one(1, genuine(1, &[1, 1])));
            all.push(two(genuine(1, &[0, 0]), genuine(1, &[0, 0])));
            all.push(one(0, word(0, &[0, 0], 1, 0, 0, by_ana)));
            all.push(one(0, word(0, &[0, 3, 255, 1, 1, 1, 1, 1, 1, 1], 1, 0, 0, by_ana)));
            // Answered too late; one that is not since their role began.
            all.push(one(0, word(0, &[0, 0], 1, 0, 0, &[0, 1, 0, 240, 4, 0])));
            all.push(one(0, word(1, &[1, 0], 0, 0, 1, by_nobody)));
            // Mal answers; and with a false note of when.
            all.push(one(0, word(1, &[0, 1, 9], 0, 0, 0, by_mal)));
            all.push(one(0, word(1, &[0, 0], 0, 0, 0, &[3, 3, 77])));
            all.push(one(1, word(1, &[0, 0], 1, 0, 1, by_mal)));
            // A later word, an earlier one; one that only the charter tells is old; then as one should.
            all.push(two(word(1, &[0, 0], 0, 0, 0, by_ana), word(1, &[0, 1, 9], 0, 1, 0, by_ana)));
            all.push(two(word(1, &[0, 1, 9], 0, 0, 0, by_ana), word(1, &[0, 0], 1, 1, 0, by_ana)));
            all.push(two(word(1, &[0, 1, 9], 0, 0, 1, by_ana), word(1, &[0, 0], 1, 1, 1, by_nobody)));
            all.push(two(word(0, &[0, 0], 0, 0, 1, by_ana), genuine(0, &[1, 1])));
            // For another room; in what another has signed, or nobody; a body key of any bytes.
            let mut elsewhere = word(0, &[0, 0], 1, 0, 0, by_ana);
            elsewhere[4] = 7;
            all.push(one(0, elsewhere));
            all.push(one(0, vec![0, 0, 2, 2, 1, 1, 1, 5, 1, 1]));
            all.push(one(0, vec![0, 0, 2, 2, 0, 1, 0, 0x18, 5, 1, 1, 1]));
            all.push([&[0, 0, 0, 0, 2, 5, 32][..], &[3; 32], &[1, 1]].concat());
            all
        }
        // A frame and a seal on it: hers, another's, an altered one; live, then strict.
        "seal" => {
            let head = |mode| [mode, 0, 0, 0, 0, 0];
            let frame = [0, 1, 3, b'a', b'b', b'c'];
            let statement = |way: u8| [2, 0, 0, 0, 0, 0, way, 0];
            let all = [0, 1].iter().flat_map(|mode| [0, 1, 2].map(|way| (*mode, way)));
            all.map(|(mode, way)| [&head(mode)[..], &frame, &statement(way), &[6, 60]].concat()).collect()
        }
        "signal" => {
            // Ben's ping and ana's answer; then time goes by, and both follow a commit.
            let asked = [0, 2, 0, 0, 0, 1, 0, 1, 1, 2, 0, 1, 1];
            let rest = [0, 0, 5, 1, 1, 0, 8, 0, 1, 1, 2, 0, 1, 8, 0, 0, 4, 0, 1, 1, 2, 0, 1, 1];
            let mut all: Vec<_> = (0..2).map(|role| [&[role][..], &asked, &rest].concat()).collect();
            let forged = |role: u8, named: u8, count: [u8; 2], end: &[u8]| {
                [&[role][..], &asked, &[1, 6, 0, named, 0, 1, 0, 0, 0, 0], &count, end, &[1, 1, 0, 0, 5, 1, 1]].concat()
            };
            all.extend([0, 1, 2].map(|named| forged(named & 1, named, [0, 0], &[0, 0])));
            all.push(forged(1, 0, [1, 0], &[0, 0, 0]));
            all.push(forged(1, 0, [0, 15], &[33, 0, 0]));
            all.push(forged(1, 0, [0, 0], &[7, 1, 0, 200, 5, 1, 0]));
            all.push(forged(1, 1, [0, 0], &[0, 3]));
            // A ping of mal's, and one of hers that is no ping.
            all.push([&[0][..], &[0, 6, 0, 0, 3, 1, 0, 0, 0, 1, 0, 1], &[0, 6, 0, 0, 5, 1, 0, 0]].concat());
            // Ana goes on and ben does not hear how: he sees that, asks her, and is answered, by mal first or not.
            let hinted = [0, 0, 8, 0, 0, 2, 0, 1, 1, 2, 0, 0, 0, 4, 1, 1];
            let heard = [1, 2, 0, 1, 2, 1, 1, 2, 2];
            let answered = [&[0, 2, 0][..], &heard, &[0, 2, 1], &heard, &[0, 2, 3], &heard].concat();
            let by_mal = [0, 11, 0, 0, 0, 1, 0, 0, 11, 0, 0, 1, 0, 0];
            all.push([&hinted[..], &answered].concat());
            all.push([&hinted[..], &by_mal, &answered].concat());
            // Questions of mal's: her own, twice; in ben's name; for ben; that is no question; sealed to nobody.
            let ask = |named: u8, to: u8, rest: &[u8]| [&[0, 10, 0, named, to][..], rest].concat();
            all.push([&[1][..], &ask(0, 0, &[0, 1, 0, 0]), &ask(0, 0, &[0, 2, 0, 0])].concat());
            all.push([&[0][..], &ask(2, 0, &[0, 1, 0, 0]), &ask(0, 3, &[0, 2, 0, 0])].concat());
            all.push([&[0][..], &ask(0, 0, &[0, 1, 7, 1, 0, 9, 5, 1, 0]), &ask(0, 0, &[7, 1, 1, 0, 7, 5])].concat());
            // What ben was told before is told again much later.
            all.push([&[0][..], &asked, &[0, 0, 6, 1, 2, 0, 1, 1, 1, 2, 1, 1, 1]].concat());
            all
        }
        // As it was stored; all but the last changes; changes said in another order; parts of what openmls wrote.
        "snapshot" => {
            let mut all: Vec<_> = (0..3).map(|who| vec![who, 3, 0, 0]).collect();
            all.extend((0..3).map(|end| vec![end & 1, 2, end]));
            all.push(vec![0, 4, 3, 1, 1, 2, 1, 1, 1, 1, 3]);
            all.push(vec![1, 4, 1, 3, 5, 0, 0, 5, 0, 1, 2, 0, 2, 3, 1, 6, b'!']);
            all.extend((0..10).map(|part| vec![part & 1, 3, 1, part, 7, 0, 1, 0, 2, 0, 3, 0, 1, 0, 2, 0, 3, 7, 1]));
            all.push(vec![0, 3, 1, 3, 4]);
            // Turns of the knock that waits: it is let in, or waits anew, and is turned away.
            all.push(vec![0, 4, 2, 1, 5, 4, 1, 0, 1, 5, 6, 1, 0, 0]);
            all.push(vec![0, 4, 1, 1, 5, 3, 1, 0, 0]);
            // What follows an increment is none.
            all.push([&[0, 2, 1, 0, 0, 0, 24][..], &[1; 24]].concat());
            all
        }
        // As they were; written anew: how old, since when in a role, out of which leaf, to whom; a welcome that was altered.
        "ticket" => {
            let written = |who: u8, epoch: u8, since: &[u8], door: &[u8]| {
                [&[3, 0, who, 0, epoch][..], since, door, &[0, 3, 0, 0, 0, 0, 0, 1, 1, 9, 0, 0]].concat()
            };
            let mut all: Vec<_> = (0..3).map(|who| vec![1, 0, who]).collect();
            all.extend((0..3).map(|who| written(who, 0, &[0], &[2])));
            all.extend([written(0, 0, &[0], &[0]), written(1, 0, &[3, 1], &[2]), written(1, 0, &[0], &[1, 1])]);
            all.extend([
                written(0, 9, &[0], &[2]),
                vec![1, 0, 1, 0, 7, 1, 3, 1, 0, 90, 5, 1],
                vec![1, 0, 0, 1, 0, 52, 5, 1],
            ]);
            all
        }
        "tree" => vec![vec![1, 0], vec![3, 0], change(3, 40)],
        // Made with the key: by mal herself, twice, far ahead and too old; in another's name, of another epoch or room, by
        // nobody. Genuine words: kept back, altered, sealed again as they are or not, after the room went on.
        "word" => {
            let forged = |who: &[u8], number: &[u8], said: &[u8], sign: u8| {
                [&[5, 0][..], who, number, said, &[3, sign]].concat()
            };
            let (mal, said, ahead) = (&[0][..], &[0][..], &[4, 2, 88][..]);
            let (held, again) = ([1, 1, 1], [3, 0, 0, 0, 0]);
            let mut all = vec![
                [forged(mal, &[0], said, 0), forged(mal, &[0], said, 0)].concat(),
                [forged(mal, ahead, said, 0), forged(mal, &[1], said, 0)].concat(),
                [forged(mal, &[5, 0], said, 0), forged(mal, &[5, 1], said, 0)].concat(),
                [forged(&[5, 2], &[0], said, 0), forged(&[7, 0], &[0], said, 0)].concat(),
                [held.to_vec(), vec![2, 0, 1, 0, 30, 5, 1], vec![2, 0, 1, 0, 4, 5, 1]].concat(),
                [&held[..], &again, &[7, 1, 0]].concat(),
                [&held[..], &[7, 0], &again, &[3, 0, 0, 1, 0]].concat(),
                [&held[..], &[3, 0, 1, 1, 0, 53, 5, 1, 0, 0]].concat(),
                [&[0, 0, 10][..], &[7; 160]].concat(),
                [&[4, 200][..], &[6; 200], &[0, 0]].concat(),
            ];
            all.extend([5, 6, 7].map(|sign| forged(mal, &[0], said, sign)));
            all.extend((3..8).map(|length| forged(mal, &[2], &[3, 65, length], 0)));
            all
        }
        "welcome" => vec![vec![1, 0], vec![2, 0], vec![3, 0], vec![3, 1, 0, 0, 0, 2, 0], change(1, 300)],
        _ => Vec::new(),
    }
}
