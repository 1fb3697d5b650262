//! Commits (RFC 9420 §12.4): making one's own, and telling what any of them would do.

use std::collections::BTreeSet;

use openmls::prelude::{
    Extension, ExtensionType, Extensions, GroupContext, KeyPackage, LeafNode, LeafNodeIndex, LeafNodeParameters,
    MlsMessageOut, OpenMlsProvider as _, Proposal, ProposalOrRefType, ProtocolVersion, QueuedAddProposal, Sender,
    StagedCommit, UnknownExtension,
};
use tls_codec::{Serialize as _, Size as _};

use super::{
    CHARTER, Group, LOST_IN_A_ROW, MEDIA_KEYS, Sweep, TREE_KEY,
    bounds::{Encoded, check_tree, check_welcome},
    bug, capabilities, context_extensions,
    crypto::Signed,
    index, leaf, leaf_extensions,
};
use crate::{
    error::{Error, Item, Result},
    identity::{Identity, LeafIndex},
    media::seal::MediaKey,
    media::sweep_stack,
    room::{
        MAX_MESSAGE, MAX_TREE,
        card::Card,
        charter::Charter,
        check_size,
        garden::{Garden, Shape},
        judge::{Newcomer, Proposed, denial},
        roster::Shift,
        tree::TreeKey,
    },
};

/// What a commit of one's own should do.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    pub(crate) adds: Vec<&'a Card>,
    pub(crate) removes: Vec<LeafIndex>,
    pub(crate) charter: Option<&'a Charter>,
    /// Whether the ratchet tree travels sealed beside the welcome, rather than in it.
    pub(crate) tree_apart: bool,
    /// Whether there is to be an update path though nothing else calls for one.
    pub(crate) binds: bool,
    /// Whether one's own media key stays, where there would be a fresh one.
    pub(crate) keeps_media_key: bool,
    /// Whether one is on stage after it, so that one's leaf certifies the media key.
    pub(crate) certifies: bool,
}

/// The messages of a commit of one's own.
#[derive(Clone)]
pub(crate) struct Bundle {
    pub(crate) commit: Vec<u8>,
    pub(crate) welcome: Option<Vec<u8>>,
    pub(crate) tree: Option<Vec<u8>>,
}

impl Bundle {
    /// Refuses what nobody would take: a commit of one's own that is too large would stay pending for ever.
    pub(crate) fn fits(self) -> Result<Self> {
        check_size(Item::Message, &self.commit, MAX_MESSAGE)?;
        check_size(Item::Welcome, self.welcome.as_deref().unwrap_or_default(), MAX_MESSAGE)?;
        self.welcome.as_deref().map_or(Ok(()), check_welcome)?;
        check_size(Item::Tree, self.tree.as_deref().unwrap_or_default(), MAX_TREE)?;
        Ok(self)
    }
}

impl Group {
    /// Makes a commit and keeps it pending: [`Group::merge_pending`] does it, [`Group::clear_pending`] drops it.
    ///
    /// Adds alone carry no update path; anything else, and a plan of nothing, refreshes one's own keys too, those that
    /// seal among them: whoever stole one can seal with it until then and no longer.
    pub(crate) fn commit(&mut self, identity: &Identity, plan: &Plan<'_>) -> Result<Bundle> {
        let _sweep = Sweep;
        let bundle = self.build(identity, plan);
        // openmls derives the keys of a path on rayon's threads, which live on with what is on their stacks. Nobody waits
        // for those that the app has given other work.
        rayon::spawn_broadcast(|_| sweep_stack());
        bundle
    }

    /// Whether so many commits of this epoch came to nothing that others could not read another.
    pub(crate) const fn has_no_commits_left(&self) -> bool {
        self.made > LOST_IN_A_ROW
    }

    // A call of its own, so that what it leaves on the stack lies where the sweep lays zeros.
    #[inline(never)]
    fn build(&mut self, identity: &Identity, plan: &Plan<'_>) -> Result<Bundle> {
        if self.has_no_commits_left() {
            let why = "too many of yours were made in this epoch and came to nothing: others could not read another. \
                       Receive one that the relay has taken, or wait until somebody else has made one";
            return Err(Error::Unusable { what: "commit", why });
        }
        let adds: Vec<KeyPackage> =
            plan.adds.iter().map(|card| leaf::key_package(card.as_bytes())).collect::<Result<_>>()?;
        self.check_keys(plan, &adds)?;
        self.check_dates(plan, &adds)?;
        let refresh = adds.is_empty() && plan.removes.is_empty() && plan.charter.is_none();
        let admits = !adds.is_empty();
        let tree_key = if admits && plan.tree_apart { Some(TreeKey::random()?) } else { None };

        let words_out = self.has_words_out();
        let adds_alone = admits && plan.removes.is_empty() && plan.charter.is_none() && !plan.binds && !words_out;
        let fresh = if adds_alone || plan.keeps_media_key { None } else { Some(MediaKey::generate()?) };

        let provider = self.provider.as_ref();
        let mut builder = self
            .mls
            .commit_builder()
            .consume_proposal_store(false)
            .force_self_update(refresh || plan.binds || words_out)
            .propose_removals(plan.removes.iter().copied().map(index))
            .propose_adds(adds);
        if !adds_alone {
            let media = plan.certifies.then(|| fresh.as_ref().unwrap_or(&provider.media));
            let extensions = leaf_extensions(identity, provider, media, provider.date)?;
            let leaf = LeafNodeParameters::builder()
                .with_capabilities(capabilities(media.map(|_| MEDIA_KEYS).into_iter()))
                .with_extensions(extensions);
            builder = builder.leaf_node_parameters(leaf.build());
        }
        if let Some(charter) = plan.charter {
            builder = builder.propose_group_context_extensions(context_extensions(charter)?).map_err(bug)?;
        }
        let mut builder = builder.load_psks(provider.storage()).map_err(bug)?;
        builder = builder.use_ratchet_tree_extension(admits && tree_key.is_none());
        if let Some(key) = &tree_key {
            let extension = Extension::Unknown(TREE_KEY, UnknownExtension(key.as_bytes().to_vec()));
            builder = builder.create_group_info_with_extensions([extension]).map_err(bug)?;
        }
        let messages = builder
            .create_group_info(false)
            .build(provider.rand(), provider.crypto(), identity.signer(), |_| true)
            .map_err(bug)?;
        self.made += 1;
        let messages = messages.stage_commit(provider).map_err(bug)?;

        self.fresh_media = fresh;
        let (commit, welcome, _) = messages.into_contents();
        let welcome = welcome.map(|welcome| MlsMessageOut::from_welcome(welcome, ProtocolVersion::Mls10).to_bytes());
        Ok(Bundle {
            commit: commit.to_bytes().map_err(bug)?,
            welcome: welcome.transpose().map_err(bug)?,
            tree: tree_key.map(|key| self.sealed_tree(&key)).transpose()?,
        })
    }

    pub(crate) fn merge_pending(&mut self) -> Result<Shift> {
        let me = self.me();
        let shift = self.mls.pending_commit().map(|staged| shift_of(staged, me)).transpose()?.unwrap_or_default();
        self.mls.merge_pending_commit(self.provider.as_ref()).map_err(bug)?;
        self.made = 0;
        self.provider.crypto.enter();
        if let Some(media) = self.fresh_media.take() {
            self.provider.media = media;
        }
        Ok(shift)
    }

    pub(crate) fn clear_pending(&mut self) {
        // Nothing of a pending commit is in our storage, so this cannot fail.
        let _ = self.mls.clear_pending_commit(self.provider.storage());
        self.fresh_media = None;
    }

    /// The ratchet tree as the pending commit leaves it, sealed for those it admits.
    fn sealed_tree(&self, key: &TreeKey) -> Result<Vec<u8>> {
        let pending = self.mls.pending_commit().ok_or_else(|| bug("a commit that was just made is gone"))?;
        let tree = pending.export_ratchet_tree(self.provider.crypto(), self.mls.export_ratchet_tree()).map_err(bug)?;
        let tree = tree.ok_or_else(|| bug("a commit of one's own has no tree"))?;
        let tree = tree.tls_serialize_detached().map_err(bug)?;
        check_tree(&tree)?;
        key.seal(self.id(), pending.epoch().as_u64(), &tree)
    }

    /// How many bytes the ratchet tree has, where it travels in a welcome.
    pub(crate) fn tree_len(&self) -> usize {
        self.mls.export_ratchet_tree().tls_serialized_len()
    }

    /// Whether the leaf keys of those whom `plan` brings in differ from each other and from all keys in the tree.
    fn check_keys(&self, plan: &Plan<'_>, adds: &[KeyPackage]) -> Result<()> {
        let keys: Vec<_> = adds.iter().map(|package| leaf::encryption_key(package.leaf_node())).collect();
        let known = self.known_among(&keys);
        let mut others = BTreeSet::new();
        // A leaf that goes by the same commit takes its key along.
        let stays = |leaf: &LeafNodeIndex| !plan.removes.contains(&LeafIndex(leaf.u32()));
        let leaves = self.mls.treesync().full_leaves().filter(|(at, _)| stays(at));
        let new: BTreeSet<_> = keys.iter().copied().collect();
        others.extend(leaves.map(|(_, leaf)| leaf::encryption_key(leaf)).filter(|key| new.contains(key)));
        let gardens = [plan.charter.and_then(|charter| charter.garden.clone()), self.charter()?.garden];
        let is_asked = |key: &[u8; 32]| gardens.iter().flatten().any(|garden| garden.has(key));
        for (card, key) in plan.adds.iter().zip(keys) {
            if known.contains(&key) || !others.insert(key) || key.is_some_and(|key| is_asked(&key)) {
                let why = "a key on their card is somebody else's, or another's place in the room's tree: a guest could \
                           enter no more; ask them for a fresh card";
                return Err(Error::Denied(Box::new(denial(card.name(), "enter", why))));
            }
        }
        Ok(())
    }

    /// The shape of the tree.
    pub(crate) fn shape(&self) -> Shape {
        let tree = self.mls.treesync();
        let leaves = tree.full_leaves().map(|(at, _)| LeafIndex(at.u32()));
        let mut buffer = Vec::with_capacity(128);
        let parents = tree.full_parents().map(|(at, parent)| {
            buffer.clear();
            let unmerged = parent.tls_serialize(&mut buffer).ok().and_then(|_| unmerged_leaves(&buffer));
            (2 * at.u32() as usize + 1, unmerged.unwrap_or(0))
        });
        Shape::new(leaves, parents)
    }

    /// Which of `keys` are those of parent nodes of the tree.
    ///
    /// Who enters demands that the keys of all leaves and all parent nodes differ (RFC 9420 §7.3, §12.4.3.1). openmls holds
    /// the keys that a commit brings against the leaves alone, and so would merge what lets nobody in after it.
    fn known_among(&self, keys: &[Option<[u8; 32]>]) -> BTreeSet<Option<[u8; 32]>> {
        let keys: BTreeSet<_> = keys.iter().collect();
        let mut buffer = Vec::with_capacity(128);
        let parents = self.mls.treesync().full_parents().filter(|_| !keys.is_empty());
        let parents = parents.filter_map(|(_, parent)| {
            // openmls shows a parent's key encoded only, as the first part of it, after its length.
            buffer.clear();
            parent.tls_serialize(&mut buffer).ok()?;
            buffer.strip_prefix(&[32]).and_then(<[u8]>::first_chunk).copied()
        });
        parents.map(Some).filter(|key| keys.contains(key)).collect()
    }

    /// What `staged`, made by whoever sits at `committer`, would do, in the room's terms; `signed` is what they signed, if
    /// that is somebody else, and `garden` who is asked to commit in this epoch.
    ///
    /// No leaf takes a key by whose first half somebody is asked: they would be asked again, or another with them.
    pub(super) fn describe(
        &self,
        committer: LeafIndex,
        staged: &StagedCommit,
        signed: Option<&Signed>,
        garden: Option<&Garden>,
    ) -> Proposed {
        let (before, after) = (self.mls.extensions(), staged.group_context().extensions());
        let charter = (charter_bytes(before) != charter_bytes(after)).then(|| read_charter(after));
        let replaced = charter.as_ref().and_then(|charter| charter.as_ref().ok()?.garden.as_ref());
        let gardens = [garden, replaced];
        let is_asked =
            |key: &Option<[u8; 32]>| key.is_some_and(|key| gardens.iter().flatten().any(|garden| garden.has(&key)));
        let leaf = staged.update_path_leaf_node();
        // The keys of this member's own path were drawn here.
        let path = leaf.zip(signed).map(|(leaf, signed)| signed.path_keys(leaf.tls_serialized_len()));
        let is_hidden = path == Some(None);
        let path = leaf.map(leaf::encryption_key).into_iter().chain(path.flatten().into_iter().flatten().map(Some));
        let path: Vec<_> = path.collect();
        let known = self
            .known_among(&staged.add_proposals().map(|add| added_key(&add)).chain(path.clone()).collect::<Vec<_>>());
        let mut proposed = Proposed {
            committer,
            adds: Vec::new(),
            removes: Vec::new(),
            charter: None,
            other_extensions_kept: true,
            path: leaf.map(|leaf: &LeafNode| leaf::newcomer(leaf)),
            foreign: (is_hidden || path.iter().any(|key| known.contains(key) || is_asked(key)))
                .then_some("put a key into the tree that is in it already, or half of one by which somebody is asked"),
            shape: None,
        };
        for queued in staged.queued_proposals() {
            let foreign = match queued.proposal() {
                // openmls refuses these before, for nothing is ever kept that a reference could name.
                _ if queued.proposal_or_ref_type() == ProposalOrRefType::Reference => {
                    Some("commit a proposal by reference")
                }
                _ if *queued.sender() != Sender::Member(index(committer)) => Some("commit somebody else's proposal"),
                Proposal::Add(add) => {
                    let package = add.key_package();
                    let key = leaf::encryption_key(package.leaf_node());
                    let has_new_key = !known.contains(&key) && !is_asked(&key);
                    proposed.adds.push(Newcomer { has_new_key, ..leaf::admitted(package) });
                    None
                }
                Proposal::Remove(remove) => {
                    proposed.removes.push(LeafIndex(remove.removed().u32()));
                    None
                }
                Proposal::GroupContextExtensions(_) => None,
                Proposal::Update(_) => Some("commit an update proposal"),
                Proposal::PreSharedKey(_) => Some("inject a pre-shared key"),
                Proposal::ReInit(_) => Some("restart the group"),
                Proposal::ExternalInit(_) => Some("enter by external commit"),
                Proposal::SelfRemove => Some("commit a self-removal"),
                _ => Some("commit a proposal of an unknown kind"),
            };
            proposed.foreign = proposed.foreign.or(foreign);
        }
        proposed.other_extensions_kept = others(before).eq(others(after));
        if matches!(charter, Some(Ok(Charter { garden: Some(_), .. }))) {
            let removes = proposed.removes.iter().copied().collect();
            proposed.shape = Some(self.shape().after(&removes, committer));
        }
        proposed.charter = charter;
        proposed
    }
}

/// What `staged`, made by whoever sits at `committer`, does to the leaves.
pub(super) fn shift_of(staged: &StagedCommit, committer: LeafIndex) -> Result<Shift> {
    let renewed = staged.update_path_leaf_node().map(|leaf| (index(committer), leaf));
    Ok(Shift {
        removed: staged.remove_proposals().map(|remove| LeafIndex(remove.remove_proposal().removed().u32())).collect(),
        renewed: leaf::seats(renewed.into_iter())?.pop(),
        has_added: staged.add_proposals().next().is_some(),
    })
}

fn added_key(add: &QueuedAddProposal<'_>) -> Option<[u8; 32]> {
    leaf::encryption_key(add.add_proposal().key_package().leaf_node())
}

/// How many unmerged leaves an encoded parent node has, four bytes each (RFC 9420 §7.1): key, parent hash, those.
fn unmerged_leaves(parent: &[u8]) -> Option<u32> {
    let mut rest = Encoded(parent);
    rest.vector()?;
    rest.vector()?;
    u32::try_from(rest.vector()?.len() / 4).ok()
}

/// The room's charter, out of a group's extensions.
pub(super) fn read_charter(extensions: &Extensions<GroupContext>) -> Result<Charter> {
    let missing = Error::Malformed { what: Item::Settings, why: "the group has none: it is no parlor room" };
    Charter::decode(charter_bytes(extensions).ok_or(missing)?)
}

fn charter_bytes(extensions: &Extensions<GroupContext>) -> Option<&[u8]> {
    extensions.unknown(CHARTER).map(|extension| extension.0.as_slice())
}

fn others(extensions: &Extensions<GroupContext>) -> impl Iterator<Item = &Extension> {
    extensions.iter().filter(|extension| extension.extension_type() != ExtensionType::Unknown(CHARTER))
}
