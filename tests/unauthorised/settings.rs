//! What holds for the whole room, and its links.

use openmls::prelude::*;
use rand::RngExt as _;
use tls_codec::Serialize as _;

use super::{Attempt, Evening, Expect, key, leaf, role};
use crate::party::{
    charter::{ENDED, EVERYBODY_SPEAKS, HOLDS_UNSEALED, HOST, LISTENER, LOCKED, RECORDING, Standing},
    mal::{CHARTER, remove},
};

// ---- settings ----

pub fn title(e: &mut Evening) -> Attempt {
    let title = format!("mine {}", e.rng.random::<u16>()).into_bytes();
    e.recharter(|charter| charter.title = title, "change the room's title")
}

pub fn topic(e: &mut Evening) -> Attempt {
    let topic = vec![b'x'; e.rng.random_range(1..500)];
    e.recharter(|charter| charter.topic = topic, "change the room's topic")
}

pub fn entry(e: &mut Evening) -> Attempt {
    let by = e.rng.random_range(1..3);
    e.recharter(|charter| charter.entry = (charter.entry + by) % 3, "change who may enter")
}

pub fn speaking(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.flags ^= EVERYBODY_SPEAKS, "change who may speak")
}

pub fn seals(e: &mut Evening) -> Attempt {
    let (which, by) = (e.rng.random_range(0..3), e.rng.random_range(1..50));
    match which {
        0 => e.recharter(|charter| charter.seals = (charter.seals + 1 + by % 2) % 3, "change what seals are for"),
        1 => e.recharter(
            |charter| charter.seal_every = (charter.seal_every - 1 + by) % 50 + 1,
            "change how many frames a seal covers",
        ),
        _ => e.recharter(|charter| charter.flags ^= HOLDS_UNSEALED, "change what becomes of unsealed sound"),
    }
}

pub fn proof(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.proof ^= 1, "change what seals prove: it is fixed when the room is made")
}

pub fn recording(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.flags ^= RECORDING, "recording")
}

pub fn capacity(e: &mut Evening) -> Attempt {
    let by = e.rng.random_range(1..u32::MAX);
    e.recharter(|charter| charter.capacity = charter.capacity.wrapping_add(by), "change how many fit in")
}

pub fn lock(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.flags ^= LOCKED, "lock the room")
}

pub fn suite_or_layout(e: &mut Evening) -> Attempt {
    let which = e.rng.random_range(0..3);
    e.recharter(
        |charter| match which {
            0 => charter.suite = 4,
            1 => charter.sender_bits += 1,
            _ => charter.epoch_bits -= 1,
        },
        "change the frame suite or the key-id layout",
    )
}

pub fn unreadable(e: &mut Evening) -> Attempt {
    let (mut charter, ben) = (e.mal.charter(), e.party.id("ben"));
    let next = e.mal.next_epoch();
    let bytes = match e.rng.random_range(0..16) {
        0 => Vec::new(),
        1 => {
            let bytes = charter.write();
            bytes[..e.rng.random_range(0..bytes.len())].to_vec()
        }
        2 => vec![0; e.rng.random_range(1..70_000)],
        which => {
            match which {
                3 => charter.version = [0, 2, 4][e.rng.random_range(0..3)],
                4 => charter.entry = e.rng.random_range(3..=u8::MAX),
                5 => charter.flags |= 32 << e.rng.random_range(0..3),
                6 => charter.spare = vec![0],
                9 => charter.seals = e.rng.random_range(3..=u8::MAX),
                10 => charter.seal_every = [0, e.rng.random_range(51..=u8::MAX)][e.rng.random_range(0..2)],
                12 => charter.title = "a \u{202e}mo\u{2028}or".into(),
                13 => charter.topic = "\u{3164}".into(),
                11 => charter.proof = e.rng.random_range(2..=u8::MAX),
                // More are asked to commit than may be.
                14 => charter.garden = (next, (0..17).map(|n| [n; 16]).collect()),
                // A garden is cut short, or has another form.
                15 => charter.spare = vec![1; e.rng.random_range(1..24)],
                // Somebody who is leaving, with a role.
                7 => drop(
                    charter
                        .standings
                        .insert(key(ben), Standing { role: HOST, since: next, leaving: true, ..Standing::default() }),
                ),
                // A listener who is listed for nothing.
                _ => {
                    charter.standings.insert(e.rng.random(), Standing::default());
                }
            }
            charter.write()
        }
    };
    let part = e.mal.recharter_to(bytes);
    (e.mal.commit(vec![part]), Expect::Mal("replace the room's settings".into()))
}

pub fn no_settings(e: &mut Evening) -> Attempt {
    let part = e.mal.extend(|extensions| {
        extensions.remove(ExtensionType::Unknown(CHARTER)).unwrap();
    });
    (e.mal.commit(vec![part]), Expect::Mal("replace the room's settings".into()))
}

pub fn end(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.flags |= ENDED, "end the room")
}

pub fn smuggled_end(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.flags = (charter.flags ^ LOCKED) | ENDED, "end the room")
}

// ---- the garden ----

const ASK: &str = "ask members to refresh their keys";

/// The name by which a member's leaf is asked to commit.
fn leaf_name(e: &mut Evening) -> [u8; 16] {
    let leaves: Vec<_> = e.mal.group.treesync().full_leaves().collect();
    let (_, leaf) = leaves[e.rng.random_range(0..leaves.len())];
    leaf.encryption_key().tls_serialize_detached().unwrap()[1..17].try_into().unwrap()
}

pub fn garden(e: &mut Evening) -> Attempt {
    let (until, name) = (e.mal.next_epoch() + 64, leaf_name(e));
    e.recharter(|charter| charter.garden = (until, [name].into()), ASK)
}

pub fn garden_of_nobody(e: &mut Evening) -> Attempt {
    let (until, name) = (e.mal.next_epoch() + 64, e.rng.random());
    e.recharter(|charter| charter.garden = (until, [name].into()), ASK)
}

pub fn garden_for_ever(e: &mut Evening) -> Attempt {
    let (next, name) = (e.mal.next_epoch(), leaf_name(e));
    let until = [0, next, next + 63, next + 65, u64::MAX][e.rng.random_range(0..5)];
    e.recharter(|charter| charter.garden = (until, [name].into()), ASK)
}

// ---- links ----

pub fn link(e: &mut Evening) -> Attempt {
    e.with_link();
    let issuer = [e.mal.client.id(), e.party.id("ana")][e.rng.random_range(0..2)];
    let (id, link) = (e.rng.random(), e.link_of(issuer));
    e.recharter(
        |charter| {
            charter.links.insert(id, link);
        },
        "issue a link",
    )
}

pub fn link_in_anothers_name(e: &mut Evening) -> Attempt {
    e.with_link();
    let issuer = [e.party.id("ana"), e.party.id("mo"), e.hal.client.id(), e.zed.id()][e.rng.random_range(0..4)];
    let (id, link) = (e.rng.random(), e.link_of(issuer));
    e.recharter(
        |charter| {
            charter.links.insert(id, link);
        },
        "issue a link: a link names the host who issues it",
    )
}

pub fn link_terms(e: &mut Evening) -> Attempt {
    let (id, which, ana) = (e.with_link(), e.rng.random_range(0..4), key(e.party.id("ana")));
    e.recharter(
        |charter| {
            let link = charter.links.get_mut(&id).unwrap();
            match which {
                0 => link.role ^= 1,
                1 => link.one_shot ^= 1,
                2 => link.expires += 1,
                _ => link.issuer = ana,
            }
        },
        "change a link",
    )
}

pub fn link_without_office(e: &mut Evening) -> Attempt {
    e.with_link();
    let (hal, to, next) = (e.hal.client.id(), e.rng.random_range(LISTENER..HOST), e.mal.next_epoch());
    e.recharter(|charter| role(charter, hal, to, next), "keep a link: its issuer is no host any more")
}

pub fn link_without_issuer(e: &mut Evening) -> Attempt {
    e.with_link();
    let hal = e.party.rooms[0].member(&e.hal.client.id()).unwrap().clone();
    let part = e.mal.recharter(|charter| {
        charter.standings.remove(&key(hal.id));
    });
    (e.mal.commit(vec![remove(leaf(&hal)), part]), Expect::Mal("keep a link: its issuer is no host any more".into()))
}

pub fn link_by_invitation(e: &mut Evening) -> Attempt {
    if e.rng.random() {
        e.with_link();
    }
    let (id, link) = (e.rng.random(), e.link_of(e.mal.client.id()));
    e.recharter(
        |charter| {
            charter.entry = 0;
            if charter.links.is_empty() {
                charter.links.insert(id, link);
            }
        },
        "keep a link: people enter this room by invitation",
    )
}

pub fn link_revoked(e: &mut Evening) -> Attempt {
    let id = e.with_link();
    e.recharter(
        |charter| {
            charter.links.remove(&id);
        },
        "revoke a link",
    )
}
