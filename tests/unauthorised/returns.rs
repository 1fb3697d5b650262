//! Who is brought back, by whom and by what. It is hal, a host, whose cards are at hand.

use openmls::prelude::*;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

use super::{Attempt, Evening, Expect, key, stand};
use crate::party::{
    charter::{SPEAKER, Standing},
    mal::{DOOR, Part, RETURN, add, remove},
};

/// What hal's card says of his wish to be brought back.
struct Word {
    room: Vec<u8>,
    since: u64,
    asked_at: u64,
    door: [u8; 32],
}

/// A good one.
fn word(e: &mut Evening) -> Word {
    let charter = e.mal.charter();
    let since = charter.standings[&key(e.hal.client.id())].since;
    Word { room: e.party.rooms[0].id().to_vec(), since, asked_at: 1 + e.rng.random_range(0..u64::MAX), door: DOOR }
}

/// The commit that would bring hal back by a card with that word, if any, and change what the charter says of him.
fn back(e: &mut Evening, word: Option<Word>, change: impl FnOnce(&mut Standing)) -> Vec<u8> {
    let words: Vec<_> = word
        .iter()
        .map(|Word { room, since, asked_at, door }| {
            [&Sha256::digest(room)[..], &since.to_be_bytes(), &asked_at.to_be_bytes(), door, &[0; 8]].concat()
        })
        .map(|bytes| Extension::Unknown(RETURN, UnknownExtension(bytes)))
        .collect();
    let package = e
        .hal
        .client
        .key_package_with(|builder| builder.key_package_extensions(Extensions::from_vec(words.clone()).unwrap()));
    let (id, before) = (e.hal.client.id(), e.mal.charter());
    let mut after = before.clone();
    stand(&mut after, id, change);
    let recharter: Option<Part> = (after != before).then(|| e.mal.recharter_to(after.write()));
    let parts = [remove(e.hal.group.own_leaf_index()), add(package)].into_iter().chain(recharter).collect();
    e.mal.commit(parts)
}

fn refused(message: Vec<u8>, why: &str) -> Attempt {
    (message, Expect::Mal(why.into()))
}

pub fn by_nobody(e: &mut Evening) -> Attempt {
    let word = word(e);
    let asked_at = word.asked_at;
    refused(back(e, Some(word), |hal| hal.returned = asked_at), "bring back hal, a host: that is for a host or a mod")
}

pub fn without_a_word(e: &mut Evening) -> Attempt {
    refused(back(e, None, |_| {}), "bring back hal, a host: their card does not prove")
}

const NO_PROOF: &str = "bring back hal, a host: their card does not prove";
const EARLY: &str = "bring back hal, a host: they asked before they had the keys";

/// For another room, in another role, or out of a leaf that they have no more.
pub fn by_a_word_that_does_not_count(e: &mut Evening) -> Attempt {
    let mut word = word(e);
    match e.rng.random_range(0..3) {
        0 => word.room = e.rng.random::<[u8; 16]>().to_vec(),
        1 => word.since = e.wrong_date(),
        _ => word.door = e.rng.random(),
    }
    let early = word.door != DOOR;
    if e.rng.random() {
        return refused(back(e, Some(word), |_| {}), if early { EARLY } else { NO_PROOF });
    }
    let asked_at = word.asked_at;
    if early {
        return refused(back(e, Some(word), |hal| hal.returned = asked_at), EARLY);
    }
    refused(back(e, Some(word), |hal| hal.returned = asked_at), "remove hal, a host")
}

pub fn by_a_word_that_is_not_noted(e: &mut Evening) -> Attempt {
    let (word, note) = (word(e), e.rng.random_range(0..3));
    let other = word.asked_at.wrapping_add(e.rng.random_range(1..9));
    refused(back(e, Some(word), |hal| hal.returned = [0, other, u64::MAX][note]), "remove hal, a host")
}

pub fn changed(e: &mut Evening) -> Attempt {
    let hal = e.hal.client.id();
    e.mute(hal, true);
    let (word, what, wrong_date) = (word(e), e.rng.random_range(0..4), e.wrong_date());
    let (asked_at, me) = (word.asked_at, key(e.mal.client.id()));
    let attempt = back(e, Some(word), |hal| {
        hal.returned = asked_at;
        match what {
            0 => hal.muted_by = None,
            1 => hal.muted_by = Some(me),
            2 => (hal.role, hal.returned) = (SPEAKER, 0),
            _ => hal.since = wrong_date,
        }
    });
    refused(attempt, "remove hal, a host")
}

/// A host may put him out and let him in anew; then he is as new.
pub fn changed_by_a_host(e: &mut Evening) -> Attempt {
    e.with_room();
    let hal = e.hal.client.id();
    e.mute(hal, true);
    let (word, wrong_date) = (word(e), e.wrong_date());
    let (asked_at, muted) = (word.asked_at, e.rng.random());
    let attempt = back(e, Some(word), |hal| {
        hal.returned = if muted { asked_at } else { 0 };
        hal.since = wrong_date;
        if !muted {
            hal.muted_by = None;
        }
    });
    refused(attempt, if muted { "let somebody in muted or leaving" } else { "give a role another date" })
}

pub fn noted_of_who_never_left(e: &mut Evening) -> Attempt {
    let hal = e.hal.client.id();
    let asked_at = e.rng.random_range(1..u64::MAX);
    e.recharter(|charter| stand(charter, hal, |hal| hal.returned = asked_at), "change when hal came back")
}
