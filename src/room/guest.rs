//! Somebody on their way in: a [`Guest`] has a card and no key of any room.

use std::{collections::BTreeSet, fmt};

use crate::{
    error::{Error, Item, Result},
    identity::{Identity, MemberId, Role},
    media::Voice,
    room::{
        Card, Entrance, MAX_MESSAGE, MAX_TREE, Room, check_size,
        door::Doorplate,
        garden::GARDEN_EPOCHS,
        group::{self, Doorstep, Joined, Provider},
        judge::denial,
        policy::{Action, permits},
        roster::{Roster, Seat},
    },
};

/// Somebody who is not in yet. Entering turns a guest into a [`Room`] and a [`Voice`].
pub struct Guest {
    pub(super) identity: Identity,
    pub(super) provider: Box<Provider>,
    card: Card,
}

impl Guest {
    /// A guest with a fresh card, whose secrets stay in memory.
    ///
    /// # Errors
    /// [`Error::Group`] if the group layer fails.
    pub fn new(identity: Identity) -> Result<Self> {
        Self::with_card(identity, false)
    }

    /// A guest whose card certifies media keys, to be admitted on stage of a room that keeps
    /// [evidence](crate::media::seal::Proof::Evidence): their seals count there from their first frame on.
    ///
    /// Without it, and in a deniable room, they count from the first commit on that the member makes on stage, for which
    /// [`Room::refresh_due`] asks at once.
    ///
    /// # Errors
    /// [`Error::Group`] if the group layer fails.
    pub fn for_stage(identity: Identity) -> Result<Self> {
        Self::with_card(identity, true)
    }

    fn with_card(identity: Identity, for_stage: bool) -> Result<Self> {
        let provider = Provider::new()?;
        let card = group::new_card(&provider, &identity, None, None, for_stage)?;
        Ok(Self { identity, provider, card })
    }

    /// Gives the identity back, and the card up.
    pub fn into_identity(self) -> Identity {
        self.identity
    }

    /// What to send to a host.
    pub const fn card(&self) -> &Card {
        &self.card
    }

    /// Enters the room that `welcome` is for, whose ratchet tree is in it.
    ///
    /// The group is checked as every member checks it: its settings, everybody's credentials, whether who signed
    /// the welcome may admit, one's own key at one's own leaf.
    ///
    /// # Errors
    /// [`EnterError`] brings the guest back as it was, with the reason: [`Error::TooLarge`],
    /// [`Error::Malformed`] (a welcome for somebody else too), [`Error::Unauthentic`], [`Error::Denied`] (the
    /// inviter may not admit), or [`Error::Unusable`] if the tree travels apart.
    pub fn enter(self, welcome: &[u8]) -> Result<(Room, Voice), EnterError> {
        self.go_in(welcome, None, None)
    }

    /// Enters the room that `welcome` is for, whose ratchet tree travelled apart
    /// ([`Admission::tree`](crate::Admission::tree)).
    ///
    /// # Errors
    /// As [`Guest::enter`]; and [`Error::Malformed`] if `tree` is not the one that the welcome is for.
    pub fn enter_with_tree(self, welcome: &[u8], tree: &[u8]) -> Result<(Room, Voice), EnterError> {
        self.go_in(welcome, Some(tree), None)
    }

    /// Enters, if need be only the room behind the door of `plate`.
    pub(super) fn go_in(
        mut self,
        welcome: &[u8],
        tree: Option<&[u8]>,
        plate: Option<&Doorplate>,
    ) -> Result<(Room, Voice), EnterError> {
        let sizes = check_size(Item::Welcome, welcome, MAX_MESSAGE)
            .and_then(|()| check_size(Item::Tree, tree.unwrap_or_default(), MAX_TREE));
        if let Err(error) = sizes {
            return Err(EnterError { guest: Box::new(self), error });
        }
        let (id, name) = (self.identity.id(), self.identity.name());
        let check = |doorstep: &Doorstep| {
            check(doorstep, id, name)?;
            plate.map_or(Ok(()), |plate| check_door(doorstep, plate, name))
        };
        match group::join(self.provider, welcome, tree, check) {
            Ok(Joined { group, charter, seats, undo }) => {
                let roster = Roster::new(seats, &charter, group.epoch());
                match Entrance::new(id, &group, &charter, &roster) {
                    Ok(entrance) => Ok(Room::begin(self.identity, group, charter, roster, entrance)),
                    Err(error) => {
                        self.provider = group.undo_join(undo);
                        Err(EnterError { guest: Box::new(self), error })
                    }
                }
            }
            Err((provider, error)) => {
                self.provider = provider;
                Err(EnterError { guest: Box::new(self), error })
            }
        }
    }
}

/// What a guest checks about a room before entering it.
fn check(room: &Doorstep, id: MemberId, name: &str) -> Result<()> {
    let inviter = check_room(room, id, name)?;
    let role: Role = room.charter.role(&id);
    permits(room.charter.role(&inviter.id), Action::Admit { role })
        .map_err(|why| Error::Denied(Box::new(denial(&inviter.name, &format!("admit {name} as a {role}"), why))))
}

/// What anybody checks about a room before entering it by a welcome, whoever they are to it. Gives who signed that.
pub(super) fn check_room<'a>(room: &'a Doorstep, id: MemberId, name: &str) -> Result<&'a Seat> {
    let bad_tree = |why| Error::Malformed { what: Item::Tree, why };
    let bad_settings = |why| Error::Malformed { what: Item::Settings, why };
    let mut ids = BTreeSet::new();
    for seat in &room.seats {
        if !ids.insert(seat.id) {
            return Err(bad_tree("it has the same key twice"));
        }
        // Not the capacity: in a room of a few the leaves may be far apart.
        if u64::from(seat.leaf.0) >> room.charter.settings.layout().sender_bits() != 0 {
            return Err(bad_tree("it has more leaves than the room's key ids can name"));
        }
    }
    if !room.seats.iter().any(|seat| seat.leaf == room.me && seat.id == id && seat.name == name) {
        return Err(bad_tree("your key and name are not at your leaf"));
    }
    if room.charter.standings().any(|(id, _)| !ids.contains(id)) {
        return Err(bad_settings("they give a role to somebody who is not in the room"));
    }
    if room.charter.hosts() == 0 {
        return Err(bad_settings("the room has no host"));
    }
    if room.charter.ended {
        return Err(bad_settings("the room has ended"));
    }
    if room.charter.links().any(|link| !room.charter.carries(link) || !ids.contains(&link.issuer)) {
        return Err(bad_settings("they list a link whose issuer is no host"));
    }
    if room.charter.garden.as_ref().is_some_and(|garden| garden.until > room.epoch.saturating_add(GARDEN_EPOCHS)) {
        return Err(bad_settings("they ask members to commit for longer than may be"));
    }
    if room.charter.is_banned(&id) {
        return Err(bad_settings("you are banned from the room"));
    }
    let Some(inviter) = room.seats.iter().find(|seat| seat.leaf == room.inviter) else {
        return Err(bad_tree("who signed the welcome is not in it"));
    };
    Ok(inviter)
}

/// What somebody checks who has knocked: whether this is the room behind that door, and who has let them in.
fn check_door(room: &Doorstep, plate: &Doorplate, name: &str) -> Result<()> {
    let elsewhere = |why| Error::Malformed { what: Item::Welcome, why };
    if room.room != plate.room() {
        return Err(elsewhere("it is for another room than the one you knocked at"));
    }
    if room.charter.role(&plate.host()) != Role::Host {
        return Err(elsewhere("the host who signed the doorplate is no host of this room"));
    }
    let inviter = room.seats.iter().find(|seat| seat.leaf == room.inviter);
    match inviter {
        Some(inviter) if plate.admitters().iter().any(|(id, _)| *id == inviter.id) => Ok(()),
        _ => {
            let by = inviter.map_or("somebody", |seat| seat.name.as_str());
            let why = "the doorplate does not name them: fetch it again, and call `Waiting::renew`";
            Err(Error::Denied(Box::new(denial(by, &format!("let {name} in"), why))))
        }
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Why somebody could not enter, and the guest, whose card is as good as before.
#[derive(Debug)]
pub struct EnterError {
    /// The guest, to try again with another welcome.
    pub guest: Box<Guest>,
    /// What was wrong.
    pub error: Error,
}

impl fmt::Display for EnterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot enter: {}", self.guest.identity.name(), self.error)
    }
}

impl std::error::Error for EnterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<EnterError> for Error {
    fn from(failed: EnterError) -> Self {
        failed.error
    }
}
