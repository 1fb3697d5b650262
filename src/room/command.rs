//! Commands: they make bytes for the relay, and leave the room as it is until it receives them.

use crate::{
    error::{Detail, Error, Result},
    identity::{MemberId, Role},
    room::{
        Card, Intent, Room,
        charter::Charter,
        door::LinkId,
        draft::{Draft, left_of},
        group::{Bundle, Plan},
        judge::{Ground, Proposed, judge},
        open,
        receive::Pending,
        said::Said,
        settings::Setting,
    },
};

/// In a room of more members than this the ratchet tree travels apart from the welcome.
pub const TREE_APART: usize = 64;

/// What lets somebody in.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Admission {
    /// For everybody in the room, oneself included: it takes effect where the relay puts it.
    pub commit: Vec<u8>,
    /// For each of those admitted, once [`Room::receive`] has taken the commit, and not before: the welcome of
    /// a commit that lost its race opens to a group that nobody else is in, and a guest cannot tell.
    pub welcome: Vec<u8>,
    /// The ratchet tree, sealed, for each of those admitted to a room of more than [`TREE_APART`] members:
    /// [`Guest::enter_with_tree`](crate::Guest::enter_with_tree). One serves them all; the relay may keep it.
    pub tree: Option<Vec<u8>>,
}

/// What a [`Room::retry`] made.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Retried {
    /// Somebody is to be let in.
    Admission(Admission),
    /// A commit for everybody in the room, oneself included.
    Commit(Vec<u8>),
    /// Others have done it all already.
    Done,
}

/// Commands that change the room. Each gives a commit for everybody in it, oneself included.
///
/// # Errors
/// All of them: [`Error::Denied`] if one's role does not allow it (the table is [`policy`](crate::room::policy)) or
/// a rule above all roles stands against it; [`Error::NotAMember`]; [`Error::Unusable`] if it has been done already;
/// [`Error::CommitPending`]; [`Error::Closed`]. The room is as it was.
impl Room {
    /// Lets somebody in.
    ///
    /// # Errors
    /// As [`Room::admit_all`].
    pub fn admit(&mut self, card: &Card, role: Role) -> Result<Admission> {
        self.admit_all(&[(card.clone(), role)])
    }

    /// Lets several people in by one commit and one welcome.
    ///
    /// If all of them are listeners the commit is a few hundred bytes however large the room is.
    ///
    /// # Errors
    /// [`Error::Denied`] if one's role does not allow it, if one of them is in already or banned, or if the room is
    /// locked or full, or if a card has let its owner in before, as far as this member has seen; [`Error::Unfit`] if a
    /// card is out of date by this machine's clock; [`Error::TooLarge`] if they
    /// are too many for one message, or the room for one tree; [`Error::CommitPending`]; [`Error::Closed`].
    pub fn admit_all(&mut self, cards: &[(Card, Role)]) -> Result<Admission> {
        cards.iter().try_for_each(|(card, _)| self.check_unused(card))?;
        match self.carry_out(Intent::Admit(cards.to_vec()))? {
            Bundle { commit, welcome: Some(welcome), tree } => Ok(Admission { commit, welcome, tree }),
            Bundle { .. } => Err(Error::Unusable { what: "cards", why: "there are none: give at least one" }),
        }
    }

    /// Puts a member out. They hold this epoch's keys, and none of the next. They may be admitted again.
    ///
    /// # Errors
    /// As [`Room::remove_all`].
    pub fn remove(&mut self, member: &MemberId) -> Result<Vec<u8>> {
        self.remove_all(&[*member])
    }

    /// Puts several members out by one commit, which costs hardly more than for one.
    ///
    /// # Errors
    /// As every command.
    pub fn remove_all(&mut self, members: &[MemberId]) -> Result<Vec<u8>> {
        self.commit(Intent::Remove(members.to_vec()))
    }

    /// Keeps somebody out from here on, by card, link and knock; a member is put out by the same commit.
    ///
    /// It is their identity key that is banned: whoever makes a new one is somebody else to the room.
    ///
    /// # Errors
    /// As every command; [`Error::Unusable`] if [`MAX_BANNED`](crate::room::MAX_BANNED) are banned already.
    pub fn ban(&mut self, id: &MemberId) -> Result<Vec<u8>> {
        self.commit(Intent::Ban(vec![*id]))
    }

    /// Lets somebody be admitted again who was banned.
    ///
    /// # Errors
    /// As every command.
    pub fn lift_ban(&mut self, id: &MemberId) -> Result<Vec<u8>> {
        self.commit(Intent::LiftBan(*id))
    }

    /// Gives a member another role: to the stage, or off it. Anybody may step down by themselves.
    ///
    /// # Errors
    /// As every command; [`Error::Denied`] too if no host would be left.
    pub fn set_role(&mut self, member: &MemberId, role: Role) -> Result<Vec<u8>> {
        self.commit(Intent::SetRole(*member, role))
    }

    /// Steps down from the stage, to be a listener.
    ///
    /// # Errors
    /// As every command; [`Error::Denied`] for the only host: hand over first, or leave.
    pub fn step_down(&mut self) -> Result<Vec<u8>> {
        let me = self.identity.id();
        self.set_role(&me, Role::Listener)
    }

    /// Makes `member` a host and oneself a moderator. The links one has issued end with the office.
    ///
    /// # Errors
    /// As every command.
    pub fn hand_over(&mut self, member: &MemberId) -> Result<Vec<u8>> {
        self.commit(Intent::HandOver(*member))
    }

    /// Silences a member: from the commit on nobody plays their frames, and their microphone is off.
    ///
    /// # Errors
    /// As every command.
    pub fn mute(&mut self, member: &MemberId) -> Result<Vec<u8>> {
        self.commit(Intent::Mute(*member))
    }

    /// Lets a member speak again who was muted. Their microphone stays off until they switch it on themselves.
    ///
    /// # Errors
    /// As every command.
    pub fn lift_mute(&mut self, member: &MemberId) -> Result<Vec<u8>> {
        self.commit(Intent::LiftMute(*member))
    }

    /// Changes one of the room's settings.
    ///
    /// # Errors
    /// As [`Room::set_all`].
    pub fn set(&mut self, setting: Setting) -> Result<Vec<u8>> {
        self.set_all(&[setting])
    }

    /// Changes several of the room's settings by one commit.
    ///
    /// # Errors
    /// As every command; [`Error::Malformed`] if a value is out of bounds.
    pub fn set_all(&mut self, settings: &[Setting]) -> Result<Vec<u8>> {
        self.commit(Intent::Set(settings.to_vec()))
    }

    /// Gives the room another title.
    ///
    /// # Errors
    /// As [`Room::set_all`].
    pub fn set_title(&mut self, title: &str) -> Result<Vec<u8>> {
        self.set(Setting::Title(title.to_owned()))
    }

    /// Ends a link: from the next epoch on it admits nobody.
    ///
    /// # Errors
    /// As every command.
    pub fn revoke_link(&mut self, link: &LinkId) -> Result<Vec<u8>> {
        self.commit(Intent::RevokeLink(*link))
    }

    /// Ends the room for everybody: whoever receives it is out, and has erased its secrets.
    ///
    /// # Errors
    /// As every command.
    pub fn end(&mut self) -> Result<Vec<u8>> {
        self.commit(Intent::End)
    }

    /// Refreshes one's own keys: whoever stole them before is shut out from the next epoch on.
    ///
    /// # Errors
    /// As every command.
    pub fn refresh(&mut self) -> Result<Vec<u8>> {
        self.commit(Intent::Refresh)
    }

    /// Asks to be let out: a message for everybody, answered by a host or a moderator with [`Room::let_go`], within
    /// some seconds. Until that is merged one still holds the keys, for nobody can remove themselves from an MLS group.
    ///
    /// A host's message is a commit, by which they step down; if they are the last host the moderator of longest
    /// standing takes over, and without one the room goes on listen-only ([`Event::ListenOnly`](crate::Event)).
    ///
    /// # Errors
    /// As every command.
    pub fn leave(&mut self) -> Result<Vec<u8>> {
        self.group()?;
        if self.charter.role(&self.identity.id()) == Role::Host || self.charter.hosts() == 0 {
            return self.commit(Intent::Leave);
        }
        self.say_to_all(&Said::Leave)
    }

    /// Drops one's own commit that is on its way, and tells what it wanted.
    ///
    /// Only for a commit that the relay has refused or never got: if others receive it they go on without you. Sixteen may
    /// be abandoned in one epoch: the next would be too far ahead for others to read.
    pub fn abandon(&mut self) -> Option<Intent> {
        let pending = self.pending.take()?;
        self.journal.whole();
        if let Some(group) = &mut self.group {
            group.clear_pending();
        }
        self.door.lost();
        self.echoes.abandoned(pending.hash, self.epoch);
        Some(pending.intent)
    }

    /// Makes a commit again that lost its race, for what is left to do of it in this epoch.
    ///
    /// # Errors
    /// As the command that it repeats.
    pub fn retry(&mut self, intent: &Intent) -> Result<Retried> {
        match left_of(self.ground(), intent) {
            None => Ok(Retried::Done),
            // The garden asks for it again, a little later.
            Some(Intent::Refresh) if self.is_gardener() => Ok(Retried::Done),
            Some(Intent::BringBack(card)) if self.is_back_by(&card) => Ok(Retried::Done),
            Some(Intent::BringBack(card)) => self.bring_back_now(&card).map(Retried::Admission),
            Some(Intent::OpenDoor) => Ok(self.open_at_once()?.map_or(Retried::Done, Retried::Commit)),
            Some(Intent::Admit(cards)) => self.admit_all(&cards).map(Retried::Admission),
            Some(left) => self.commit(left).map(Retried::Commit),
        }
    }

    pub(super) fn ground(&self) -> Ground<'_> {
        Ground { room: &self.id, epoch: self.epoch, roster: &self.roster, charter: &self.charter, streak: self.streak }
    }

    pub(super) fn commit(&mut self, intent: Intent) -> Result<Vec<u8>> {
        Ok(self.carry_out(intent)?.commit)
    }

    /// Makes the commit for `intent` and keeps it pending.
    pub(super) fn carry_out(&mut self, intent: Intent) -> Result<Bundle> {
        self.group()?;
        let draft = Draft::new(self.ground(), self.identity.id(), &intent)?;
        self.commit_draft(&intent, draft)
    }

    /// Makes the commit of `draft`, which `intent` came to, and keeps it pending.
    pub(super) fn commit_draft(&mut self, intent: &Intent, mut draft: Draft<'_>) -> Result<Bundle> {
        let (committer, me) = (self.group()?.me(), self.identity.id());
        if self.pending.is_some() {
            return Err(Error::CommitPending { epoch: self.epoch });
        }
        let (garden, shape) = self.garden_of(&draft).unzip();
        if garden.is_some() {
            draft.after.garden = garden;
        }
        let proposed = Proposed { shape, ..draft.proposed(self.ground(), committer) };
        let verdict = judge(self.ground(), proposed).map_err(|denial| Error::Denied(Box::new(denial)))?;
        let Draft { adds, removes, after } = draft;
        let charter = (after != self.charter).then_some(after);
        // What others cannot read they refuse, while one would merge it oneself.
        if let Some(after) = &charter
            && Charter::decode(&after.encode()?)? != *after
        {
            return Err(Error::Group(Detail::new("a charter does not come back as it was written")));
        }

        let plan = Plan {
            tree_apart: (self.roster.len() + adds.len()).saturating_sub(removes.len()) > TREE_APART,
            adds,
            removes: removes.into_iter().collect(),
            charter: charter.as_ref(),
            // Without a path two processes restored from one snapshot that admit the same people would make one epoch, and
            // speak with one key.
            binds: self.is_to_bind() || !self.speaks,
            keeps_media_key: self.spent.is_full(),
            certifies: charter.as_ref().unwrap_or(&self.charter).has_a_place_on_stage(&me),
        };
        let group = open(&mut self.group, self.epoch)?;
        let bundle =
            group.commit(&self.identity, &plan).and_then(Bundle::fits).inspect_err(|_| group.clear_pending())?;
        self.pending = Some(Pending::new(bundle.clone(), intent.clone(), verdict));
        self.journal.whole();
        Ok(bundle)
    }
}
