//! An evening in which everything happens that changes what is kept of a room.

use std::{cell::RefCell, time::Duration};

use parlor::{
    Event, Guest, Identity, Link, MemberId, Role,
    room::{
        Entry, Intent, PUBLISH_AFTER, Reaction, Retried, Setting,
        door::{GATHERING, Terms, UnixTime, Waiting},
    },
};

use crate::world::{ANA, LEA, MO, Out, SUE, World, send};

type Part = fn(&mut World);

pub const EVENING: &[(&str, Part)] = &[
    ("people come and go by card", by_card),
    ("bans", bans),
    ("roles", roles),
    ("mutes", mutes),
    ("settings", settings),
    ("keys", keys),
    ("a race", race),
    ("chat", chat),
    ("stage", stage),
    ("codes", codes),
    ("links", links),
    ("the door", door),
    ("what is of no use", in_vain),
    ("out of order", overtaken),
    ("somebody goes home", goes_home),
    ("the host leaves", host_leaves),
    ("the end", end),
];

const WALL: UnixTime = UnixTime(1_800_000_000);

fn guest(name: &str) -> Guest {
    Guest::new(Identity::generate(name).unwrap()).unwrap()
}

fn named(w: &World, name: &str) -> MemberId {
    w.members[ANA].kept.roster().find(|member| member.name == name).unwrap().id
}

fn by_card(w: &mut World) {
    let guest = guest("ivo");
    w.all(ANA, "admit", "receive admission", &|room, _| {
        room.admit(guest.card(), Role::Speaker).map(|admission| send(admission.commit))
    });
    let welcome = w.members[ANA].kept.last_welcome().unwrap().0.to_vec();
    let (ivo, _) = guest.enter(&welcome).unwrap();
    assert_eq!(ivo.code(), w.members[LEA].kept.code());
    let ivo = ivo.me().unwrap().id;
    w.all(MO, "remove", "receive removal", &|room, _| room.remove(&ivo).map(send));
}

fn bans(w: &mut World) {
    let stranger = MemberId::from_bytes([3; 32]);
    w.all(MO, "ban", "receive ban", &|room, _| room.ban(&stranger).map(send));
    w.all(ANA, "lift ban", "receive lifted ban", &|room, _| room.lift_ban(&stranger).map(send));
    w.all(ANA, "ban", "receive ban", &|room, _| room.ban(&stranger).map(send));
}

fn roles(w: &mut World) {
    let (ana, mo, lea) = (w.id(ANA), w.id(MO), w.id(LEA));
    w.all(ANA, "set role", "receive role", &|room, _| room.set_role(&lea, Role::Speaker).map(send));
    w.all(LEA, "step down", "receive role", &|room, _| room.step_down().map(send));
    w.all(ANA, "hand over", "receive hand-over", &|room, _| room.hand_over(&mo).map(send));
    w.all(MO, "hand over", "receive hand-over", &|room, _| room.hand_over(&ana).map(send));
}

fn mutes(w: &mut World) {
    let sue = w.id(SUE);
    w.all(MO, "mute", "receive mute", &|room, _| room.mute(&sue).map(send));
    w.all(MO, "lift mute", "receive lifted mute", &|room, _| room.lift_mute(&sue).map(send));
    w.all(SUE, "set mic", "receive stance", &|room, _| room.set_mic(true).map(send));
}

fn settings(w: &mut World) {
    let some = [Setting::Topic("tonight".into()), Setting::Recording(true), Setting::Locked(true)];
    w.all(ANA, "set title", "receive setting", &|room, _| room.set_title("the cellar").map(send));
    w.all(ANA, "set all", "receive setting", &|room, _| room.set_all(&some).map(send));
    w.all(ANA, "set", "receive setting", &|room, _| room.set(Setting::Locked(false)).map(send));
}

fn keys(w: &mut World) {
    w.all(SUE, "refresh", "receive refresh", &|room, _| room.refresh().map(send));
    w.act(MO, "refresh", &|room, _| room.refresh().map(|_| Out::default()));
    w.act(MO, "abandon", &|room, _| {
        room.abandon();
        Ok(Out::default())
    });
    w.all(MO, "refresh", "receive refresh", &|room, _| room.refresh().map(send));
}

fn race(w: &mut World) {
    let lea = w.id(LEA);
    let topic = Setting::Topic("later".into());
    let ana = w.act(ANA, "set", &|room, _| room.set(topic.clone()).map(send)).send;
    let mo = w.act(MO, "mute", &|room, _| room.mute(&lea).map(send)).send;
    for commit in &mo {
        w.deliver("receive what won", commit);
    }
    // Who was told of it may have died before they did anything about it.
    let wanted = w.lost.take().unwrap_or(Intent::Set(vec![topic]));
    for commit in &ana {
        w.deliver_in_vain("receive of an epoch gone by", commit);
    }
    w.all(ANA, "retry", "receive setting", &|room, _| {
        Ok(match room.retry(&wanted)? {
            Retried::Commit(commit) => send(commit),
            _ => Out::default(),
        })
    });
    w.all(MO, "lift mute", "receive lifted mute", &|room, _| room.lift_mute(&lea).map(send));
}

fn chat(w: &mut World) {
    let said = |text: &'static str, lifetime| {
        move |room: &mut parlor::Room, _| room.say(text, lifetime).map(|(_, message)| send(message))
    };
    w.all(LEA, "say", "receive text", &said("good evening", None));
    w.all(ANA, "say", "receive text", &said("welcome", None));
    w.all(MO, "say for a while", "receive text", &said("not for long", Some(Duration::from_secs(5))));
    let up = Reaction::new("\u{1f44d}").unwrap();
    w.all(SUE, "react", "receive reaction", &|room, _| room.react(&up).map(send));
    w.now += Duration::from_secs(10);
    for who in [ANA, MO, SUE, LEA] {
        w.act(who, "tick", &|room, now| Ok(Out { send: Vec::new(), events: room.tick(now) }));
        assert!(w.members[who].kept.messages().all(|message| message.until.is_none()));
    }
    w.act(SUE, "forget message", &|room, _| {
        let id = room.messages().next().map(|message| message.id);
        assert!(id.is_none_or(|id| room.forget_message(&id)));
        Ok(Out::default())
    });
}

fn stage(w: &mut World) {
    let lea = w.id(LEA);
    w.all(LEA, "raise hand", "receive stance", &|room, _| room.raise_hand().map(send));
    w.all(LEA, "restate", "receive stance", &|room, _| Ok(room.restate()?.map(send).unwrap_or_default()));
    w.all(LEA, "lower hand", "receive stance", &|room, _| room.lower_hand().map(send));
    w.all(SUE, "set mic", "receive stance", &|room, _| room.set_mic(false).map(send));
    w.all(MO, "invite", "receive invitation", &|room, _| room.invite_to_speak(&lea).map(send));
    w.all(LEA, "answer invitation", "receive answer", &|room, _| room.answer_invitation(false).map(send));
    w.all(SUE, "set mic", "receive stance", &|room, _| room.set_mic(true).map(send));
    w.all(LEA, "raise hand", "receive stance", &|room, _| room.raise_hand().map(send));
    w.all(MO, "invite", "receive invitation", &|room, _| room.invite_to_speak(&lea).map(send));
}

fn codes(w: &mut World) {
    let (sue, lea) = (w.id(SUE), w.id(LEA));
    let mut events = w.all(SUE, "compare", "receive code", &|room, now| room.compare_with(&lea, now).map(send));
    events.extend(w.all(LEA, "compare", "receive code", &|room, now| room.compare_with(&sue, now).map(send)));
    let codes = events.iter().filter(|event| matches!(event, Event::ShortCode { .. })).count();
    assert!(codes == 2 || w.killed.is_some(), "{events:?}");
}

const TERMS: Terms = Terms { role: Role::Listener, one_shot: false, expires: None };

/// A link, whose secret goes with the process that made it.
fn issue(w: &mut World) -> Option<Link> {
    let made = RefCell::new(None);
    w.all(ANA, "issue link", "receive link", &|room, _| {
        let (link, commit) = room.issue_link(TERMS)?;
        *made.borrow_mut() = Some(link);
        Ok(send(commit))
    });
    let link = made.take();
    link.filter(|link| w.members[ANA].kept.links().any(|entry| entry.id == link.id()))
}

fn links(w: &mut World) {
    w.all(ANA, "set", "receive setting", &|room, _| room.set(Setting::Entry(Entry::Knock)).map(send));
    issue(w);
    let link = w.members[ANA].kept.links().next().unwrap().id;
    w.all(ANA, "revoke link", "receive revocation", &|room, _| room.revoke_link(&link).map(send));
}

fn knock(w: &World, link: &Link, name: &str) -> (Waiting, Vec<u8>) {
    let plate = link.read_doorplate(&w.members[ANA].kept.doorplate(link).unwrap()).unwrap();
    guest(name).knock(link, &plate, "", WALL).unwrap()
}

fn door(w: &mut World) {
    let link = issue(w).unwrap();
    let [(waiting, one), (_, two)] = ["kim", "tom"].map(|name| knock(w, &link, name));
    for bytes in [&one, &two] {
        w.act(ANA, "knocked", &|room, now| {
            Ok(Out { send: Vec::new(), events: room.knocked(bytes, now, WALL).unwrap_or_default() })
        });
    }
    let kim = waiting.id();
    w.act(ANA, "let in", &|room, now| room.let_in(&kim, now).map(|()| Out::default()));
    w.all(ANA, "turn away", "receive turned away", &|room, _| {
        let tom = room.knocks().next().map(parlor::room::door::Knock::id).unwrap();
        room.turn_away(&tom, "not today").map(|(_, word)| send(word))
    });
    w.now += GATHERING;
    w.all(ANA, "open door", "receive admission", &|room, now| {
        // The time of a process that was restored begins anew.
        Ok(room.open_door(now + GATHERING)?.map(send).unwrap_or_default())
    });
    let answer = w.answers.iter().find(|answer| answer.knock == kim).expect("kim has an answer").clone();
    let tree = w.members[ANA].kept.last_answers().unwrap().1.map(<[u8]>::to_vec);
    let (room, _) = waiting.enter(&answer.bytes, tree.as_deref()).unwrap();
    assert_eq!(room.code(), w.members[LEA].kept.code());
    let kim = named(w, "kim");
    w.all(MO, "remove", "receive removal", &|room, _| room.remove_all(&[kim]).map(send));
}

fn in_vain(w: &mut World) {
    w.deliver_in_vain("receive malformed", b"no message at all");
    let last = w.log.iter().rev().nth(1).unwrap().1.clone();
    w.deliver_in_vain("receive of an epoch gone by", &last);
}

fn overtaken(w: &mut World) {
    let words = w.act(SUE, "say", &|room, _| room.say("overtaken", None).map(|(_, message)| send(message))).send;
    w.all(ANA, "refresh", "receive refresh", &|room, _| room.refresh().map(send));
    for word in words {
        w.deliver_in_vain("receive text of the epoch before", &word);
    }
}

fn publish(w: &mut World, who: usize) {
    w.now += PUBLISH_AFTER;
    let out =
        w.act(who, "tick once out", &|room, now| Ok(Out { send: Vec::new(), events: room.tick(now + PUBLISH_AFTER) }));
    assert_eq!(out.send.len(), 1, "what was used is published");
    for message in out.send {
        w.deliver("receive published keys", &message);
    }
}

fn goes_home(w: &mut World) {
    let lea = w.id(LEA);
    w.all(LEA, "leave", "receive leave", &|room, _| room.leave().map(send));
    w.all(MO, "remove", "receive removal", &|room, _| room.remove(&lea).map(send));
    publish(w, LEA);
}

fn host_leaves(w: &mut World) {
    let ana = w.id(ANA);
    w.all(ANA, "leave as host", "receive leave as host", &|room, _| room.leave().map(send));
    w.all(MO, "remove", "receive removal", &|room, _| room.remove(&ana).map(send));
    publish(w, ANA);
}

fn end(w: &mut World) {
    w.all(MO, "end", "receive end", &|room, _| room.end().map(send));
    for who in [MO, SUE] {
        publish(w, who);
    }
}
