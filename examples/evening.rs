//! An evening in a closed room: a stage of three, twenty listeners, and a troublemaker.
//!
//! Every line with a time is what the members' own copies of the room say of a message; who hears whom is what their
//! ears could open.
//!
//! ```text
//! cargo run --example evening
//! ```

#[path = "stage_hands/mod.rs"]
mod stage_hands;

use std::{process::ExitCode, time::Duration};

use parlor::{
    Card, Event, Guest, Identity, Link, Role, Room, Settings,
    room::{Entry, Reaction, Setting},
};
use stage_hands::{
    Outcome, Scene, curtain,
    ears::Ears,
    guest, it_worked,
    words::{self, Names},
};

const HELP: &str = "\
An evening in a closed room, told by its members: links and knocks, hands and mutes, a ban, and a new host.
At the end a table of who heard whom, when.

Usage: cargo run --example evening

Exit status: 0 everybody heard whom they should, 1 somebody did not or somebody got in who is banned, 2 could not run.";

/// The twentieth is zed.
const LISTENERS: [&str; 19] = [
    "ben", "cleo", "eli", "fay", "gus", "hana", "ivo", "jo", "kim", "lev", "noa", "oto", "pia", "quin", "ron", "sue",
    "tom", "uma", "vic",
];

fn main() -> ExitCode {
    curtain("evening", HELP, play)
}

fn play() -> Outcome<u64> {
    let settings = Settings::default()
        .with_title("Letters nobody sent")?
        .with(Setting::Topic("read one aloud, or listen".into()))?
        .with(Setting::Entry(Entry::Knock))?;
    let mut e = Evening::new(Scene::open("ana", settings)?);
    e.says("ana opens “Letters nobody sent”, a closed room: who has neither card nor link finds no door");
    e.comes_by_card("mo", Role::Moderator)?;

    let many = e.scene.issue_link("ana", Role::Listener, false)?;
    let one = e.scene.issue_link("ana", Role::Speaker, true)?;
    e.says("ana has two links, one for all who would listen, one for a single speaker");
    e.come(vec![guest("dora")?], "I have a letter from 1941", &one)?;
    let knock = e.scene.knock(guest("vera")?, &one, "dora sent me her link", "ana").map(drop);
    e.refused("vera tries dora's link", knock);

    let (zed, trick) = Trick::prepare(&e.scene, "zed", &many)?;
    let mut crowd = LISTENERS.iter().map(|name| guest(name)).collect::<parlor::Result<Vec<_>>>()?;
    crowd.push(zed);
    e.come(crowd, "may I listen?", &many)?;
    let (spammer, _) = e.scene.knock(guest("win-a-prize")?, &many, "CLICK HERE", "ana")?;
    e.scene.turn_away("ana", &spammer.id(), "this is not that kind of room")?;
    let answer = e.scene.enter(spammer)?.map_err(|(answer, _)| answer.into());
    e.refused("win-a-prize knocks", answer);
    e.moment("the stage of three")?;

    let (ben, zed, mo) = (e.scene.id("ben")?, e.scene.id("zed")?, e.scene.id("mo")?);
    e.does("ben", Room::raise_hand)?;
    e.does("mo", |mo| mo.invite_to_speak(&ben))?;
    e.does("ben", |ben| ben.answer_invitation(true))?;
    e.does("mo", |mo| mo.set_role(&ben, Role::Speaker))?;
    e.moment("ben reads his letter")?;
    e.does("cleo", |cleo| Ok(cleo.say("is that the one from the attic?", Some(Duration::from_secs(30)))?.1))?;
    e.does("uma", |uma| uma.react(&Reaction::new("👏")?))?;
    e.does("ben", |ben| ben.set_mic(false))?;
    e.moment("ben coughs")?;
    e.chat_vanishes();
    e.does("ben", |ben| ben.set_mic(true))?;

    e.does("mo", |mo| mo.set_role(&zed, Role::Speaker))?;
    e.moment("zed, on stage, shouts")?;
    e.does("mo", |mo| mo.mute(&zed))?;
    e.moment("zed is muted")?;
    let mic = e.scene.room("zed")?.set_mic(true).map(drop);
    e.refused("zed switches his microphone on", mic.map_err(Into::into));
    e.does("mo", |mo| mo.lift_mute(&zed))?;
    e.moment("his mute is lifted")?;
    e.does("zed", |zed| zed.set_mic(true))?;
    e.moment("zed shouts again")?;
    e.does("mo", |mo| mo.remove(&zed))?;
    e.does("mo", |mo| mo.ban(&zed))?;
    let [knock, walk_in] = trick.knocks;
    let card = e.scene.room("ana")?.admit(&trick.card, Role::Listener).map(drop);
    e.refused("zed has a friend show ana his card", card.map_err(Into::into));
    e.turned_off("zed knocks", &knock, &many)?;
    e.does("ana", |ana| ana.set(Setting::Entry(Entry::Link)))?;
    e.turned_off("zed tries the link", &walk_in, &many)?;
    e.does("ana", |ana| ana.set(Setting::Locked(true)))?;
    let late = e.scene.knock(guest("xena")?, &many, "", "ana")?;
    let answer = e.scene.enter(late.0)?.map_err(|(answer, _)| answer.into());
    e.refused("xena, late, has the link too", answer);
    e.moment("zed is out")?;

    e.does("ana", |ana| ana.hand_over(&mo))?;
    e.does("ana", Room::leave)?;
    e.lets_go("mo")?;
    e.moment("ana has gone home")?;
    e.does("mo", Room::end)?;
    e.moment("the room is over")?;
    e.ears.print();
    Ok(e.wrong + e.ears.wrong)
}

/// What zed has made beforehand: cards that nobody has seen, and under the one key that he has. The room knows him by it.
struct Trick {
    card: Card,
    knocks: [Vec<u8>; 2],
}

impl Trick {
    fn prepare(scene: &Scene, name: &str, link: &Link) -> Outcome<(Guest, Self)> {
        let plate = link.read_doorplate(scene.relay.doorplate(link)?)?;
        let secret: [u8; 32] = rand::random();
        let anew = || Guest::new(Identity::from_secret(name, &secret)?);
        let (_, one) = anew()?.knock(link, &plate, "me again", scene.wall())?;
        let (_, other) = anew()?.knock(link, &plate, "and again", scene.wall())?;
        Ok((anew()?, Self { card: anew()?.card().clone(), knocks: [one, other] }))
    }
}

/// The scene, its narrator, and the record of who heard whom.
struct Evening {
    scene: Scene,
    names: Names,
    ears: Ears,
    /// How often something was other than it should be.
    wrong: u64,
}

impl Evening {
    fn new(scene: Scene) -> Self {
        let ears = Ears::of("cleo", &["ana", "mo", "dora", "ben", "zed"]);
        let mut evening = Self { scene, names: Names::new(), ears, wrong: 0 };
        evening.meet();
        evening
    }

    fn says(&self, what: &str) {
        let at = self.scene.now.as_secs();
        println!("20:{:02}:{:02}  {what}", at / 60, at % 60);
    }

    /// Learns the names of those who have come in.
    fn meet(&mut self) {
        self.names.extend(self.scene.people.iter().map(|person| (person.id, person.name.clone())));
    }

    /// Somebody gives a command, and its events are told.
    fn does(&mut self, who: &str, command: impl FnOnce(&mut Room) -> parlor::Result<Vec<u8>>) -> Outcome {
        let message = command(self.scene.room(who)?)?;
        let events = self.scene.spread(message)?;
        self.tell(&events);
        self.scene.pass(7);
        Ok(())
    }

    /// Those who asked to leave go by one commit.
    fn lets_go(&mut self, who: &str) -> Outcome {
        let events = self.scene.let_go(who)?;
        self.tell(&events);
        self.scene.pass(7);
        Ok(())
    }

    fn tell(&self, events: &[Event]) {
        let told = events.iter().filter_map(|event| words::event(event, &self.names, &self.scene.people));
        match &told.collect::<Vec<_>>()[..] {
            [] => {}
            [first, .., last] if events.len() > 5 => self.says(&format!("{first} … {last}: all by one commit")),
            few => self.says(&few.join("; ")),
        }
    }

    fn comes_by_card(&mut self, name: &str, role: Role) -> Outcome {
        let events = self.scene.admit("ana", vec![(guest(name)?, role)])?;
        self.meet();
        self.tell(&events);
        Ok(())
    }

    /// Guests read the doorplate and knock; ana lets them all in.
    fn come(&mut self, guests: Vec<Guest>, note: &str, link: &Link) -> Outcome {
        let mut waiting = Vec::new();
        for guest in guests {
            waiting.push(self.scene.knock(guest, link, note, "ana")?.0);
        }
        let plate = waiting[0].doorplate();
        let door = format!("the door says “{}”, host {}", plate.title(), plate.host_name());
        let who = if waiting.len() == 1 { "somebody knocks".into() } else { format!("{} people knock", waiting.len()) };
        self.says(&format!("{door}; {who}: “{note}”"));
        let knocks: Vec<_> = waiting.iter().map(parlor::Waiting::id).collect();
        let events = self.scene.let_in("ana", &knocks)?;
        for waiting in waiting {
            self.scene.enter(waiting)?.map_err(|(why, _)| why)?;
        }
        self.scene.refresh_where_due()?;
        self.meet();
        self.tell(&events);
        Ok(())
    }

    fn refused(&mut self, what: &str, result: Outcome) {
        match result {
            Ok(()) => {
                self.wrong += 1;
                it_worked(1);
                self.says(&format!("{what}, and it WORKS"));
            }
            Err(why) => self.says(&format!("{what}: {why}")),
        }
        self.scene.pass(3);
    }

    /// A knock of zed's comes to ana, who need not even look.
    fn turned_off(&mut self, what: &str, knock: &[u8], link: &Link) -> Outcome {
        let events = self.scene.bring(knock, link, "ana")?;
        let now = self.scene.now;
        let opened = self.scene.room("ana")?.open_door(now + Duration::from_secs(1))?.is_some();
        let told = events.iter().filter_map(|event| words::event(event, &self.names, &self.scene.people));
        let result = if opened { Ok(()) } else { Err(told.collect::<Vec<_>>().join("; ").into()) };
        self.refused(what, result);
        Ok(())
    }

    fn chat_vanishes(&mut self) {
        self.scene.pass(30);
        let gone = self.scene.vanished;
        let left = self.scene.people.iter().filter(|person| person.room.messages().next().is_some()).count();
        self.says(&format!("cleo's line was for thirty seconds: wiped by {gone}, left with {left}"));
        self.wrong += left as u64;
    }

    /// Whoever can speaks for a moment, and everybody's ears are written down.
    fn moment(&mut self, what: &'static str) -> Outcome {
        self.scene.pass(10);
        let silence = self.ears.listen(what, &mut self.scene, &self.names)?;
        println!("{}", format!("          [{}] {what}. {silence}", self.ears.moments()).trim_end());
        Ok(())
    }
}
