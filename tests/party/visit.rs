//! A guest who looks in: whether somebody could enter a room as it is, would hear, and would be heard.
//!
//! The one who admits makes the commit as they would any other, with or without a path, and takes it back at once: what
//! comes of it comes of a copy of their room, so that the room itself goes on as if nobody had been there.

use std::time::Duration;

use parlor::{Admission, Error, Event, Identity, Role, Room, Voice, room::Setting, vault::VaultKey};

use super::{NOW, enter, guest, identity_of};

/// When frames that wait for a seal have it.
const SEALED: Duration = NOW.saturating_add(Duration::from_secs(1));

/// The members of one epoch: by one of them, a host if there is one, a fresh guest enters and hears. Gives whether
/// somebody could let in at all: not in a room that is without a host, or has a moderator alone and is locked or full.
#[track_caller]
pub fn a_guest_enters<'a>(rooms: impl IntoIterator<Item = &'a mut Room>) -> bool {
    let mut admitters: Vec<&mut Room> = rooms.into_iter().filter(|room| may_admit(room)).collect();
    admitters.sort_by_key(|room| room.me().map(|me| std::cmp::Reverse(me.role)));
    admitters.into_iter().any(|room| {
        let me = room.me().unwrap().id;
        visit(room, identity_of(&me)).unwrap_or_else(|failed| panic!("epoch {}: {failed}", room.epoch()))
    })
}

/// Whether a guest can be tried on this member.
pub fn may_admit(room: &Room) -> bool {
    room.is_open() && !room.is_pending() && room.me().is_some_and(|me| me.role >= Role::Moderator)
}

/// Has a fresh guest enter by `admitter`, whose identity this is. False if the room is shut and the admitter cannot open
/// it.
pub fn visit(admitter: &mut Room, identity: Identity) -> Result<bool, String> {
    let key = VaultKey::from_bytes(&[9; 32]);
    let newcomer = guest("visitor");
    // As a listener: a commit that gives a role has a path, which wipes out what may be wrong with the tree.
    let mut admitted = admitter.admit(newcomer.card(), Role::Listener);
    let snapshot = admitter.snapshot(&key).map_err(|error| format!("no copy: {error}"))?;
    admitter.abandon();
    let (mut copy, voice) =
        Room::restore(identity, &key, &snapshot, NOW).map_err(|error| format!("no copy: {error}"))?;
    let mut voice = voice.ok_or("the copy is out of the room")?;
    if matches!(admitted, Err(Error::Denied(_))) {
        // It is locked or full.
        let Ok(opening) = copy.set_all(&[Setting::Locked(false), Setting::Capacity(None)]) else { return Ok(false) };
        follow(&mut copy, &mut voice, &opening).map_err(|failed| format!("the room does not open: {failed}"))?;
        admitted = copy.admit(newcomer.card(), Role::Listener);
    }
    let admission: Admission = admitted.map_err(|error| format!("a guest cannot be admitted: {error}"))?;
    let (mut theirs, mut their_voice) =
        enter(newcomer, &admission).map_err(|failed| format!("a guest cannot enter: {failed}"))?;
    follow(&mut copy, &mut voice, &admission.commit).map_err(|failed| format!("their commit: {failed}"))?;
    agree(&copy, &theirs)?;
    // Each makes a commit that the other follows, so that both have keys of their own; and the guest comes on stage.
    let guest_id = theirs.me().ok_or("the guest is out of the room")?.id;
    let commit = copy.set_role(&guest_id, Role::Speaker).map_err(|error| format!("a role for the guest: {error}"))?;
    for (room, voice) in [(&mut theirs, &mut their_voice), (&mut copy, &mut voice)] {
        follow(room, voice, &commit).map_err(|failed| format!("a role for the guest: {failed}"))?;
    }
    let me = copy.me().ok_or("the copy is out of the room")?;
    if me.muted_by.is_none() {
        voice.set_mic(&me.id, true);
        hears(&mut voice, &mut their_voice).map_err(|failed| format!("the guest does not hear: {failed}"))?;
    }
    let commit = theirs.refresh().map_err(|error| format!("the guest's commit: {error}"))?;
    for (room, voice) in [(&mut copy, &mut voice), (&mut theirs, &mut their_voice)] {
        follow(room, voice, &commit).map_err(|failed| format!("the guest's commit: {failed}"))?;
    }
    hears(&mut their_voice, &mut voice).map_err(|failed| format!("the guest is not heard: {failed}"))?;
    agree(&copy, &theirs)?;
    Ok(true)
}

fn follow(room: &mut Room, voice: &mut Voice, commit: &[u8]) -> Result<(), String> {
    let events = room.receive(commit, NOW).map_err(|error| error.to_string())?;
    let mut is_followed = false;
    for event in events {
        if let Event::Rekeyed(keys) = event {
            voice.rekey(keys).map_err(|error| error.to_string())?;
            is_followed = true;
        }
    }
    if is_followed { Ok(()) } else { Err("it is not followed".to_owned()) }
}

fn agree(copy: &Room, theirs: &Room) -> Result<(), String> {
    let is_one = copy.code() == theirs.code() && copy.roster().eq(theirs.roster());
    if is_one { Ok(()) } else { Err("the guest is in another room than who let them in".to_owned()) }
}

/// A frame and the seals for it go from one voice to the other.
pub fn hears(speaker: &mut Voice, listener: &mut Voice) -> Result<(), String> {
    let packet = speaker.seal(b"good evening").map_err(|error| format!("not sealed: {error}"))?;
    // A seal is made for what was said before a pause.
    let mut packets = vec![packet];
    for now in [NOW, SEALED] {
        packets.extend(std::iter::from_fn(|| speaker.next_seal(now)));
    }
    let mut why = "nothing came of it".to_owned();
    for packet in packets {
        match listener.open(&packet, NOW) {
            Ok(heard) if heard.frame == b"good evening" => return Ok(()),
            Ok(heard) => return Err(format!("something else is heard: {heard:?}")),
            Err(error) => why = error.to_string(),
        }
    }
    match listener.unpark(NOW) {
        Some(Ok(heard)) if heard.frame == b"good evening" => Ok(()),
        Some(Err(error)) => Err(error.to_string()),
        _ => Err(why),
    }
}
