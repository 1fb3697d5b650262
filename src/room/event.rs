//! What a received message brought about, and what a command wanted.

use std::time::Duration;

use crate::{
    error::{Denial, Result},
    identity::{MemberId, Role},
    media::{EpochKeys, Voice},
    room::{
        Card,
        chat::{MessageId, Reaction},
        comeback::RequestId,
        door::{Answer, KnockId, LinkEntry, LinkId},
        settings::Setting,
        short_code::ShortCode,
        trust::Trust,
    },
};

/// What changed in the room, or did not.
///
/// The events of one message come in this order: [`Rekeyed`](Event::Rekeyed) first, so that the voice switches
/// before anybody is told; then [`Superseded`](Event::Superseded); then removals, arrivals, changes of role and
/// mutes, each by leaf, and the rest, in the same order for every member.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The room is in its next epoch: give these keys to the voice at once.
    Rekeyed(EpochKeys),
    /// Somebody is in the room.
    Joined {
        /// Who; look them up with [`Room::member`](crate::Room::member).
        member: MemberId,
        /// Who admitted them.
        by: MemberId,
        /// The link they proved to hold; `None` if they came by card alone.
        link: Option<LinkId>,
    },
    /// A member who had lost their keys, or could not follow, is back: the same person, in the same role, as muted as they
    /// were, with fresh keys. They may sit at another leaf.
    CameBack {
        /// Who.
        member: MemberId,
        /// Who brought them back.
        by: MemberId,
    },
    /// Somebody who had asked to leave is out.
    Left {
        /// Who.
        member: MemberId,
        /// Their name, for the roster does not have them.
        name: String,
    },
    /// Somebody was put out.
    Removed {
        /// Who.
        member: MemberId,
        /// Their name, for the roster does not have them.
        name: String,
        /// By whom.
        by: MemberId,
    },
    /// Somebody is kept out from here on, by card, link and knock.
    Banned {
        /// Who.
        member: MemberId,
        /// By whom.
        by: MemberId,
    },
    /// Somebody may be admitted again.
    BanLifted {
        /// Who.
        member: MemberId,
        /// By whom.
        by: MemberId,
    },
    /// Somebody has another role; [`Room::member`](crate::Room::member) tells which.
    RoleChanged {
        /// Who.
        member: MemberId,
        /// The role they had.
        from: Role,
        /// Who changed it; `member` itself if they stepped down.
        by: MemberId,
    },
    /// Somebody was muted: nobody plays their frames. Their microphone is off ([`Event::Mic`] follows).
    Muted {
        /// Who.
        member: MemberId,
        /// By whom.
        by: MemberId,
    },
    /// Somebody who was muted may speak again, once they switch their microphone on.
    MuteLifted {
        /// Who.
        member: MemberId,
        /// Who let them.
        by: MemberId,
    },
    /// Somebody's microphone is on or off, by their own signed word: tell the voice
    /// ([`Voice::set_mic`](crate::Voice::set_mic)), which then plays what the screen shows.
    Mic {
        /// Whose; perhaps one's own.
        member: MemberId,
        /// Whether it is on.
        on: bool,
    },
    /// A setting of the room has another value.
    SettingChanged {
        /// Which, and the value.
        setting: Setting,
        /// Who changed it.
        by: MemberId,
    },
    /// The room has another link.
    LinkIssued {
        /// Which; [`Room::links`](crate::Room::links) tells its terms.
        link: LinkId,
        /// By whom.
        by: MemberId,
    },
    /// A link admits nobody from here on: it was revoked or used, or its issuer is no host any more.
    LinkEnded {
        /// Which.
        link: LinkId,
        /// Whose commit ended it.
        by: MemberId,
    },
    /// Somebody refreshed their keys: what was stolen of theirs before is of no use from here on.
    Refreshed {
        /// Who.
        member: MemberId,
    },
    /// Somebody would like to speak: [`Room::hands`](crate::Room::hands) tells whose hands are up, the first first.
    HandRaised {
        /// Who.
        member: MemberId,
    },
    /// Somebody's hand is down.
    HandLowered {
        /// Whose.
        member: MemberId,
    },
    /// A host or a moderator would like somebody to speak. If that is oneself, answer with
    /// [`Room::answer_invitation`](crate::Room::answer_invitation).
    InvitedToSpeak {
        /// Who is invited.
        member: MemberId,
        /// By whom.
        by: MemberId,
    },
    /// Somebody answered an invitation to speak. If it was one's own and they accept, call them on stage with
    /// [`Room::set_role`](crate::Room::set_role).
    InvitationAnswered {
        /// Who answered.
        member: MemberId,
        /// Who had invited them.
        by: MemberId,
        /// Whether they would like to speak.
        accepted: bool,
    },
    /// Somebody asks to leave. Until a host or a moderator lets them go they still hold the keys:
    /// [`Room::let_go`](crate::Room::let_go) gives the commit for all who asked within five seconds, and
    /// [`Room::remove`](crate::Room::remove) one for them at once.
    WantsToLeave {
        /// Who.
        member: MemberId,
    },
    /// The last host has left, and there is no moderator to take over: the room goes on listen-only. Nobody is on
    /// stage, nobody can be let in; anybody may put out who has left ([`Room::let_go`](crate::Room::let_go)).
    ListenOnly {
        /// The host who left.
        by: MemberId,
    },
    /// Somebody is at the door: [`Room::knocks`](crate::Room::knocks) has their name and note. Answer with
    /// [`Room::let_in`](crate::Room::let_in) or [`Room::turn_away`](crate::Room::turn_away).
    Knocked {
        /// Which knock.
        knock: KnockId,
        /// The key of who knocks: perhaps a member's, who has lost what they had of the room.
        member: MemberId,
        /// The link they hold.
        link: LinkId,
    },
    /// Somebody was turned away twice at a link, and is kept off there: whoever knocks by it again is answered no at once.
    /// It comes to those who had that knock before them. [`Room::forgive`](crate::Room::forgive) takes it back; so does
    /// the end of the link, or of the office of whoever turned them away.
    KeptOff {
        /// Who.
        member: MemberId,
        /// Where.
        link: LinkId,
        /// Who turned them away the second time.
        by: MemberId,
    },
    /// Whoever was turned away may knock again.
    Forgiven {
        /// Who.
        member: MemberId,
        /// Who took it back.
        by: MemberId,
    },
    /// Answers to knocks: for the relay to keep for those who made them.
    Answered {
        /// One for each.
        answers: Vec<Answer>,
        /// In a room of more than [`TREE_APART`](crate::room::TREE_APART) members the sealed ratchet tree, which all who
        /// were let in need too: for the relay to keep by its [`TreeId`](crate::room::TreeId), which the answers name
        /// ([`Waiting::tree_of`](crate::Waiting::tree_of)).
        tree: Option<Vec<u8>>,
    },
    /// What the doorplates of one's own links say is not so any more: the title, or who may let in. Make them anew
    /// with [`Room::doorplate`](crate::Room::doorplate).
    DoorplateOutdated,
    /// Somebody said something in writing: [`Room::message`](crate::Room::message) has the text while it lasts.
    Said {
        /// Which message; it tells who said it.
        message: MessageId,
    },
    /// A message's time is over, or it made way for newer ones: its text is wiped.
    Vanished {
        /// Which.
        message: MessageId,
    },
    /// Somebody reacted to what is heard.
    Reacted {
        /// Who.
        member: MemberId,
        /// How.
        reaction: Reaction,
    },
    /// Somebody asks to compare a short code. To agree, call [`Room::compare_with`](crate::Room::compare_with).
    CodeAsked {
        /// Who.
        by: MemberId,
    },
    /// The six digits to read to each other. Other digits at the other end: somebody is between the two.
    ShortCode {
        /// With whom to compare them.
        with: MemberId,
        /// The digits.
        code: ShortCode,
    },
    /// A short code did not come about in time. Who breaks one off again and again may be trying for digits of their
    /// choice: compare the room code's words instead.
    CodeLapsed {
        /// With whom.
        with: MemberId,
    },
    /// From here on the room is stale: no host vouches for it as one sees it ([`heartbeat`](crate::room::heartbeat)), so
    /// who is on stage says nothing. Tell the voice ([`Voice::set_stale`](crate::Voice::set_stale)), and show it.
    ///
    /// It comes to who enters and to who comes on stage as well, until a host has answered: a moment.
    Stale {
        /// As of when one was last known to be up to date; if never, when one began to ask.
        since: Duration,
    },
    /// The room is stale no more.
    Fresh,
    /// A host is in a later epoch, and what leads there has not come for two seconds: fetch the control messages from
    /// the relay. If the host is oneself, another process of one's own goes on there; if you know of none, show it loudly,
    /// for then somebody has stolen your identity and a snapshot.
    Behind {
        /// Which host.
        host: MemberId,
        /// Their epoch.
        epoch: u64,
    },
    /// The relay shows two histories: a host has come to this epoch by other commits than oneself. Show it loudly. The
    /// room stays stale until that host vouches for what one sees, or is out of the room.
    SplitView {
        /// The host who sees another history.
        host: MemberId,
        /// The epoch.
        epoch: u64,
        /// Whether it is one's own side that comes back over there, as the other does not: that host has been one for
        /// longer than any who beats on this side (then the lower id decides). Where the two are in different epochs it is
        /// the side in the earlier one that comes back, if the other has a host.
        follow: bool,
    },
    /// A host whose heartbeat came has been silent for fifteen seconds. Perhaps they have gone; perhaps the relay keeps
    /// them from you, and you from them.
    HostSilent {
        /// Which host.
        host: MemberId,
    },
    /// A commit of this epoch authenticates, and one cannot read what it has for oneself: the others may go on without
    /// you. If the next message is of a later epoch they have: go and [`Room::come_back`](crate::Room::come_back). If
    /// they have refused it too, for it was against the rules, the next good commit takes the room on as ever.
    ///
    /// Others who could not read commits of the same member say so too ([`FailingCommits`](Event::FailingCommits)).
    Stuck {
        /// The epoch that this member stands in.
        epoch: u64,
        /// Whose commit it is, by their signature.
        by: Option<MemberId>,
    },
    /// A member asks to be brought back, by their own signed word: answer with
    /// [`Room::bring_back`](crate::Room::bring_back), and when its commit is received let the relay put the admission's
    /// welcome, and its tree, where `request` tells. It comes to those who may bring them back.
    ///
    /// Look at [`Card::asked_back_at`] before: who asked long ago by your clock may not wait any more. It is told once a
    /// request, which is made anew every five seconds: if a commit of your own is on its way, keep the card until then.
    AsksBack {
        /// Who.
        member: MemberId,
        /// Their fresh card.
        card: Box<Card>,
        /// What the relay knows the request by.
        request: RequestId,
        /// The epoch of which they could not read a commit; `None` if they lost their state or missed messages.
        stuck: Option<u64>,
    },
    /// Members say that they could not read commits of somebody's: of two members, or in two epochs. Take it up with
    /// them: their client is broken, or made to shut those members out. Who reports may lie.
    FailingCommits {
        /// Whose commits.
        by: MemberId,
        /// The epoch that the last of those commits ended.
        epoch: u64,
        /// How many members have said so.
        reports: usize,
    },
    /// The identity check doubts that a member is who their name says, knows them by another key, or knows
    /// somebody else whose name looks the same. Show it loudly.
    Doubtful {
        /// Who.
        member: MemberId,
        /// What it says.
        trust: Trust,
    },
    /// Somebody says far more than people say. It costs time and is bounded otherwise: what is kept of each member is
    /// little, and a removal comes through. Told every ten seconds at most; after a sleep, when much comes at once, it may
    /// be no more than that.
    Flood {
        /// Who.
        member: MemberId,
        /// How many messages of theirs came in a second, over the last ten.
        per_second: u32,
    },
    /// A message for everybody in the room that something received or the time calls for: give it to the relay. A
    /// heartbeat's signal; once out, one's media keys for everybody who was there ([`PublishedKeys`](crate::room::PublishedKeys)).
    Send(Vec<u8>),
    /// You are out. The room's secrets are erased; its last roster can still be read. Go on with
    /// [`Room::tick`](crate::Room::tick) while [`Room::next_tick`](crate::Room::next_tick) says so.
    Closed {
        /// Who removed you.
        by: MemberId,
        /// Whether you had asked for it.
        asked: bool,
    },
    /// Somebody with this member's own identity key has come in in their place: another device of theirs, or whoever has
    /// stolen that key. Show it loudly. You are out here, and the room's secrets are erased as with
    /// [`Closed`](Event::Closed); you are still in the room as others see it.
    ///
    /// If it was not you, tell a host by another way than this room, and make a new identity: that key is known.
    Replaced {
        /// Who let the other in.
        by: MemberId,
    },
    /// The room is over for everybody. Its secrets are erased. Go on with [`Room::tick`](crate::Room::tick) while
    /// [`Room::next_tick`](crate::Room::next_tick) says so.
    Ended {
        /// The host who ended it.
        by: MemberId,
    },
    /// Another commit of the same epoch came first, so yours did nothing.
    /// [`Room::retry`](crate::Room::retry) makes it again if it is still wanted.
    Superseded {
        /// Whose commit came first.
        by: MemberId,
        /// What yours wanted.
        intent: Intent,
    },
    /// A message that authenticates wanted what its sender may not do. The room is as it was.
    ///
    /// If MLS does not prove who made a commit, and the reason is that MLS forbids it, then it forbids it to everybody.
    Refused {
        /// Who sent it, if the message proves it.
        actor: Option<MemberId>,
        /// Who wanted what, and the rule against it.
        why: Denial,
    },
}

impl Event {
    /// Gives the voice what is for it: an epoch's keys, a microphone switched on or off, a room gone stale, the end. What
    /// people want to know comes back.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use parlor::{Identity, Room, Settings};
    /// # let now = Duration::ZERO;
    /// # let (mut room, mut voice) = Room::create(Identity::generate("ana")?, Settings::default())?;
    /// # let message = room.refresh()?;
    /// for event in room.receive(&message, now)? {
    ///     if let Some(event) = event.tell(&mut voice)? {
    ///         println!("{event:?}");
    ///     }
    /// }
    /// assert_eq!(voice.epoch(), 1);
    /// # Ok::<(), parlor::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Voice::rekey`].
    pub fn tell(self, voice: &mut Voice) -> Result<Option<Self>> {
        match self {
            Self::Rekeyed(keys) => {
                voice.rekey(keys)?;
                return Ok(None);
            }
            Self::Mic { member, on } => voice.set_mic(&member, on),
            Self::Stale { .. } => voice.set_stale(true),
            Self::Fresh => voice.set_stale(false),
            Self::Closed { .. } | Self::Replaced { .. } | Self::Ended { .. } => voice.close(),
            _ => {}
        }
        Ok(Some(self))
    }
}

/// What a command wanted, kept until its commit is merged: after losing a race it is worked out afresh, for a
/// lost commit itself is of no use.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Intent {
    /// Let these people in.
    Admit(Vec<(Card, Role)>),
    /// Bring this card's owner back, who is in the room.
    BringBack(Box<Card>),
    /// Put these members out.
    Remove(Vec<MemberId>),
    /// Keep these people out, members or not.
    Ban(Vec<MemberId>),
    /// Let somebody be admitted again.
    LiftBan(MemberId),
    /// Give a member another role.
    SetRole(MemberId, Role),
    /// Make a member a host, and oneself a moderator.
    HandOver(MemberId),
    /// Silence a member.
    Mute(MemberId),
    /// Let a member speak again.
    LiftMute(MemberId),
    /// Change these settings.
    Set(Vec<Setting>),
    /// Issue a link.
    IssueLink(LinkEntry),
    /// Revoke a link.
    RevokeLink(LinkId),
    /// Leave as a host: hand over, step down, and wait to be let go.
    Leave,
    /// End the room for everybody.
    End,
    /// Let in who waits at the door. Those who lost the race wait there again.
    OpenDoor,
    /// Refresh one's own keys.
    Refresh,
}
