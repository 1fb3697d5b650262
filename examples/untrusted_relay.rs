//! So that's what the server sees: a relay that carries a room prints all it can tell of each packet, live, and
//! tries to open, alter, replay and forge what it carries.
//!
//! ```text
//! cargo run --release --example untrusted_relay            # in real time
//! cargo run --release --example untrusted_relay -- --fast  # as fast as it goes
//! ```

use std::{collections::BTreeSet, error::Error, path::Path, process::ExitCode, thread, time::Duration};

use parlor::{
    EpochKeys, Error as Refusal, Event, Guest, Identity, KeyIdLayout, LeafIndex, Role, Room, Settings, Suite, Voice,
    media::{Speaker, sframe::Header},
    sound::{Encoder, Encoding, FRAME_SAMPLES, SILENCE, wav},
};
use rand::{Rng, RngExt};
use zeroize::Zeroizing;

const SECONDS: usize = 5;

/// Room for the longest payload that an encoder makes.
const MAX_PAYLOAD: usize = 512;

const HELP: &str = "\
What a relay sees of a room's packets, and that it can neither open, alter, replay nor forge one.

Usage: cargo run --release --example untrusted_relay -- [--fast]

  --fast   not in real time

Exit status: 0 every attack failed, 1 one succeeded, 2 could not run.";

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("untrusted_relay: {error}");
            ExitCode::from(2)
        }
    }
}

/// Plays the scene; gives how many attacks succeeded.
fn run() -> Result<u64, Box<dyn Error>> {
    let fast = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--fast") => true,
        Some("-h" | "--help") => {
            println!("{HELP}");
            return Ok(0);
        }
        Some(other) => return Err(format!("{other:?} is no option; there are --fast and --help").into()),
    };
    let now = Duration::ZERO;
    let (mut ana, mut ana_voice) = Room::create(Identity::generate("ana")?, Settings::default())?;
    let ben = Guest::new(Identity::generate("ben")?)?;
    let cy = Guest::new(Identity::generate("cy")?)?;
    let admission = ana.admit_all(&[(ben.card().clone(), Role::Listener), (cy.card().clone(), Role::Speaker)])?;
    for event in ana.receive(&admission.commit, now)? {
        if let Event::Rekeyed(keys) = event {
            ana_voice.rekey(keys)?;
        }
    }
    let (ben, mut ben_voice) = ben.enter(&admission.welcome)?;
    println!("Ana's and Ben's room code, on their screens: {}\n", ben.code());
    println!(
        "The relay carried a commit of {} bytes and a welcome of {} bytes.",
        admission.commit.len(),
        admission.welcome.len()
    );
    let seen = |what: &str| {
        [&admission.commit, &admission.welcome]
            .iter()
            .any(|bytes| bytes.windows(what.len()).any(|w| w == what.as_bytes()))
    };
    println!("Names in them: ana {}, ben {}.\n", found(seen("ana")), found(seen("ben")));
    println!("Now Ana speaks, then is silent. What the relay sees:\n");
    println!("    time  bytes  key id              counter  the rest");

    let speech = wav::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/speech/austen-2.wav"))?;
    let mut encoder = Encoder::new(Encoding::default())?;
    let mut relay = Relay::default();
    for frame in 0..SECONDS * 50 {
        let now = Duration::from_millis(20 * frame as u64);
        let mut pcm = SILENCE;
        for (slot, sample) in pcm.iter_mut().zip(speech.get(frame * FRAME_SAMPLES..).unwrap_or_default()) {
            *slot = *sample;
        }
        let mut payload = [0; MAX_PAYLOAD];
        let length = encoder.encode(&pcm, &mut payload)?;
        let packet = ana_voice.seal(&payload[..length])?;
        relay.look(&packet, now)?;
        if frame % 10 == 9 {
            relay.attack(&packet, frame / 10, &mut ben_voice, now)?;
        }
        ben_voice.open(&packet, now)?;
        relay.kept.push(packet);
        while let Some(seal) = ana_voice.next_seal(now) {
            relay.look(&seal, now)?;
            // A seal is no sound: `open` says so by an error.
            if let Err(refusal) = ben_voice.open(&seal, now)
                && !matches!(refusal, Refusal::Seal { .. })
            {
                return Err(refusal.into());
            }
        }
        if !fast {
            thread::sleep(Duration::from_millis(20));
        }
    }
    println!("\n  what the relay tried          times  succeeded");
    for (name, (tries, hits)) in ATTACKS.iter().zip(&relay.score) {
        println!("  {name:28} {tries:6} {hits:10}");
    }
    let [frames, seals] = relay.sizes;
    println!("\n  Lengths of ciphertext, over speech and silence alike: {frames:?} bytes");
    println!("  Between them, each twice, the seals by which Ben knows that it is Ana who speaks: {seals:?} bytes");
    println!("  What it does learn: that leaf 0 of this room sends, when, and how many epochs there were.");
    let end = Duration::from_secs(SECONDS as u64);
    let (stats, ana_id) = (ben_voice.stats(), ana.me().ok_or("ana is in her room")?.id);
    println!(
        "\nBen heard {} frames; by her seals {} are Ana's for certain. His screen says: {}.",
        stats.opened,
        stats.verified,
        ben_voice.hearing(&ana_id, end).seals
    );
    Ok(relay.score.iter().map(|(_, hits)| hits).sum())
}

fn found(found: bool) -> &'static str {
    if found { "FOUND" } else { "not to be found" }
}

const ATTACKS: [&str; 5] =
    ["open it with a guessed key", "flip one bit", "play it again", "forge one of its own", "pass it off as Cy's"];

#[derive(Default)]
struct Relay {
    kept: Vec<Vec<u8>>,
    /// Of frames, and of seals.
    sizes: [BTreeSet<usize>; 2],
    score: [(u64, u64); ATTACKS.len()],
}

impl Relay {
    /// All that a packet tells.
    fn look(&mut self, packet: &[u8], now: Duration) -> Result<(), Box<dyn Error>> {
        let (header, length) = Header::decode(packet)?;
        let (stream, leaf, epoch) = KeyIdLayout::default().split(header.kid);
        let rest = &packet[length..];
        let dots: String = rest.iter().take(24).map(|byte| format!("{byte:02x}")).collect();
        println!(
            "  {:4.2} s  {:5}  stream {stream} {leaf} epoch {epoch}  {:7}  {dots}…",
            now.as_secs_f64(),
            packet.len(),
            header.counter
        );
        self.sizes[usize::from(stream > 0)].insert(rest.len());
        Ok(())
    }

    /// One attempt, in turn, against Ben's ear.
    fn attack(&mut self, packet: &[u8], turn: usize, ben: &mut Voice, now: Duration) -> Result<(), Box<dyn Error>> {
        let mut rng = rand::rng();
        let which = turn % ATTACKS.len();
        let (header, length) = Header::decode(packet)?;
        let outcome = match which {
            0 => self.voice_of_its_own(header.kid)?.open(packet, now),
            1 => {
                let mut altered = packet.to_vec();
                let at = rng.random_range(0..altered.len());
                altered[at] ^= 1 << rng.random_range(0..8);
                ben.open(&altered, now)
            }
            2 => ben.open(&self.kept[rng.random_range(0..self.kept.len())], now),
            3 => {
                let mut forged = packet.to_vec();
                rng.fill_bytes(&mut forged[length..]);
                ben.open(&forged, now)
            }
            _ => {
                let (_, leaf, epoch) = KeyIdLayout::default().split(header.kid);
                let kid = KeyIdLayout::default().key_id(0, LeafIndex(leaf.0 + 2), epoch)?;
                let mut moved = [0; 512];
                let n = Header { kid, counter: header.counter }.encode_into(&mut moved)?;
                moved[n..][..packet.len() - length].copy_from_slice(&packet[length..]);
                ben.open(&moved[..n + packet.len() - length], now)
            }
        };
        let score = &mut self.score[which];
        score.0 += 1;
        match outcome {
            Ok(_) => {
                score.1 += 1;
                println!("          ! the relay succeeded: {}", ATTACKS[which]);
            }
            Err(refusal) => println!("          relay tries to {}: {refusal}", ATTACKS[which]),
        }
        Ok(())
    }

    /// The relay knows the suite, the epoch and the sender: all but the key.
    fn voice_of_its_own(&self, kid: u64) -> Result<Voice, Box<dyn Error>> {
        let (_, leaf, epoch) = KeyIdLayout::default().split(kid);
        let mut guess = Zeroizing::new(vec![0; 32]);
        rand::rng().fill_bytes(&mut guess);
        let stage = vec![Speaker { leaf, id: Identity::generate("whoever this is")?.id() }];
        let keys = EpochKeys::new(
            Suite::default(),
            KeyIdLayout::default(),
            epoch,
            guess,
            LeafIndex(leaf.0 + 1),
            stage,
            Duration::ZERO,
        )?;
        Ok(Voice::new(keys))
    }
}
