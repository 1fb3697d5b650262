//! Tickets, which lie beside the identity: damaged, or written by somebody else.

use std::{cell::RefCell, time::Duration};

use parlor::{
    Event, Identity,
    room::{REQUEST_LEN, RequestId, Returning, Ticket},
};

use super::{
    input::Input,
    porch::{NOW, WALL, key_pair},
    request::House,
};
use crate::party::gists;

thread_local! {
    static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) };
}

/// A ticket has one form, and whoever asks by it asks those it names; they enter the room it names, in a later epoch than
/// it names, and no other.
pub fn ticket(data: &[u8]) {
    HOUSE.with_borrow_mut(|house| {
        let house = house.get_or_insert_with(House::new);
        let mut input = Input::new(data);
        let bytes = match input.below(4) {
            0 => input.rest().to_vec(),
            1 => input.mutate(&house.ticket),
            2 => [&house.ticket[..18], input.rest()].concat(),
            _ => write(&mut input, &house.ticket),
        };
        let Ok(ticket) = Ticket::from_bytes(&bytes) else { return };
        assert_eq!(ticket.to_bytes(), bytes, "a ticket has two forms");
        assert!(!format!("{ticket:?}").is_empty());
        asks(house, &ticket, &bytes, &mut input);
    });
}

fn asks(house: &House, ticket: &Ticket, bytes: &[u8], input: &mut Input<'_>) {
    let eve = Identity::from_secret("eve", &[8; 32]).unwrap();
    let (returning, request) = match Returning::with_ticket(eve, ticket, WALL) {
        Ok(asked) => asked,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!((request.len(), returning.id()), (REQUEST_LEN, RequestId::of(&request)));
    assert_eq!(returning.card().name(), "eve");
    if ticket.room() != house.id {
        return;
    }
    // Ana is asked if she is named.
    let (named, ana) = (&bytes[bytes.len() - bytes.len() / 64 * 64..], &house.ticket[35..][..64]);
    let named = named.chunks(64).any(|reader| reader == ana);
    let mut room = house.room(0);
    let events = room.receive(&request, NOW);
    let Ok([Event::AsksBack { card, .. }]) = events.as_deref() else {
        return assert!(!named, "{:?}", events.map(|events| gists(&events)));
    };
    let admission = room.bring_back(card).unwrap();
    let epoch = u64::from_be_bytes(bytes[1..9].try_into().unwrap());
    room.receive(&admission.commit, NOW + Duration::from_secs(1)).unwrap();
    let returning = if input.below(4) == 3 {
        let welcome = input.mutate(&admission.welcome);
        match returning.enter(&welcome, None) {
            Ok((entered, _)) => {
                assert_eq!(welcome, admission.welcome);
                return assert_eq!(entered.code(), room.code());
            }
            Err(failed) => *failed.returning,
        }
    } else {
        returning
    };
    match returning.enter(&admission.welcome, admission.tree.as_deref()) {
        Ok((entered, _)) => {
            assert_eq!((entered.code(), entered.epoch()), (room.code(), room.epoch()));
            assert!(epoch < room.epoch(), "back in an epoch that one knows");
        }
        Err(failed) => {
            assert!(epoch >= room.epoch() && !failed.to_string().is_empty(), "{failed}");
            assert_eq!(failed.returning.into_identity().name(), "eve");
        }
    }
}

/// In the form that it should have.
fn write(input: &mut Input<'_>, genuine: &[u8]) -> Vec<u8> {
    let mut out = vec![if input.below(16) == 15 { input.byte() } else { 1 }];
    out.extend(input.number().to_be_bytes());
    out.extend(input.number().to_be_bytes());
    let room = if input.below(4) == 3 { input.run() } else { &genuine[18..34] };
    out.push(room.len() as u8);
    out.extend(room);
    let count = input.below(10);
    out.push(count as u8);
    let readers: Vec<&[u8]> = genuine[35..].chunks_exact(64).collect();
    for _ in 0..count {
        match input.below(4) {
            0 => out.extend(*input.choose(&readers)),
            1 => out.extend([input.byte(); 64]),
            2 => out.extend([[input.byte(); 32], key_pair(input.byte()).1].concat()),
            // Her own, whom nobody asks.
            _ => out.extend([*Identity::from_secret("eve", &[8; 32]).unwrap().id().as_bytes(), [9; 32]].concat()),
        }
    }
    out
}
