//! A doctor's waiting room: who knocks sees the name on the door and waits, and holds no key until they are called in.
//!
//! ```text
//! cargo run --example waiting_room
//! ```

#[path = "stage_hands/mod.rs"]
mod stage_hands;

use std::process::ExitCode;

use parlor::{
    Event, Settings, Waiting,
    room::{Entry, Setting, Speaking, door::KnockId},
};
use stage_hands::{Kind, Outcome, Scene, curtain, guest, words_of};

const HELP: &str = "\
A doctor's waiting room. People knock with a link and a note, and wait; the doctor calls them in one at a time.
To the left what happens, to the right all that the relay has of it.

Usage: cargo run --example waiting_room

Exit status: 0 everything held, 1 the relay could tell what it should not, 2 could not run.";

const TITLE: &str = "Dr Ito, Tuesdays";

/// How wide the left column is.
const WIDE: usize = 84;

fn main() -> ExitCode {
    curtain("waiting_room", HELP, play)
}

fn play() -> Outcome<u64> {
    let settings = Settings::default()
        .with_title(TITLE)?
        .with(Setting::Entry(Entry::Knock))?
        .with(Setting::Speaking(Speaking::Everybody))?;
    let mut stage = Board { scene: Scene::open("ito", settings)?, shown: 0 };
    println!("{:WIDE$}| what the relay has of it\n{:-<WIDE$}+{:-<44}", "what happens", "", "");

    let link = stage.scene.issue_link("ito", parlor::Role::Listener, false)?;
    stage.line(&format!("Dr Ito opens, and gives her patients a link: {link}"));
    let patients = [
        ("kit", "my knee again, since Sunday"),
        ("lea", "test results"),
        ("sam", "MIRACLE CURE, ONE PAYMENT"),
        ("max", "only a prescription"),
    ];
    let mut waiting: Vec<Waiting> = Vec::new();
    for (name, note) in patients {
        let (place, _) = stage.scene.knock(guest(name)?, &link, note, "ito")?;
        let door = place.doorplate();
        stage.line(&format!("{name} reads “{}” (host: {}) on the door, and knocks", door.title(), door.host_name()));
        waiting.push(place);
    }

    stage.line("");
    stage.line("On Dr Ito's screen:");
    let knocks: Vec<_> = stage.scene.room("ito")?.knocks().cloned().collect();
    for knock in &knocks {
        let digits: String = knock.fingerprint().to_string().chars().take(17).collect();
        stage.line(&format!("  {}  {digits}…  “{}”", knock.name(), knock.note()));
    }
    stage.line("They wait. Nobody out there holds a key: their type has no place for one.");

    stage.line("");
    let mut waiting = waiting.into_iter();
    let (kit, lea, sam, max) = (next(&mut waiting)?, next(&mut waiting)?, next(&mut waiting)?, next(&mut waiting)?);
    stage.call_in("kit", kit, "It hurts on the stairs.")?;
    stage.send_home("kit")?;

    let first = stage.turn_away(sam, "this is a doctor's")?;
    let (place, _) = stage.scene.knock(first, &link, "LAST CHANCE", "ito")?;
    stage.line("sam knocks again");
    let second = stage.turn_away(place, "and no")?;
    let (place, events) = stage.scene.knock(second, &link, "please", "ito")?;
    let asked = events.iter().any(|event| matches!(event, Event::Knocked { .. }));
    let Err((answer, _)) = stage.scene.enter(place)? else { return Ok(1) };
    stage.line(&format!("sam knocks a third time. Dr Ito {} asked.", if asked { "is" } else { "is not even" }));
    stage.line(&format!("  sam reads: {answer}"));

    stage.call_in("lea", lea, "Is it good news?")?;
    stage.send_home("lea")?;
    stage.call_in("max", max, "The usual, please.")?;
    let end = stage.scene.room("ito")?.end()?;
    stage.scene.spread(end)?;
    stage.line("Dr Ito goes home: the room is over, and its keys are gone everywhere");

    Ok(stage.sum_up(&patients, asked))
}

fn next(waiting: &mut impl Iterator<Item = Waiting>) -> Outcome<Waiting> {
    Ok(waiting.next().ok_or("four have knocked")?)
}

/// The scene, told in two columns.
struct Board {
    scene: Scene,
    /// How much of the relay's log has been shown.
    shown: usize,
}

impl Board {
    /// What happened, and beside it what has passed through the relay since the last line.
    fn line(&mut self, what: &str) {
        let log = &self.scene.relay.log[self.shown..];
        let seen: Vec<_> = log.iter().map(|seen| format!("{:?} of {}", seen.kind, seen.bytes.len())).collect();
        if seen.is_empty() {
            println!("{what}");
        } else {
            println!("{what:WIDE$}| {}", seen.join(", ").to_lowercase());
        }
        self.shown = self.scene.relay.log.len();
    }

    /// The next patient comes in, and the two talk with nobody else in the room.
    fn call_in(&mut self, name: &str, waiting: Waiting, words: &str) -> Outcome {
        self.scene.let_in("ito", &[waiting.id()])?;
        if let Err((answer, _)) = self.scene.enter(waiting)? {
            return Err(format!("{name} was not let in: {answer}").into());
        }
        let here: Vec<_> = self.scene.room("ito")?.roster().map(|member| member.name.clone()).collect();
        self.line(&format!("“{name}, please.” In the room: {}", here.join(", ")));
        let (now, packet) = (self.scene.now, self.scene.speak(name, words)?);
        let heard = self.scene.person("ito")?.voice.open(&packet, now)?;
        self.line(&format!("  Dr Ito hears: “{}”", words_of(&heard.frame)));
        Ok(())
    }

    fn send_home(&mut self, name: &str) -> Outcome {
        self.scene.pass(600);
        let id = self.scene.id(name)?;
        let commit = self.scene.room("ito")?.remove(&id)?;
        self.scene.spread(commit)?;
        let gone = !self.scene.room(name)?.is_open();
        self.line(&format!("  {name} goes home{}", if gone { ", and with the next key out of the room" } else { "" }));
        Ok(())
    }

    fn turn_away(&mut self, waiting: Waiting, reason: &str) -> Outcome<parlor::Guest> {
        let knock: KnockId = waiting.id();
        self.scene.turn_away("ito", &knock, reason)?;
        let Err((answer, guest)) = self.scene.enter(waiting)? else { return Err("a no let somebody in".into()) };
        self.line("Dr Ito turns sam away");
        self.line(&format!("  sam reads: {answer}"));
        Ok(guest)
    }

    /// What the relay made of it; gives how many things it could tell that it should not.
    fn sum_up(&self, patients: &[(&str, &str)], asked: bool) -> u64 {
        let relay = &self.scene.relay;
        let (knocks, answers) = (relay.sizes(Kind::Knock), relay.sizes(Kind::Answer));
        let count = |kind| relay.of(kind).count();
        println!("\nThe relay carried {} knocks, each of {},", count(Kind::Knock), relay.sizes_in_words(Kind::Knock));
        let sizes = relay.sizes_in_words(Kind::Answer);
        println!("and {} answers, each of {sizes}: a yes looks like a no.", count(Kind::Answer));
        let secrets = patients.iter().flat_map(|(_, note)| [*note]).chain([TITLE, "LAST CHANCE", "this is a doctor's"]);
        let found: usize = secrets.map(|secret| relay.finds(secret.as_bytes())).sum();
        println!("Notes, reasons and the title on the door, found in its log: {found}.");
        println!(
            "What it does learn: when somebody knocked, when somebody was answered, and what the room sent to its"
        );
        println!("members then. A yes changes the room's key, so it comes with a longer message than a no.");
        found as u64 + u64::from(knocks.len() != 1) + u64::from(answers.len() != 1) + u64::from(asked)
    }
}
