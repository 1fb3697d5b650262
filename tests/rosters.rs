//! Whoever has been in a room for long and follows each commit has the same of it as who has just come in and reads it all:
//! roster, roles, media keys, who is asked to commit.

mod party;

use std::time::Duration;

use parlor::{
    Guest, MemberId, Role, Room, Settings,
    media::seal::{MediaCertificate, Proof},
    room::{Setting, Speaking},
};
use party::{Party, dice::Dice, guest};

/// What a member has of the room, as text that shows where two differ.
fn view(room: &Room) -> String {
    let of = |id: &MemberId| room.media_keys(id).map(MediaCertificate::to_bytes);
    let roster: Vec<_> = room.roster().map(|member| format!("{member:?} {:?}", of(&member.id))).collect();
    let asked: Vec<_> = room.gardeners().collect();
    format!("{roster:#?} {asked:?} {:?} {:?}", room.settings(), room.code())
}

/// A change that somebody may want of a room of those; not all are allowed.
fn change(rooms: &mut [Room], dice: &mut Dice) -> parlor::Result<Vec<u8>> {
    let who = dice.roll(rooms.len());
    let id = rooms[who].me().unwrap().id;
    let role = [Role::Listener, Role::Speaker, Role::Moderator][dice.roll(3)];
    match dice.roll(12) {
        0 | 1 => rooms[who].refresh(),
        2 => rooms[0].set_role(&id, role),
        3 => rooms[0].mute(&id),
        4 => rooms[0].lift_mute(&id),
        5 if who > 1 => rooms[0].remove(&id),
        6 if who > 1 => rooms[1].ban(&id),
        7 => {
            let speaking = if dice.roll(2) == 0 { Speaking::Everybody } else { Speaking::OnStage };
            rooms[0].set(Setting::Speaking(speaking))
        }
        8 => rooms[0].refresh(),
        9 if who > 0 => rooms[0].set_role(&id, Role::Host),
        _ => rooms[who].step_down(),
    }
}

#[test]
fn who_follows_and_who_enters_have_the_same_of_the_room() {
    let (mut compared, mut asked) = (0, 0);
    for seed in 0..8 {
        let mut dice = Dice::of(seed + 1);
        let proof = if seed % 2 == 0 { Proof::Deniable } else { Proof::Evidence };
        let people = [("ana", Role::Host), ("mo", Role::Moderator), ("ben", Role::Speaker), ("liv", Role::Listener)];
        let mut party = Party::with(&people, Settings::default().with_proof(proof));
        let mut names = 0;
        for step in 0..50 {
            let now = Duration::from_secs(10 + step);
            if let Ok(commit) = change(&mut party.rooms, &mut dice) {
                for room in &mut party.rooms {
                    room.receive(&commit, now).unwrap();
                }
                party.rooms.retain(Room::is_open);
            }
            // Some come, on cards for the stage or not, and two of them look.
            let guests: Vec<(Guest, Role)> = (0..=dice.roll(if step % 10 == 0 { 20 } else { 2 }))
                .map(|_| {
                    names += 1;
                    let name = format!("guest {names}");
                    let role = [Role::Listener, Role::Speaker][dice.roll(2)];
                    let is_for_stage = dice.roll(2) == 0;
                    let made =
                        if is_for_stage { Guest::for_stage(party::identity(&name)).unwrap() } else { guest(&name) };
                    (made, role)
                })
                .collect();
            let cards: Vec<_> = guests.iter().map(|(guest, role)| (guest.card().clone(), *role)).collect();
            let Some(host) = party.rooms.iter().position(|room| room.me().unwrap().role == Role::Host) else { break };
            let admission = party.rooms[host].admit_all(&cards).unwrap();
            for room in &mut party.rooms {
                room.receive(&admission.commit, now).unwrap();
            }
            for (guest, _) in guests.into_iter().take(2) {
                party.rooms.push(party::enter(guest, &admission).unwrap().0);
            }
            let newest = party.rooms.last().unwrap();
            asked += newest.gardeners().count();
            let newest = view(newest);
            for room in &party.rooms {
                assert_eq!(view(room), newest, "seed {seed}, step {step}");
                compared += 1;
            }
            if party.rooms.len() > 16 {
                party.rooms.drain(4..12);
            }
        }
    }
    println!("{compared} members compared with who has just come in");
    assert!(compared > 1_000 && asked > 0, "{compared}, {asked}");
}
