//! What the relay keeps of a link, and what it drops.

use std::cell::RefCell;

use parlor::{
    Identity, Link,
    room::door::{Gate, KNOCK_LEN, KnockId},
};

use super::input::Input;

thread_local! {
    static LINK: RefCell<Option<Link>> = const { RefCell::new(None) };
}

/// A gate has one encoding, and lets nothing through that no link has signed.
pub fn gate(data: &[u8]) {
    if let Ok(gate) = Gate::from_bytes(data) {
        assert_eq!(gate.to_bytes(), data, "a gate has two encodings");
        assert_eq!((gate.address().as_bytes(), gate.id().as_bytes()), (&array(&data[1..17]), &array(&data[17..])));
        assert!(gate.check(data).is_err());
    }
    LINK.with_borrow_mut(|link| {
        let host = || Identity::from_secret("ana", &[5; 32]).unwrap().id();
        let link = link.get_or_insert_with(|| Link::generate(host()).unwrap());
        let mut input = Input::new(data);
        let mut knock = [&[1][..], link.address().as_bytes(), link.id().as_bytes(), input.rest()].concat();
        assert!(link.gate().check(&knock).is_err());
        knock.resize(KNOCK_LEN, 7);
        assert!(link.gate().check(&knock).is_err());
        // Its name is of all but its last 64 bytes.
        let mut other = knock.clone();
        other[KNOCK_LEN - 1] ^= 1;
        assert_eq!(KnockId::of(&other), KnockId::of(&knock));
        assert!(data.is_empty() || KnockId::of(data) != KnockId::of(&knock));
    });
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap()
}
