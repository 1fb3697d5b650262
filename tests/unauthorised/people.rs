//! Who comes in and who goes, who has which role, who is muted, who is banned.

use openmls::prelude::*;
use parlor::{MemberId, Role};
use parlor::{media::seal::MediaKey, room::Setting};
use rand::{RngExt as _, rngs::StdRng};

use super::{Attempt, EVERYBODY, Evening, Expect, FLOOR, Seat, byte, key, leaf, role, stand};
use crate::party::{
    charter::{HOST, LISTENER, SPEAKER},
    jam::{card_with, package, parent_keys},
    mal::{Bare, CHARTER, DOOR_KEY, Part, SUITE, add, media_extension, remove},
};

// ---- who comes in ----

pub fn ghost(e: &mut Evening) -> Attempt {
    let ghosts = e.ghosts(3);
    (e.mal.commit(ghosts), Expect::Mal("admit ghost as a listener".into()))
}

pub fn ghost_with_a_role(e: &mut Evening) -> Attempt {
    e.with_room();
    let above = if FLOOR.contains(&e.seat) { LISTENER } else { SPEAKER };
    let (ghost, role) = (Bare::new("ghost"), e.a_role_above(above));
    let given = e.mal.give(&[(ghost.id(), role)]);
    (e.mal.commit(vec![add(ghost.key_package()), given]), Expect::Mal("admit ghost as a".into()))
}

pub fn banned(e: &mut Evening) -> Attempt {
    e.with_room();
    (e.mal.commit(vec![add(e.zed.key_package())]), Expect::Mal("admit zed as a listener: they are banned".into()))
}

pub fn banned_and_lifted(e: &mut Evening) -> Attempt {
    e.with_room();
    let zed = key(e.zed.id());
    let lifted = e.mal.recharter(|charter| {
        charter.banned.remove(&zed);
    });
    (e.mal.commit(vec![add(e.zed.key_package()), lifted]), Expect::Mal("admit zed as a listener: they are".into()))
}

pub fn into_a_locked_room(e: &mut Evening) -> Attempt {
    e.with_room();
    e.set(Setting::Locked(true));
    let ghosts = e.ghosts(3);
    (e.mal.commit(ghosts), Expect::Mal("the room is locked".into()))
}

pub fn into_a_full_room(e: &mut Evening) -> Attempt {
    e.with_room();
    let (members, free) = (e.party.rooms[0].roster().len(), e.rng.random_range(0..3));
    // A room may be set smaller than it is.
    let fit = if e.rng.random_bool(0.2) { 1 } else { members + free };
    e.set(Setting::Capacity(Some(fit as u32)));
    let ghosts = (0..=free).map(|_| add(Bare::new("ghost").key_package())).collect();
    (e.mal.commit(ghosts), Expect::Mal("admit more members".into()))
}

pub fn into_a_room_made_larger(e: &mut Evening) -> Attempt {
    e.with_room();
    let members = e.party.rooms[0].roster().len();
    e.set(Setting::Capacity(Some(members as u32)));
    let larger = e.mal.recharter(|charter| charter.capacity = 0);
    let mut parts = e.ghosts(2);
    parts.push(larger);
    (e.mal.commit(parts), Expect::Mal("admit more members".into()))
}

pub fn unshowable_name(e: &mut Evening) -> Attempt {
    e.with_room();
    let names = [
        "",
        "a\u{0}b",
        "\u{1b}[2J",
        "a name that goes on and on and on and on and on and on and on and on",
        "\u{202e}ana",
        "ana\u{2069}",
        "ana\u{200b}",
        "ana\u{200d}",
        "\u{3164}",
        "\u{2800}",
        "\u{301}",
        "\u{e000}",
        "ana\u{fdd0}",
        "a\u{2028}na",
        "a\u{a0}na",
        "ana ",
        "a  na",
    ];
    let ghost = Bare::new(names[e.rng.random_range(0..names.len())]);
    (e.mal.commit(vec![add(ghost.key_package())]), Expect::Mal("admit somebody".into()))
}

pub fn long_card(e: &mut Evening) -> Attempt {
    e.with_room();
    let days = e.rng.random_range(100..4_000);
    let card =
        Bare::new("ghost").key_package_with(|builder| builder.key_package_lifetime(Lifetime::new(days * 24 * 3600)));
    (e.mal.commit(vec![add(card)]), Expect::Mal("admit ghost".into()))
}

pub fn card_with_a_key_of_the_tree(e: &mut Evening) -> Attempt {
    e.with_room();
    let keys = parent_keys(&e.mal);
    let Some(key) = keys.get(e.rng.random_range(0..keys.len().max(1))) else { return long_card(e) };
    let card = package(&card_with(&Bare::new("ghost"), *key));
    (e.mal.commit(vec![add(card)]), Expect::Mal("admit ghost".into()))
}

pub fn leaf_with_extras(e: &mut Evening) -> Attempt {
    e.with_room();
    let door = odd_door(e);
    let card = Bare::new("ghost").key_package_with(|builder| builder.leaf_node_extensions(door.clone()));
    (e.mal.commit(vec![add(card)]), Expect::Mal("admit ghost".into()))
}

/// A leaf's extensions: a door key that is none, or is of no date.
pub fn odd_door(e: &mut Evening) -> Extensions<LeafNode> {
    let length = [0, 31, 33, 39, 41, 40][e.rng.random_range(0..6)];
    let fill = if length == 40 { 0 } else { e.rng.random() };
    Extensions::single(Extension::Unknown(DOOR_KEY, UnknownExtension(vec![fill; length]))).unwrap()
}

pub fn swollen(e: &mut Evening) -> Capabilities {
    let many = 0x1000..0x1000 + e.rng.random_range(300..8_000);
    let extensions: Vec<_> = many.chain([CHARTER]).map(ExtensionType::Unknown).collect();
    Capabilities::new(None, Some(&[SUITE]), Some(&extensions), None, Some(&[CredentialType::Basic]))
}

pub fn swollen_card(e: &mut Evening) -> Attempt {
    e.with_room();
    let swollen = swollen(e);
    let card = Bare::new("ghost").key_package_with(|builder| builder.leaf_node_capabilities(swollen.clone()));
    (e.mal.commit(vec![add(card)]), Expect::Mal("admit ghost".into()))
}

pub fn card_with_false_media_keys(e: &mut Evening) -> Attempt {
    e.with_room();
    let ghost = Bare::new("ghost");
    let keys = false_media_keys(&mut e.rng, &ghost);
    let card = ghost.key_package_with(|builder| builder.leaf_node_extensions(media_extension(keys.clone())));
    (e.mal.commit(vec![add(card)]), Expect::Mal("admit ghost as a listener: the media keys on their card".into()))
}

/// A media certificate that is not `client`'s, or none at all.
pub fn false_media_keys(rng: &mut StdRng, client: &Bare) -> Vec<u8> {
    let keys = MediaKey::from_seed(&rng.random());
    let mut good = client.certify(&keys, &client.name).to_bytes().to_vec();
    match rng.random_range(0..6) {
        0 => Bare::new(&client.name).certify(&keys, &client.name).to_bytes().to_vec(),
        1 => client.certify(&keys, "somebody else").to_bytes().to_vec(),
        2 => {
            good.rotate_left(32);
            good
        }
        3 => {
            good[rng.random_range(0..128)] ^= 1 << rng.random_range(0..8);
            good
        }
        4 => good[..rng.random_range(0..128)].to_vec(),
        _ => [good, vec![0; rng.random_range(1..40)]].concat(),
    }
}

pub fn newcomer_with_seniority(e: &mut Evening) -> Attempt {
    e.with_room();
    let (ghost, date) = (Bare::new("ghost"), e.wrong_date());
    let given = e.mal.recharter(|charter| role(charter, ghost.id(), SPEAKER, date));
    (e.mal.commit(vec![add(ghost.key_package()), given]), Expect::Mal("give a role another date".into()))
}

pub fn newcomer_with_marks(e: &mut Evening) -> Attempt {
    e.with_room();
    let (ghost, muted, mal) = (Bare::new("ghost"), e.rng.random(), key(e.mal.client.id()));
    let marked = e.mal.recharter(|charter| {
        stand(charter, ghost.id(), |standing| {
            standing.muted_by = Some(mal).filter(|_| muted);
            standing.leaving = !muted;
        });
    });
    (e.mal.commit(vec![add(ghost.key_package()), marked]), Expect::Mal("let somebody in muted or leaving".into()))
}

// ---- who goes ----

/// With all that is said of them, or not.
fn removed(e: &mut Evening, member: &parlor::Member, forget: bool) -> Vec<Part> {
    let mut parts = vec![remove(leaf(member))];
    if forget && e.mal.charter().standings.contains_key(member.id.as_bytes()) {
        parts.push(e.mal.recharter(|charter| {
            charter.standings.remove(member.id.as_bytes());
            charter.links.retain(|_, link| link.issuer != *member.id.as_bytes());
        }));
    }
    parts
}

pub fn removal(e: &mut Evening) -> Attempt {
    let (target, forget) = (e.someone(&EVERYBODY), e.rng.random());
    let parts = removed(e, &target, forget);
    (e.mal.commit(parts), Expect::Mal(format!("remove {}, a {}", target.name, target.role)))
}

pub fn removal_of_equals(e: &mut Evening) -> Attempt {
    let (target, forget) = (e.somebody_above(), e.rng.random());
    let parts = removed(e, &target, forget);
    (e.mal.commit(parts), Expect::Mal(format!("remove {}, a {}", target.name, target.role)))
}

pub fn removal_among_others(e: &mut Evening) -> Attempt {
    let (below, above) = (e.someone(&[Role::Listener]), e.someone(&[Role::Host]));
    let mut parts = removed(e, &above, true);
    parts.push(remove(leaf(&below)));
    (e.mal.commit(parts), Expect::Mal(format!("remove {}, a {}", above.name, above.role)))
}

pub fn removal_without_role(e: &mut Evening) -> Attempt {
    let on_stage = [Role::Speaker, Role::Moderator, Role::Host];
    let target = e.someone(if e.seat == Seat::Host { &on_stage } else { &on_stage[..1] });
    (e.mal.commit(vec![remove(leaf(&target))]), Expect::Mal(format!("remove {} and keep their role", target.name)))
}

// ---- roles ----

pub fn own_promotion(e: &mut Evening) -> Attempt {
    let (me, mine) = (e.mal.client.id(), e.my_role());
    let to = e.a_role_above(byte(mine));
    let part = e.mal.give(&[(me, to)]);
    (e.mal.commit(vec![part]), Expect::Mal(format!("make mal, a {mine}, a")))
}

pub fn accomplice(e: &mut Evening) -> Attempt {
    let target = e.someone(&[Role::Listener, Role::Speaker, Role::Moderator]);
    let to = e.a_role_above(byte(target.role));
    let next = e.mal.next_epoch();
    e.recharter(|charter| role(charter, target.id, to, next), format!("make {}, a {}, a", target.name, target.role))
}

pub fn appointment(e: &mut Evening) -> Attempt {
    let target = e.someone_who(|member| member.role != Role::Host);
    let to = e.rng.random_range(byte(target.role).max(SPEAKER) + 1..=HOST);
    let next = e.mal.next_epoch();
    e.recharter(|charter| role(charter, target.id, to, next), format!("make {}, a {}, a", target.name, target.role))
}

pub fn demotion(e: &mut Evening) -> Attempt {
    let target = e.somebody_above();
    let target = if target.role == Role::Listener { e.someone(&[Role::Moderator, Role::Host]) } else { target };
    let (to, next) = (e.rng.random_range(LISTENER..byte(target.role)), e.mal.next_epoch());
    e.recharter(
        |charter| {
            role(charter, target.id, to, next);
            charter.links.retain(|_, link| link.issuer != key(target.id));
        },
        format!("make {}, a {}, a", target.name, target.role),
    )
}

pub fn smuggled_promotion(e: &mut Evening) -> Attempt {
    let target = e.someone(&[Role::Listener]);
    let (me, next) = (e.mal.client.id(), e.mal.next_epoch());
    let part = e.mal.recharter(|charter| {
        charter.standings.remove(&key(target.id));
        role(charter, me, HOST, next);
    });
    (e.mal.commit(vec![remove(leaf(&target)), part]), Expect::Mal("make mal, a moderator, a host".into()))
}

pub fn step_down_with_seniority(e: &mut Evening) -> Attempt {
    let (me, mine, date) = (e.mal.client.id(), byte(e.my_role()), e.wrong_date());
    let to = e.rng.random_range(SPEAKER..mine);
    e.recharter(|charter| role(charter, me, to, date), "give a role another date")
}

pub fn promotion_with_seniority(e: &mut Evening) -> Attempt {
    let target = e.someone(&[Role::Listener]);
    let to = if e.seat == Seat::Host { e.a_role_above(LISTENER) } else { SPEAKER };
    let date = e.wrong_date();
    e.recharter(|charter| role(charter, target.id, to, date), "give a role another date")
}

pub fn seniority(e: &mut Evening) -> Attempt {
    let me = e.mal.client.id();
    let own = e.rng.random::<bool>() && e.my_role() != Role::Listener;
    let target = if own { me } else { e.someone(&[Role::Moderator, Role::Host]).id };
    let name = e.party.rooms[0].member(&target).unwrap().name.clone();
    let date = loop {
        let date = e.wrong_date();
        if e.mal.charter().standings[target.as_bytes()].since != date {
            break date;
        }
    };
    e.recharter(
        |charter| stand(charter, target, |standing| standing.since = date),
        format!("change since when {name} is a"),
    )
}

pub fn role_for_a_stranger(e: &mut Evening) -> Attempt {
    let stranger = [e.zed.id(), e.rex.client.id(), MemberId::from_bytes(e.rng.random())][e.rng.random_range(0..3)];
    let (to, next) = (e.a_role_above(LISTENER), e.mal.next_epoch());
    e.recharter(|charter| role(charter, stranger, to, next), "give a role to somebody who is not in the room")
}

fn hosts(e: &Evening) -> Vec<MemberId> {
    e.party.rooms[0].roster().filter(|member| member.role == Role::Host).map(|member| member.id).collect()
}

pub fn no_host(e: &mut Evening) -> Attempt {
    let (hosts, to, next) = (hosts(e), e.rng.random_range(LISTENER..HOST), e.mal.next_epoch());
    e.recharter(
        |charter| {
            hosts.iter().for_each(|host| role(charter, *host, to, next));
            charter.links.clear();
        },
        "leave the room without a host: make somebody else a host first",
    )
}

pub fn past_the_heir(e: &mut Evening) -> Attempt {
    let (hosts, me) = (hosts(e), e.mal.client.id());
    e.recharter(
        |charter| {
            hosts.iter().for_each(|host| role(charter, *host, LISTENER, 0));
            stand(charter, me, |standing| standing.leaving = true);
            charter.links.clear();
        },
        "leave the room without a host: a moderator takes over",
    )
}

pub fn leaving_for_another(e: &mut Evening) -> Attempt {
    let target = if e.seat == Seat::Host { e.someone(&EVERYBODY) } else { e.someone(&[Role::Listener]) };
    e.recharter(
        |charter| {
            role(charter, target.id, LISTENER, 0);
            stand(charter, target.id, |standing| standing.leaving = true);
            charter.links.retain(|_, link| link.issuer != key(target.id));
        },
        format!("say that {} is leaving", target.name),
    )
}

// ---- mutes ----

pub fn own_mute_lifted(e: &mut Evening) -> Attempt {
    let (me, role) = (e.mal.client.id(), e.my_role());
    e.mute(me, true);
    e.recharter(
        |charter| stand(charter, me, |standing| standing.muted_by = None),
        format!("let mal, a {role}, speak again"),
    )
}

fn muted_by_ana(e: &mut Evening, above: bool) -> parlor::Member {
    let ana = e.party.id("ana");
    let floor = FLOOR.contains(&e.seat);
    let target = e.someone_who(|member| member.id != ana && (floor || !above || member.role >= Role::Moderator));
    e.mute(target.id, true);
    target
}

pub fn mute_lifted(e: &mut Evening) -> Attempt {
    let target = muted_by_ana(e, true);
    e.recharter(
        |charter| stand(charter, target.id, |standing| standing.muted_by = None),
        format!("let {}, a {}, speak again", target.name, target.role),
    )
}

/// `target`, unmuted before, would be muted in the name of `by`.
fn muted(e: &mut Evening, target: &parlor::Member, by: MemberId) -> Attempt {
    e.mute(target.id, false);
    e.recharter(
        |charter| stand(charter, target.id, |standing| standing.muted_by = Some(key(by))),
        format!("mute {}, a {}", target.name, target.role),
    )
}

pub fn mute(e: &mut Evening) -> Attempt {
    let target = e.someone(&EVERYBODY);
    let by = e.mal.client.id();
    muted(e, &target, by)
}

pub fn mute_of_equals(e: &mut Evening) -> Attempt {
    let target = e.somebody_above();
    let by = e.mal.client.id();
    muted(e, &target, by)
}

pub fn mute_in_anothers_name(e: &mut Evening) -> Attempt {
    let target = e.somebody_below();
    let by = [e.party.id("ana"), e.zed.id(), target.id][e.rng.random_range(0..3)];
    let (message, _) = muted(e, &target, by);
    (message, Expect::Mal(format!("mute {}, a {}: who mutes somebody signs", target.name, target.role)))
}

pub fn mute_taken_over(e: &mut Evening) -> Attempt {
    let (target, by) = (muted_by_ana(e, false), key(e.mal.client.id()));
    e.recharter(
        |charter| stand(charter, target.id, |standing| standing.muted_by = Some(by)),
        format!("mute {}, a {}", target.name, target.role),
    )
}

pub fn mute_of_oneself(e: &mut Evening) -> Attempt {
    let (me, role) = (e.mal.client.id(), e.my_role());
    e.recharter(
        |charter| stand(charter, me, |standing| standing.muted_by = Some(key(me))),
        format!("mute mal, a {role}: nobody mutes themselves so"),
    )
}

pub fn mute_of_a_stranger(e: &mut Evening) -> Attempt {
    let (stranger, by) = ([e.zed.id(), e.rex.client.id()][e.rng.random_range(0..2)], key(e.mal.client.id()));
    e.recharter(
        |charter| stand(charter, stranger, |standing| standing.muted_by = Some(by)),
        "give a role to somebody who is not in the room",
    )
}

pub fn microphone_while_muted(e: &mut Evening) -> Attempt {
    let me = e.mal.client.id();
    e.mute(me, true);
    // The stance: a turn above all before, and no mark.
    let turn: u32 = e.mal.next_epoch() as u32;
    let said = [&[2][..], &turn.to_be_bytes(), &[0]].concat();
    (e.say(&said), Expect::Nothing)
}

// ---- bans ----

pub fn ban(e: &mut Evening) -> Attempt {
    let id = if e.rng.random() { e.rng.random() } else { key(e.someone(&EVERYBODY).id) };
    e.recharter(
        |charter| {
            charter.banned.insert(id);
        },
        "ban ",
    )
}

pub fn ban_of_equals(e: &mut Evening) -> Attempt {
    let target = e.somebody_above();
    let out = e.rng.random();
    let part = e.mal.recharter(|charter| {
        charter.banned.insert(key(target.id));
        if out {
            charter.standings.remove(&key(target.id));
        }
    });
    let what = if out { "remove" } else { "ban" };
    let parts = out.then(|| remove(leaf(&target))).into_iter().chain([part]).collect();
    (e.mal.commit(parts), Expect::Mal(format!("{what} {}, a {}", target.name, target.role)))
}

pub fn ban_without_removal(e: &mut Evening) -> Attempt {
    let target = e.somebody_below();
    e.recharter(
        |charter| {
            charter.banned.insert(key(target.id));
        },
        format!("ban {}, a {}: who is banned is put out", target.name, target.role),
    )
}

pub fn ban_lifted(e: &mut Evening) -> Attempt {
    e.recharter(|charter| charter.banned.clear(), "lift a ban")
}
