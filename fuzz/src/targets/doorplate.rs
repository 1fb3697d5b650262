//! Doorplates: from the relay, from other holders of the link, and from a host with a patched client.

use std::cell::RefCell;

use parlor::room::door::MAX_ADMITTERS;

use super::{
    input::Input,
    porch::{Porch, WALL, guest, host, key_pair},
    reach,
};

thread_local! {
    static PORCH: RefCell<Option<Porch>> = const { RefCell::new(None) };
}

/// A doorplate is its host's word, and bounded; whoever reads one can knock by it, or stays a guest.
pub fn doorplate(data: &[u8]) {
    PORCH.with_borrow_mut(|porch| {
        let porch = porch.get_or_insert_with(Porch::new);
        read(porch, &mut Input::new(data));
    });
}

fn read(porch: &Porch, input: &mut Input<'_>) {
    let (sealed, by_host) = match input.below(5) {
        0 => (input.rest().to_vec(), false),
        1 => {
            let genuine = porch.room.doorplate(&porch.link).unwrap();
            let altered = input.mutate(&genuine);
            let same = altered == genuine;
            (altered, same)
        }
        // Of another holder of the link.
        2 => {
            let plain = porch.plate();
            let altered = input.mutate(&plain);
            let same = altered == plain;
            (porch.seal_plate(&altered), same)
        }
        3 => (porch.seal_plate(&porch.sign_plate(input.rest())), true),
        // The host's, in the form it should have.
        _ => {
            let mut signed = vec![if input.below(16) == 15 { input.byte() } else { 1 }];
            for _ in 0..2 {
                let text = input.run();
                signed.push(text.len() as u8);
                signed.extend(text);
            }
            let me = host().0.id();
            signed.extend(if input.below(8) == 7 { input.array() } else { *me.as_bytes() });
            let room = input.run();
            signed.push(room.len() as u8);
            signed.extend(room);
            signed.extend([input.byte() & 3, input.byte() & 3, input.byte() & 3]);
            signed.extend(if input.flag() { input.u64() } else { 0 }.to_be_bytes());
            let count = input.below(10);
            signed.push(count as u8);
            for at in 0..count {
                let id = if at == 0 { *me.as_bytes() } else { [input.byte(); 32] };
                signed.extend(id);
                signed.extend(if input.flag() { key_pair(input.byte()).1 } else { [input.byte(); 32] });
            }
            (porch.seal_plate(&porch.sign_plate(&signed)), true)
        }
    };
    let plate = match porch.link.read_doorplate(&sealed) {
        Ok(plate) => plate,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    reach("read");
    assert!(by_host, "a doorplate that its host never signed is read");
    assert_eq!((plate.host(), plate.link()), (host().0.id(), porch.link.id()));
    for text in [plate.title(), plate.host_name()] {
        assert!(text.len() <= 255 && !text.chars().any(char::is_control), "{text:?}");
    }
    assert!(plate.terms().role <= parlor::Role::Speaker && MAX_ADMITTERS == 8);
    match guest("ben", 6).0.knock(&porch.link, &plate, "", WALL) {
        Ok((waiting, knock)) => {
            porch.link.gate().check(&knock).unwrap();
            assert_eq!(waiting.doorplate(), &plate);
        }
        Err(failed) => assert_eq!(failed.guest.card().name(), "ben"),
    }
}
