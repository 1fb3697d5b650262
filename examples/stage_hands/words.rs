//! Events and causes in words.

use std::collections::BTreeMap;

use parlor::{Cause, Event, MemberId};

use super::Person;

pub type Names = BTreeMap<MemberId, String>;

/// What an event says, if it is worth a word; `people` are those who may look up what it is about.
pub fn event(event: &Event, names: &Names, people: &[Person]) -> Option<String> {
    let name = |id: &MemberId| names.get(id).map_or("somebody", |name| name);
    Some(match event {
        Event::Joined { member, by, link: Some(_) } => format!("{} lets in {}, who has a link", name(by), name(member)),
        Event::Joined { member, by, .. } => format!("{} lets in {}, by their card", name(by), name(member)),
        Event::Left { name, .. } => format!("{name} is out, as they had asked"),
        Event::Removed { name: whom, by, .. } => format!("{} puts {whom} out", name(by)),
        Event::Banned { member, by } => format!("{} bans {}", name(by), name(member)),
        Event::RoleChanged { member, from, by } => {
            let to = people.iter().find_map(|person| Some(person.room.member(member)?.role)).unwrap_or_default();
            let by = if by == member { "by their own wish" } else { &format!("by {}", name(by)) };
            format!("{}, a {from}, is made a {to} {by}", name(member))
        }
        Event::Muted { member, by } => format!("{} mutes {}", name(by), name(member)),
        Event::MuteLifted { member, by } => format!("{} lets {} speak again", name(by), name(member)),
        Event::Mic { member, on } => format!("{}'s microphone is {}", name(member), if *on { "on" } else { "off" }),
        Event::SettingChanged { setting, by } => format!("{} decides: {setting}", name(by)),
        Event::LinkEnded { .. } => "a link ends with that".into(),
        Event::HandRaised { member } => format!("{} raises a hand", name(member)),
        Event::InvitedToSpeak { member, by } => format!("{} asks {} to speak", name(by), name(member)),
        Event::InvitationAnswered { member, accepted: true, .. } => format!("{} would love to", name(member)),
        Event::InvitationAnswered { member, .. } => format!("{} would rather not", name(member)),
        Event::WantsToLeave { member } => format!("{} asks to leave", name(member)),
        Event::Said { message } => {
            let text = people.iter().find_map(|person| Some(person.room.message(message)?.text()));
            format!("{} writes: “{}”", name(&message.from()), text.unwrap_or_default())
        }
        Event::Reacted { member, reaction } => format!("{} reacts: {reaction}", name(member)),
        Event::Ended { by } => format!("{} ends the room for everybody", name(by)),
        Event::Refused { why, .. } => why.to_string(),
        _ => return None,
    })
}

/// A cause of silence in a sentence with names, and what to do next.
pub fn cause(cause: Cause, names: &Names) -> String {
    let what = match cause {
        Cause::MutedBy(id) => format!("They were muted by {}.", names.get(&id).map_or("somebody", |name| name)),
        other => other.to_string(),
    };
    format!("{what} {}", cause.next_step())
}

/// A cause in a word.
pub fn short(cause: Cause) -> &'static str {
    match cause {
        Cause::Heard => "heard",
        Cause::MutedBy(_) => "muted",
        Cause::MutedThemselves => "mic off",
        Cause::NotOnStage => "listens",
        Cause::NotInRoom => "not in",
        Cause::Closed => "over",
        Cause::Stale { .. } => "stale",
        _ => "silent",
    }
}
