use parlor::{Event, Guest, Identity, Role, Room, Settings};
use std::{error::Error, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    let now = Duration::ZERO; // any monotonic clock
    let (mut ana, mut ana_voice) = Room::create(Identity::generate("ana")?, Settings::default())?;
    let ben = Guest::new(Identity::generate("ben")?)?;
    let admission = ana.admit(ben.card(), Role::Listener)?; // a commit for the room, a welcome for Ben
    for event in ana.receive(&admission.commit, now)? {
        if let Event::Rekeyed(keys) = event {
            ana_voice.rekey(keys)?; // the relay has taken the commit: the room changes
        }
    }
    let (ben, mut ben_voice) = ben.enter(&admission.welcome)?;
    let packet = ana_voice.seal(b"an Opus frame")?; // any relay may carry this
    let heard = ben_voice.open(&packet, now)?;
    let speaker = ben.member(&heard.speaker).map_or("?", |member| &member.name);
    println!("{speaker} says: {}", String::from_utf8_lossy(&heard.frame));
    Ok(())
}
