//! Who may speak, and who says so: hands, invitations, mutes, bans, settings, the host's role and the room's end.

mod party;

use Role::{Host, Listener, Moderator, Speaker};
use parlor::{
    Error, Event, Guest, Identity, Intent, Role,
    media::seal::{SealMode, Unsealed},
    room::{Entry, Retried, Setting, Speaking},
};
use party::{NOW, Party, gists, guest};

/// Hands the commit of `command` to everybody, and gives what the first of them made of it.
fn all(party: &mut Party, commit: parlor::Result<Vec<u8>>) -> Vec<String> {
    let open: Vec<usize> = (0..party.rooms.len()).filter(|at| party.rooms[*at].is_open()).collect();
    let mut all = Vec::new();
    for (at, events) in open.into_iter().zip(party.deliver(&commit.unwrap())) {
        all.push(gists(&events));
        for event in events {
            event.tell(&mut party.voices[at]).unwrap();
        }
    }
    let told: Vec<_> =
        all.iter().filter(|gists| gists.first().is_none_or(|first| !first.starts_with("closed"))).collect();
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "all tell alike: {all:?}");
    party.check();
    all[0].clone()
}

/// Whether what `from` seals is played by `to`.
fn hears(party: &mut Party, from: usize, to: usize) -> bool {
    let Ok(packet) = party.voices[from].seal(b"can you hear me") else { return false };
    party.voices[to].open(&packet, NOW).is_ok()
}

fn denied<T: std::fmt::Debug>(result: parlor::Result<T>, why: &str) {
    let Err(Error::Denied(denial)) = result else { panic!("{result:?}") };
    assert!(denial.to_string().contains(why), "{denial}");
}

#[test]
fn a_hand_goes_up_and_comes_down_and_is_gone_on_stage() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener), ("eve", Listener)]);
    let (ben, eve) = (party.id("ben"), party.id("eve"));
    for name in ["eve", "ben"] {
        let word = party.named(name).raise_hand();
        assert_eq!(all(&mut party, word), ["hand up"]);
    }
    assert!(party.rooms.iter().all(|room| room.hands() == [eve, ben]), "the first first");
    let again = party.named("eve").raise_hand();
    assert_eq!(all(&mut party, again), [""; 0]);
    let word = party.named("eve").lower_hand();
    assert_eq!(all(&mut party, word), ["hand down"]);
    let promote = party.named("ana").set_role(&ben, Speaker);
    all(&mut party, promote);
    assert!(party.rooms.iter().all(|room| room.hands().is_empty()));
    assert!(matches!(party.named("ben").raise_hand(), Err(Error::Unusable { .. })));
}

#[test]
fn who_is_invited_to_speak_accepts_or_declines() {
    let mut party = Party::new(&[("ana", Host), ("mo", Moderator), ("ben", Listener), ("eve", Listener)]);
    let (ana, ben) = (party.id("ana"), party.id("ben"));
    assert!(matches!(party.named("ben").answer_invitation(true), Err(Error::Unusable { .. })));
    denied(party.named("eve").invite_to_speak(&ben), "eve may not invite ben to speak");
    for accept in [false, true] {
        let word = party.named("ana").invite_to_speak(&ben);
        assert_eq!(all(&mut party, word), ["invited to speak"]);
        assert_eq!(party.named("mo").invited_by(&ben), Some(ana));
        let word = party.named("ben").answer_invitation(accept);
        assert_eq!(all(&mut party, word), [format!("accepted: {accept}")]);
        assert_eq!(party.named("mo").invited_by(&ben), None);
    }
    let promote = party.named("ana").set_role(&ben, Speaker);
    all(&mut party, promote);
    assert!(matches!(party.named("mo").invite_to_speak(&ben), Err(Error::Unusable { .. })));
    let down = party.named("ben").step_down();
    assert_eq!(all(&mut party, down)[1], "was speaker");
}

#[test]
fn who_mutes_themselves_is_shown_so_and_only_they_take_it_back() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker), ("eve", Listener)]);
    let ben = party.id("ben");
    let word = party.named("ben").set_mic(false);
    assert_eq!(all(&mut party, word), ["microphone on: false"]);
    assert!(party.rooms.iter().all(|room| !room.is_mic_on(&ben)));
    // Words out of order: the later one stands.
    let on = party.named("ben").set_mic(true).unwrap();
    let off = party.named("ben").set_mic(false).unwrap();
    for room in &mut party.rooms {
        room.receive(&off, NOW).unwrap();
        assert!(room.receive(&on, NOW).unwrap().is_empty());
        assert!(!room.is_mic_on(&ben));
    }
    // Who came since hears of it when it is said again.
    party.admit(0, vec![(guest("zed"), Listener)]);
    assert!(party.named("zed").is_mic_on(&ben));
    let word = party.named("ben").restate().unwrap().unwrap();
    party.deliver(&word);
    assert!(!party.named("zed").is_mic_on(&ben));
    assert_eq!(party.named("ana").restate().unwrap(), None);
}

#[test]
fn a_mute_is_dropped_by_all_at_once_and_nobody_unmutes_a_microphone() {
    let mut party = Party::new(&[("ana", Host), ("mo", Moderator), ("ben", Speaker), ("eve", Listener)]);
    let (ana, mo, ben) = (party.id("ana"), party.id("mo"), party.id("ben"));
    assert!(hears(&mut party, 2, 3));
    let in_flight = party.voices[2].seal(b"sealed before").unwrap();
    denied(party.named("ben").mute(&mo), "ben may not mute mo");
    denied(party.named("mo").mute(&ana), "mo may not mute ana");
    denied(party.named("ana").mute(&ana), "switch your microphone off");
    let mute = party.named("mo").mute(&ben);
    assert_eq!(all(&mut party, mute), ["rekeyed 2", "muted", "microphone on: false"]);
    assert_eq!(party.named("eve").member(&ben).unwrap().muted_by, Some(mo));
    assert!(!hears(&mut party, 2, 3));
    assert!(party.voices[3].open(&in_flight, NOW).is_err(), "nor what was on its way");

    denied(party.named("ben").set_mic(true), "they are muted");
    denied(party.named("ben").lift_mute(&ben), "ben may not let ben");
    let lift = party.named("ana").lift_mute(&ben);
    assert_eq!(all(&mut party, lift), ["rekeyed 3", "may speak again", "microphone on: false"]);
    assert!(party.rooms.iter().all(|room| !room.is_mic_on(&ben)), "the microphone is still off");
    assert!(!hears(&mut party, 2, 3));
    let word = party.named("ben").set_mic(true);
    assert_eq!(all(&mut party, word), ["microphone on: true"]);
    assert!(hears(&mut party, 2, 3));
}

#[test]
fn a_word_said_before_a_mute_opens_no_microphone_after_it() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker), ("eve", Listener)]);
    let ben = party.id("ben");
    let late = party.named("ben").set_mic(true).unwrap();
    let mute = party.named("ana").mute(&ben);
    all(&mut party, mute);
    let lift = party.named("ana").lift_mute(&ben);
    all(&mut party, lift);
    for room in &mut party.rooms {
        room.receive(&late, NOW).unwrap();
        assert!(!room.is_mic_on(&ben));
    }
}

#[test]
fn a_word_on_its_way_is_not_taken_back_by_the_next() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker)]);
    let ben = party.id("ben");
    let off = party.named("ben").set_mic(false);
    all(&mut party, off);
    // On, and at once another word that is not about the microphone.
    let words = [party.named("ben").set_mic(true), party.named("ben").lower_hand()];
    for word in words {
        all(&mut party, word);
    }
    assert!(party.rooms.iter().all(|room| room.is_mic_on(&ben)));
    assert_eq!(party.named("ben").restate().unwrap(), None);
}

#[test]
fn a_ban_puts_out_and_keeps_out_until_it_is_lifted() {
    let mut party = Party::new(&[("ana", Host), ("mo", Moderator), ("ben", Speaker)]);
    let ben = party.id("ben");
    denied(party.named("ben").ban(&ben), "ben");
    let ban = party.named("mo").ban(&ben);
    assert_eq!(all(&mut party, ban), ["rekeyed 2", "removed ben", "banned"]);
    assert!(party.rooms[0].banned().eq([&ben]));
    assert!(matches!(party.named("ana").ban(&ben), Err(Error::Unusable { .. })));
    denied(party.named("mo").lift_ban(&ben), "that is for a host");
    let lift = party.named("ana").lift_ban(&ben);
    assert_eq!(all(&mut party, lift), ["rekeyed 3", "ban lifted"]);
    assert!(party.rooms[0].banned().len() == 0);
}

#[test]
fn who_was_put_out_comes_back_as_the_same_person_unless_they_are_banned() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker)]);
    let ben = party.id("ben");
    let remove = party.named("ana").remove(&ben).unwrap();
    party.deliver(&remove);
    let identity = party.rooms.remove(1).into_identity();
    assert_eq!(Identity::from_secret("ben", &identity.secret()).unwrap().id(), ben);
    party.voices.truncate(1);
    let ban = party.named("ana").ban(&ben);
    all(&mut party, ban);
    let guest = Guest::new(identity).unwrap();
    denied(party.named("ana").admit(guest.card(), Listener), "they are banned");
    let lift = party.named("ana").lift_ban(&ben);
    all(&mut party, lift);
    party.admit(0, vec![(guest, Listener)]);
    assert_eq!(party.rooms[1].me().unwrap().id, ben);
}

#[test]
fn who_is_banned_is_not_admitted_by_card() {
    let mut party = Party::new(&[("ana", Host)]);
    let zed = guest("zed");
    let ban = party.named("ana").ban(&zed.card().id());
    assert_eq!(all(&mut party, ban), ["rekeyed 1", "banned"]);
    denied(party.named("ana").admit(zed.card(), Listener), "they are banned");
    let lift = party.named("ana").lift_ban(&zed.card().id());
    all(&mut party, lift);
    party.admit(0, vec![(zed, Listener)]);
}

#[test]
fn each_setting_is_changed_by_who_may_and_told_to_all() {
    let mut party = Party::new(&[("ana", Host), ("mo", Moderator), ("ben", Listener)]);
    for setting in [
        Setting::Title("the cellar".into()),
        Setting::Topic("what we keep there".into()),
        Setting::Entry(Entry::Knock),
        Setting::Speaking(Speaking::Everybody),
        Setting::Seals(SealMode::Strict),
        Setting::SealEvery(10),
        Setting::Unsealed(Unsealed::Hold),
        Setting::Recording(true),
        Setting::Capacity(Some(3)),
        Setting::Locked(true),
    ] {
        denied(party.named("ben").set(setting.clone()), "ben may not");
        if !matches!(setting, Setting::Locked(_)) {
            denied(party.named("mo").set(setting.clone()), "mo may not");
        }
        let change = party.named("ana").set(setting.clone());
        assert_eq!(all(&mut party, change)[1..], [setting.to_string()]);
        assert!(matches!(party.named("ana").set(setting), Err(Error::Unusable { .. })), "it is so already");
    }
    assert!(party.named("ana").set(Setting::Topic("x".repeat(501))).is_err());
    assert!(party.named("ana").set(Setting::Capacity(Some(0))).is_err());
    denied(party.named("ana").admit(guest("zed").card(), Listener), "locked");
    let unlock = party.named("mo").set(Setting::Locked(false));
    all(&mut party, unlock);
    denied(party.named("ana").admit(guest("zed").card(), Listener), "full");
}

#[test]
fn where_everybody_may_speak_listeners_are_heard_too() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener)]);
    let ben = party.id("ben");
    assert!(!hears(&mut party, 1, 0));
    let open = party.named("ana").set(Setting::Speaking(Speaking::Everybody));
    all(&mut party, open);
    assert!(hears(&mut party, 1, 0));
    let mute = party.named("ana").mute(&ben);
    all(&mut party, mute);
    assert!(!hears(&mut party, 1, 0));
}

#[test]
fn the_hosts_role_is_handed_over() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker)]);
    let ben = party.id("ben");
    denied(party.named("ana").step_down(), "without a host");
    let ana = party.id("ana");
    let refused = party.named("ben").hand_over(&ana).unwrap_err();
    assert!(refused.to_string().contains("you are no host"), "{refused}");
    let hand = party.named("ana").hand_over(&ben);
    assert_eq!(all(&mut party, hand), ["rekeyed 2", "was host", "was speaker"]);
    assert_eq!(party.names(), ["ana moderator", "ben host"]);
}

#[test]
fn the_longest_standing_moderator_takes_over_from_the_last_host() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener), ("eve", Listener), ("mo", Moderator)]);
    let (ana, ben, mo) = (party.id("ana"), party.id("ben"), party.id("mo"));
    let appoint = party.named("ana").set_role(&ben, Moderator);
    all(&mut party, appoint);
    // Mo's office is young again after a turn on the floor.
    for role in [Speaker, Moderator] {
        let appoint = party.named("ana").set_role(&mo, role);
        all(&mut party, appoint);
    }
    let leave = party.named("ana").leave();
    let told = all(&mut party, leave);
    assert_eq!(told, ["rekeyed 5", "was host", "was moderator", "wants to leave"]);
    assert_eq!(party.names(), ["ana listener", "ben host", "eve listener", "mo moderator"]);
    assert!(!hears(&mut party, 0, 2), "who is leaving is off the stage");
    let let_go = party.named("ben").remove(&ana);
    assert_eq!(all(&mut party, let_go)[0], "closed, asked: true");
    assert_eq!(party.rooms[1].roster().len(), 3);
}

#[test]
fn who_is_leaving_gets_no_role_any_more() {
    let mut party = Party::new(&[("ana", Host), ("ben", Host), ("eve", Listener)]);
    let ana = party.id("ana");
    let open = party.named("ana").set(Setting::Speaking(Speaking::Everybody));
    all(&mut party, open);
    let leave = party.named("ana").leave();
    all(&mut party, leave);
    assert!(!hears(&mut party, 0, 2) && hears(&mut party, 2, 1), "nor speaks where everybody else may");
    denied(party.named("ben").set_role(&ana, Speaker), "let them go");
    denied(party.named("ben").hand_over(&ana), "let them go");
    let muted = party.named("ben").mute(&ana);
    assert_eq!(all(&mut party, muted)[1], "muted");
}

#[test]
fn a_room_whose_last_host_leaves_goes_on_listen_only() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker), ("eve", Listener)]);
    let (ana, ben) = (party.id("ana"), party.id("ben"));
    let leave = party.named("ana").leave();
    let told = all(&mut party, leave);
    assert_eq!(told, ["rekeyed 2", "was host", "wants to leave", "listen-only"]);
    assert!(party.rooms.iter().all(parlor::Room::is_listen_only));
    assert!(!hears(&mut party, 1, 2), "nobody is on stage");
    denied(party.named("eve").remove(&ben), "eve may not remove ben");
    let let_go = party.named("eve").remove(&ana);
    assert_eq!(all(&mut party, let_go)[0], "closed, asked: true");
    denied(party.named("ben").set_role(&ben, Host), "nobody raises their own role");
    // The others leave one another too.
    let leave = party.named("ben").leave();
    assert!(gists(&party.deliver(&leave.unwrap())[0]).contains(&"wants to leave".into()));
    let let_go = party.named("eve").remove(&ben).unwrap();
    party.deliver(&let_go);
    assert_eq!(party.named("eve").roster().len(), 1);
}

#[test]
fn a_host_ends_the_room_for_everybody() {
    let mut party = Party::new(&[("ana", Host), ("mo", Moderator), ("ben", Listener)]);
    denied(party.named("mo").end(), "that is for a host");
    let end = party.named("ana").end().unwrap();
    for events in party.deliver(&end) {
        assert_eq!(gists(&events), ["ended"]);
    }
    assert!(party.rooms.iter().all(|room| !room.is_open()));
    assert!(matches!(party.rooms[0].raise_hand(), Err(Error::Closed { .. })));
}

#[test]
fn what_lost_its_race_is_made_again_if_there_is_anything_left_of_it() {
    let mut party = Party::new(&[("ana", Host), ("bo", Host), ("ben", Speaker)]);
    let (ana, bo, ben) = (party.id("ana"), party.id("bo"), party.id("ben"));
    let lose = |party: &mut Party, lost: parlor::Result<Vec<u8>>, won: parlor::Result<Vec<u8>>| {
        lost.unwrap();
        let mut all = party.deliver(&won.unwrap());
        let Event::Superseded { intent, .. } = all[0].remove(1) else { panic!() };
        party.rooms[0].retry(&intent)
    };
    let (lost, won) = (party.rooms[0].mute(&ben), party.rooms[1].mute(&ben));
    assert_eq!(lose(&mut party, lost, won).unwrap(), Retried::Done);
    let (lost, won) = (party.rooms[0].lift_mute(&ben), party.rooms[1].set_title("won"));
    let Retried::Commit(again) = lose(&mut party, lost, won).unwrap() else { panic!() };
    party.deliver(&again);
    assert_eq!(party.rooms[1].member(&ben).unwrap().muted_by, None);

    // Only what differs still is set again, over what the other has set since.
    let both = [Setting::Title("lost".into()), Setting::Recording(true)];
    let (lost, won) = (party.rooms[0].set_all(&both), party.rooms[1].set(Setting::Recording(true)));
    let Retried::Commit(again) = lose(&mut party, lost, won).unwrap() else { panic!() };
    assert_eq!(gists(&party.deliver(&again)[1])[1..], ["the title is \"lost\""]);
    // What is not one's to do any more is reported.
    let (lost, won) = (party.rooms[0].set_title("mine"), party.rooms[1].set_role(&ana, Speaker));
    denied(lose(&mut party, lost, won), "ana may not change the room's title");
    assert_eq!(party.rooms[0].retry(&Intent::HandOver(guest("zed").card().id())).unwrap(), Retried::Done);
    assert!(party.rooms[1].member(&bo).is_some());
}
