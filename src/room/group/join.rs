//! Entering by a Welcome (RFC 9420 §12.4.3.1).
//!
//! openmls deletes a guest's key package when it has read a welcome, before it knows whether the welcome is any
//! good; so the guest's records are copied first, and brought back if anything fails.

use openmls::prelude::{
    JoinBuilder, MlsGroup, MlsMessageBodyIn, MlsMessageIn, ProcessedWelcome, RatchetTreeIn, StagedWelcome, Welcome,
    WelcomeError,
};
use tls_codec::{Deserialize as _, DeserializeBytes as _, Serialize as _};

use super::{
    CIPHERSUITE, Group, Provider, Sweep, TREE_KEY,
    bounds::{MLS_WELCOME, check_tree, check_welcome},
    bug,
    commit::read_charter,
    join_config, leaf, required_capabilities,
    storage::Records,
};
use crate::{
    error::{Error, Item, Result},
    identity::LeafIndex,
    room::{charter::Charter, roster::Seat, tree::TreeKey},
};

/// A group as a guest finds it, before entering.
pub(crate) struct Doorstep {
    /// The group's id.
    pub(crate) room: Vec<u8>,
    pub(crate) epoch: u64,
    /// Who is in it; their door and media keys are not read yet.
    pub(crate) seats: Vec<Seat>,
    pub(crate) charter: Charter,
    pub(crate) inviter: LeafIndex,
    pub(crate) me: LeafIndex,
}

/// A group that a guest has entered.
pub(crate) struct Joined {
    pub(crate) group: Group,
    pub(crate) charter: Charter,
    pub(crate) seats: Vec<Seat>,
    /// The guest's records as they were, for [`Group::undo_join`].
    pub(crate) undo: Records,
}

impl Group {
    /// Makes a guest again of who has just entered.
    pub(crate) fn undo_join(self, undo: Records) -> Box<Provider> {
        self.provider.storage.roll_back(undo);
        self.provider
    }
}

/// Enters the group that `welcome` is for, if `check` agrees. On failure the provider comes back as it was.
pub(crate) fn join(
    mut provider: Box<Provider>,
    welcome: &[u8],
    sealed_tree: Option<&[u8]>,
    check: impl FnOnce(&Doorstep) -> Result<()>,
) -> Result<Joined, (Box<Provider>, Error)> {
    let undo = provider.storage.copy();
    // Whichever way this goes, when it is over.
    let _sweep = Sweep;
    match try_join(&provider, welcome, sealed_tree, check) {
        Ok((mls, charter, seats)) => {
            // A guest has one membership to give: what other cards of theirs are about goes with it.
            provider.storage.forget_key_packages();
            provider.date = mls.own_leaf_node().map_or(0, leaf::date);
            let group = Group { provider, mls: Box::new(mls), fresh_media: None, made: 0, _sweep: Sweep };
            Ok(Joined { group, charter, seats, undo })
        }
        Err(error) => {
            provider.storage.roll_back(undo);
            Err((provider, error))
        }
    }
}

#[inline(never)]
fn try_join(
    provider: &Provider,
    welcome: &[u8],
    sealed_tree: Option<&[u8]>,
    check: impl FnOnce(&Doorstep) -> Result<()>,
) -> Result<(MlsGroup, Charter, Vec<Seat>)> {
    let welcome = read_welcome(welcome)?;
    let processed = ProcessedWelcome::new_from_welcome(provider, &join_config(), welcome).map_err(refused)?;

    let info = processed.unverified_group_info();
    if let Some(extension) = info.extensions().ratchet_tree() {
        check_tree(&extension.ratchet_tree().tls_serialize_detached().map_err(bug)?)?;
    }
    let tree = match (info.extensions().unknown(TREE_KEY), sealed_tree) {
        (None, None) => None,
        (Some(key), Some(sealed)) => {
            let tree = TreeKey::from_bytes(&key.0)?.open(info.group_id().as_slice(), info.epoch().as_u64(), sealed)?;
            Some(read_tree(&tree)?)
        }
        (Some(_), None) => {
            let why = "the room's tree travels apart: fetch it and give it too (`enter_with_tree`)";
            return Err(Error::Unusable { what: "Guest::enter", why });
        }
        (None, Some(_)) => {
            let why = "this welcome brings its own tree: call `enter`";
            return Err(Error::Unusable { what: "Guest::enter_with_tree", why });
        }
    };

    // One member whose card has expired since must not keep everybody else out.
    let mut builder = JoinBuilder::new(provider, processed).skip_lifetime_validation().replace_old_group();
    if let Some(tree) = tree {
        builder = builder.with_ratchet_tree(tree);
    }
    let staged = builder.build().map_err(refused)?;
    let doorstep = Doorstep {
        room: staged.group_context().group_id().as_slice().to_vec(),
        epoch: staged.group_context().epoch().as_u64(),
        seats: leaf::strangers(staged.members())?,
        charter: inspect(&staged)?,
        inviter: LeafIndex(staged.welcome_sender_index().u32()),
        me: LeafIndex(staged.own_leaf_index().u32()),
    };
    check(&doorstep)?;
    let mls = staged.into_group(provider).map_err(refused)?;
    let seats = leaf::seats(mls.treesync().full_leaves())?;
    Ok((mls, doorstep.charter, seats))
}

pub(super) fn read_welcome(bytes: &[u8]) -> Result<Welcome> {
    let malformed = |why| Error::Malformed { what: Item::Welcome, why };
    match bytes.get(2..4) {
        Some([0, MLS_WELCOME]) => check_welcome(bytes)?,
        _ => return Err(malformed("it is an MLS message of another kind")),
    }
    let message = MlsMessageIn::tls_deserialize_exact_bytes(bytes)
        .map_err(|_| malformed("it is no MLS message, or was cut short"))?;
    let MlsMessageBodyIn::Welcome(welcome) = message.extract() else {
        return Err(malformed("it is an MLS message of another kind"));
    };
    if welcome.ciphersuite() != CIPHERSUITE {
        return Err(malformed("it is for another MLS suite than parlor's"));
    }
    Ok(welcome)
}

fn read_tree(mut bytes: &[u8]) -> Result<RatchetTreeIn> {
    check_tree(bytes)?;
    // Not by `tls_deserialize_exact_bytes`, which in builds with debug assertions panics where a vector of bytes ends
    // before its length.
    match RatchetTreeIn::tls_deserialize(&mut bytes) {
        Ok(tree) if bytes.is_empty() => Ok(tree),
        _ => Err(Error::Malformed { what: Item::Tree, why: "it does not parse" }),
    }
}

/// Whether the group is a room at all: exactly the extensions a room has.
fn inspect(staged: &StagedWelcome) -> Result<Charter> {
    let extensions = staged.group_context().extensions();
    if extensions.iter().count() != 2 || extensions.required_capabilities() != Some(&required_capabilities()) {
        return Err(Error::Malformed { what: Item::Settings, why: "the group is no parlor room" });
    }
    read_charter(extensions)
}

fn refused<E>(error: WelcomeError<E>) -> Error {
    let malformed = |why| Error::Malformed { what: Item::Welcome, why };
    match error {
        WelcomeError::NoMatchingKeyPackage | WelcomeError::JoinerSecretNotFound => {
            malformed("it is for somebody else, or for a card of yours that was used before")
        }
        WelcomeError::GroupSecrets(_) | WelcomeError::UnableToDecrypt | WelcomeError::GroupInfo(_) => {
            malformed("it does not decrypt: it was damaged on its way")
        }
        WelcomeError::MissingRatchetTree => malformed("it has no ratchet tree and no key to one"),
        WelcomeError::PublicGroupError(_) | WelcomeError::PublicTreeError(_) => {
            Error::Malformed { what: Item::Tree, why: "it is not the tree of the room this welcome is for" }
        }
        _ => malformed("what it says of its room does not hold together"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_ends_before_its_length_or_goes_on_after_it_is_refused() {
        // No node; a blank one, then more; a vector of 18 bytes with one; a leaf whose key is longer than all there is.
        for bytes in [&[0, 7][..], &[1, 0, 0], &[18, 1], &[4, 1, 1, 32, 7], &[82, 42], &[111, 1, 115, 69, 42]] {
            let error = read_tree(bytes).err().unwrap();
            assert!(matches!(error, Error::Malformed { what: Item::Tree, .. }), "{bytes:?}: {error}");
        }
        assert!(read_tree(&[1, 0]).is_ok());
    }
}
