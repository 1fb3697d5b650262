//! Tickets, which lie beside the identity: damaged, or written by somebody else.

use std::{cell::RefCell, time::Duration};

use parlor::{
    Event,
    room::{REQUEST_LEN, RequestId, Returning, Ticket},
};

use super::{
    house::{EVE, House, OWN_DOOR, PEOPLE, READERS, ROOM, WATCHERS, agree, bring, id_of, identity, may, u64_at},
    input::Input,
    porch::{NOW, WALL, key_pair},
    reach,
};
use crate::party::{gists, mal::state};

thread_local! {
    static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) };
}

/// Whose tickets they are: a listener, a host and a speaker.
const OWNERS: [usize; 3] = [EVE, 3, 2];

/// A ticket has one form, and whoever asks by it asks those it names, out of the leaf and the role it names; they enter the
/// room it names, in a later epoch than it names, and no other.
pub fn ticket(data: &[u8]) {
    HOUSE.with_borrow_mut(|house| {
        let house = house.get_or_insert_with(|| House::new(true));
        let mut input = Input::new(data);
        let way = input.below(4);
        let who = *input.choose(&OWNERS);
        let genuine = &house.tickets[who];
        let bytes = match way {
            0 => input.rest().to_vec(),
            1 => input.mutate(genuine),
            2 => [&genuine[..ROOM], input.rest()].concat(),
            _ => write(&mut input, house, who),
        };
        let Ok(ticket) = Ticket::from_bytes(&bytes) else { return assert!(bytes != *genuine) };
        assert_eq!(ticket.to_bytes(), bytes, "a ticket has two forms");
        assert_eq!(Ticket::from_bytes(&ticket.to_bytes()).unwrap(), ticket);
        assert!(!format!("{ticket:?}").is_empty());
        asks(house, who, &ticket, &bytes, &mut input);
    });
}

fn asks(house: &House, who: usize, ticket: &Ticket, bytes: &[u8], input: &mut Input<'_>) {
    let me = id_of(who);
    let room_end = ROOM + 1 + usize::from(bytes[ROOM]);
    assert_eq!(ticket.room(), &bytes[ROOM + 1..room_end]);
    let named: Vec<&[u8]> = bytes[room_end + 1..].chunks(64).filter(|reader| reader[..32] != *me.as_bytes()).collect();
    let (mut returning, mut request) = match Returning::with_ticket(identity(who), ticket, WALL) {
        Ok(asked) => asked,
        Err(error) => {
            let is_known = |reader: &&[u8]| house.doors.iter().any(|door| reader[32..] == *door);
            return assert!(!named.iter().any(is_known) && !error.to_string().is_empty(), "{error}");
        }
    };
    if input.below(8) == 7 {
        request = returning.ask_again(WALL.plus(1)).unwrap();
    }
    assert_eq!((request.len(), returning.id()), (REQUEST_LEN, RequestId::of(&request)));
    assert_eq!((returning.card().name(), returning.card().id()), (PEOPLE[who].0, me));
    // Ana or mo is asked if they are named.
    let at = input.below(WATCHERS);
    let mut rooms = [house.room(0), house.room(1)];
    let before = state(&rooms[at]);
    let events = rooms[at].receive(&request, NOW);
    assert_eq!(state(&rooms[at]), before);
    if ticket.room() != house.id {
        return assert!(events.is_err(), "a request of another room is read");
    }
    let events = events.unwrap();
    let (_, word) = house.read(returning.card().as_bytes());
    let word = word.expect("who asks has a word");
    let said = (word.is_ours, word.since, &[&word.door[..], &word.date.to_be_bytes()].concat()[..]);
    assert_eq!(said, (true, u64_at(bytes, 9), &bytes[OWN_DOOR..ROOM - 1]));
    let actor = rooms[at].me().unwrap().role;
    let is_named = named.iter().any(|reader| reader[32..] == house.doors[at]);
    if !is_named || !may(actor, &house.seats[&me], Some(&word), &house.seats) {
        return assert!(events.is_empty(), "{:?}", gists(&events));
    }
    let [Event::AsksBack { card, .. }] = &events[..] else { panic!("{:?}", gists(&events)) };
    assert_eq!(**card, *returning.card());
    let admission = rooms[at].bring_back(card, WALL).unwrap();
    let epoch = u64_at(bytes, 1);
    let present = house.seats.keys().copied().collect();
    bring(&mut rooms, &admission.commit, NOW + Duration::from_secs(1), me, &present);
    if input.below(4) == 3 {
        let welcome = input.mutate(&admission.welcome);
        match returning.enter(&welcome, None) {
            Ok((entered, _)) => {
                assert_eq!(welcome, admission.welcome);
                assert!(epoch < entered.epoch(), "back in an epoch that one knows");
                return agree(&[&entered, &rooms[0]]);
            }
            Err(failed) => returning = *failed.returning,
        }
    }
    match returning.enter(&admission.welcome, admission.tree.as_deref()) {
        Ok((entered, _)) => {
            reach("back");
            agree(&[&entered, &rooms[0], &rooms[1]]);
            assert!(epoch < entered.epoch(), "back in an epoch that one knows");
        }
        Err(failed) => {
            assert!(epoch >= rooms[0].epoch() && !failed.to_string().is_empty(), "{failed}");
            assert_eq!(failed.returning.into_identity().name(), PEOPLE[who].0);
        }
    }
}

/// In the form that it should have.
fn write(input: &mut Input<'_>, house: &House, who: usize) -> Vec<u8> {
    let genuine = &house.tickets[who];
    let mut out = vec![if input.below(16) == 15 { input.byte() } else { 2 }];
    out.extend(input.number().to_be_bytes());
    let since = if input.below(4) == 3 { input.number() } else { u64_at(genuine, 9) };
    out.extend(since.to_be_bytes());
    match input.below(4) {
        0 => out.extend([0; ROOM - OWN_DOOR]),
        1 => {
            out.extend(house.doors[input.below(WATCHERS)]);
            out.extend(input.number().to_be_bytes());
            out.push(input.byte() & 1);
        }
        _ => out.extend(&genuine[OWN_DOOR..ROOM]),
    }
    let room = if input.below(4) == 3 { input.run() } else { &house.id };
    out.push(room.len() as u8);
    out.extend(room);
    let count = input.below(10);
    out.push(count as u8);
    let readers: Vec<&[u8]> = genuine[READERS..].chunks_exact(64).collect();
    for _ in 0..count {
        match input.below(5) {
            0 => out.extend(*input.choose(&readers)),
            1 => out.extend([input.byte(); 64]),
            2 => out.extend([[input.byte(); 32], key_pair(input.byte()).1].concat()),
            // A door that is another's.
            3 => {
                let id = id_of(input.below(PEOPLE.len()));
                out.extend([*id.as_bytes(), house.doors[input.below(WATCHERS)]].concat());
            }
            // Their own, whom nobody asks.
            _ => out.extend([*id_of(who).as_bytes(), [9; 32]].concat()),
        }
    }
    out
}
