//! Ratchet trees that travel apart from their welcome: from the relay, and from a host who seals any bytes for one.

use std::cell::RefCell;

use parlor::Guest;

use super::{
    input::Input,
    porch::guest,
    reach,
    relay::{Invitation, charter_of, extensions, invite},
};
use crate::party::mal::Bare;

thread_local! {
    static KEPT: RefCell<Option<(Guest, Invitation)>> = const { RefCell::new(None) };
}

/// No tree but the group's own lets anybody in; who is refused stays a guest.
pub fn tree(data: &[u8]) {
    KEPT.with_borrow_mut(|kept| {
        let (ben, invitation) = kept.take().unwrap_or_else(|| {
            let (ben, relay) = (guest("ben", 6).0, Bare::new("relay"));
            let invitation = invite(&relay, extensions(charter_of(&relay).write()), ben.card(), true).unwrap();
            (ben, invitation)
        });
        let mut input = Input::new(data);
        let sealed = match input.below(4) {
            0 => input.rest().to_vec(),
            1 => input.mutate(&invitation.seal(&invitation.tree)),
            2 => invitation.seal(input.rest()),
            _ => invitation.seal(&input.mutate(&invitation.tree)),
        };
        let is_genuine = sealed == invitation.seal(&invitation.tree);
        let card = ben.card().clone();
        match ben.enter_with_tree(&invitation.welcome, &sealed) {
            Ok((room, _)) => {
                reach("in");
                assert!(is_genuine && room.roster().len() == 2, "another tree lets in");
            }
            Err(failed) => {
                assert!(!is_genuine, "the group's own tree is refused: {failed}");
                assert_eq!(failed.guest.card(), &card);
                *kept = Some((*failed.guest, invitation));
            }
        }
    });
}
