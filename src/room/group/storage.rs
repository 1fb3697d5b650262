//! Where openmls keeps what it reads back: in memory, wiped when dropped.
//!
//! A live room reads back two kinds of record: the HPKE key pairs of its epoch, and the key package of a guest
//! who has not entered yet. All else that openmls stores it also holds in the group itself, and gives to nobody but
//! its storage. For snapshots the [`Part`]s of the group are kept too, the small ones always; the ratchet tree and the
//! secrets of messages, which grow with the room and are written with every commit or every message, are taken when a
//! snapshot is made and at no other time. Pre-shared keys are dropped: no commit can bring in a secret from outside the
//! room.
//!
//! Records are JSON, because the compact formats write openmls's types and then fail to read them. The buffer
//! they are written into wipes itself, and the one it leaves behind when it grows.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use openmls_traits::storage::{
    CURRENT_VERSION, StorageProvider,
    traits::{
        ConfirmationTag, EncryptionKey, EpochKey, GroupContext, GroupEpochSecrets, GroupId, GroupState, HashReference,
        HpkeKeyPair, InterimTranscriptHash, KeyPackage, LeafNode, LeafNodeIndex, MessageSecrets, MlsGroupJoinConfig,
        ProposalRef, PskBundle, PskId, QueuedProposal, ResumptionPskStore, SignatureKeyPair, SignaturePublicKey,
        TreeSync,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::bytes::Writer;

/// A record that could not be written or read: a bug, for everything here stays in memory.
#[derive(Debug, thiserror::Error)]
#[error("a record of the group does not survive JSON: {0}")]
pub(crate) struct StorageError(#[from] serde_json::Error);

/// Every record, each wiped when dropped.
pub(crate) type Records = BTreeMap<Key, Zeroizing<Vec<u8>>>;

/// The records of one room or one guest.
#[derive(Default)]
pub(crate) struct Storage {
    records: Mutex<Records>,
    /// Whether what is large is kept too.
    takes_all: AtomicBool,
    /// How long the longest of them was: what is written into a buffer that grows is copied, and wiped, several times.
    longest: AtomicUsize,
}

/// What a record is found by. The public keys and epochs in here are no secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    EpochKeyPairs(Vec<u8>),
    Package(Vec<u8>),
    Part(Part),
}

/// A part of the group as openmls cuts it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Part {
    Tree,
    Context,
    ConfirmationTag,
    InterimTranscriptHash,
    OwnLeaf,
    EpochSecrets,
    MessageSecrets,
    Resumption,
    JoinConfig,
    /// Whether a commit is pending, and which.
    State,
}

impl Part {
    pub(crate) const ALL: [Self; 10] = [
        Self::Tree,
        Self::Context,
        Self::ConfirmationTag,
        Self::InterimTranscriptHash,
        Self::OwnLeaf,
        Self::EpochSecrets,
        Self::MessageSecrets,
        Self::Resumption,
        Self::JoinConfig,
        Self::State,
    ];

    /// Whether it grows with the room.
    const fn is_large(self) -> bool {
        matches!(self, Self::Tree | Self::Context | Self::MessageSecrets)
    }
}

impl Key {
    /// Its kind, and the rest of it.
    pub(crate) fn to_bytes(&self) -> (u8, &[u8]) {
        match self {
            Self::EpochKeyPairs(key) => (0, key),
            Self::Package(key) => (1, key),
            Self::Part(part) => (2 + *part as u8, &[]),
        }
    }

    /// What [`to_bytes`](Self::to_bytes) gave; `None` for a kind that is unknown.
    pub(crate) fn from_bytes(kind: u8, key: &[u8]) -> Option<Self> {
        Some(match kind {
            0 => Self::EpochKeyPairs(key.to_vec()),
            1 => Self::Package(key.to_vec()),
            _ => Self::Part(*Part::ALL.get(usize::from(kind).checked_sub(2)?)?),
        })
    }
}

impl Storage {
    /// A copy of every record, to go back to with [`Storage::roll_back`].
    pub(crate) fn copy(&self) -> Records {
        self.records().clone()
    }

    /// Goes back to `copy`.
    pub(crate) fn roll_back(&self, copy: Records) {
        *self.records() = copy;
    }

    /// Wipes every key package.
    pub(crate) fn forget_key_packages(&self) {
        self.records().retain(|key, _| !matches!(key, Key::Package(_)));
    }

    /// Takes what `write` has openmls write, however large.
    pub(crate) fn take_all<E>(&self, write: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        self.takes_all.store(true, Ordering::Relaxed);
        let written = write();
        self.takes_all.store(false, Ordering::Relaxed);
        written
    }

    /// Puts in a part that openmls shows as it is.
    pub(crate) fn put_part(&self, part: Part, value: &impl Serialize) -> Result<(), StorageError> {
        self.put(Key::Part(part), value)
    }

    /// Puts in records as they were read.
    pub(crate) fn fill(&self, records: Records) {
        *self.records() = records;
    }

    /// All records, for a snapshot; what is large is kept no longer.
    pub(crate) fn for_snapshot(&self) -> Records {
        let mut records = self.records();
        let all = mem::take(&mut *records);
        *records = all
            .iter()
            .filter(|(key, _)| !matches!(key, Key::Part(part) if part.is_large()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        all
    }

    fn write_part(&self, part: Part, value: &impl Serialize) -> Result<(), StorageError> {
        if part.is_large() && !self.takes_all.load(Ordering::Relaxed) {
            Ok(())
        } else {
            self.put(Key::Part(part), value)
        }
    }

    fn read_part<T: DeserializeOwned>(&self, part: Part) -> Result<Option<T>, StorageError> {
        self.read(&Key::Part(part))
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        // The map is whole between any two of our statements, so a poisoned lock guards a good map.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: Key, value: &(impl Serialize + ?Sized)) -> Result<(), StorageError> {
        let is_large = matches!(key, Key::Part(part) if part.is_large());
        let hint = if is_large { self.longest.load(Ordering::Relaxed) } else { 0 };
        let json = to_json(value, hint)?;
        if is_large {
            self.longest.fetch_max(json.len() + json.len() / 16, Ordering::Relaxed);
        }
        self.records().insert(key, json);
        Ok(())
    }

    fn read<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, StorageError> {
        match self.records().get(key) {
            Some(json) => Ok(Some(serde_json::from_slice(json)?)),
            None => Ok(None),
        }
    }

    fn delete(&self, key: &Key) {
        self.records().remove(key);
    }
}

fn epoch_key(group: &impl Serialize, epoch: &impl Serialize, leaf: u32) -> Result<Key, StorageError> {
    Ok(Key::EpochKeyPairs(serde_json::to_vec(&(group, epoch, leaf))?))
}

fn package_key(reference: &impl Serialize) -> Result<Key, StorageError> {
    Ok(Key::Package(serde_json::to_vec(reference)?))
}

fn to_json(value: &(impl Serialize + ?Sized), hint: usize) -> Result<Zeroizing<Vec<u8>>, StorageError> {
    let mut out = Writer::with_capacity(hint.max(1024));
    serde_json::to_writer(&mut out, value)?;
    Ok(out.done())
}

/// Calls for a part of the group.
macro_rules! part {
    ($($write:ident, $read:ident, $bound:ident: $part:ident;)*) => {
        $(part!(@one $write, $read, $bound, $part);)*
    };
    (@one write_group_state, group_state, $bound:ident, $part:ident) => {
        fn write_group_state<Value: $bound<CURRENT_VERSION>, Group: GroupId<CURRENT_VERSION>>(
            &self, _: &Group, value: &Value,
        ) -> Result<(), Self::Error> {
            self.write_part(Part::$part, value)
        }
        fn group_state<Value: $bound<CURRENT_VERSION>, Group: GroupId<CURRENT_VERSION>>(
            &self, _: &Group,
        ) -> Result<Option<Value>, Self::Error> {
            self.read_part(Part::$part)
        }
    };
    (@one $write:ident, $read:ident, $bound:ident, $part:ident) => {
        fn $write<Group: GroupId<CURRENT_VERSION>, Value: $bound<CURRENT_VERSION>>(
            &self, _: &Group, value: &Value,
        ) -> Result<(), Self::Error> {
            self.write_part(Part::$part, value)
        }
        fn $read<Group: GroupId<CURRENT_VERSION>, Value: $bound<CURRENT_VERSION>>(
            &self, _: &Group,
        ) -> Result<Option<Value>, Self::Error> {
            self.read_part(Part::$part)
        }
    };
}

/// Calls whose records a live room never reads back.
macro_rules! dropped {
    ($($name:ident<$($p:ident: $bound:ident),*>($($arg:ty),*) -> $out:ty = $value:expr;)*) => {
        $(fn $name<$($p: $bound<CURRENT_VERSION>),*>(&self, $(_: $arg),*) -> Result<$out, Self::Error> {
            Ok($value)
        })*
    };
}

impl StorageProvider<CURRENT_VERSION> for Storage {
    type Error = StorageError;

    fn write_encryption_epoch_key_pairs<
        Group: GroupId<CURRENT_VERSION>,
        Epoch: EpochKey<CURRENT_VERSION>,
        Pair: HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group: &Group,
        epoch: &Epoch,
        leaf: u32,
        pairs: &[Pair],
    ) -> Result<(), StorageError> {
        self.put(epoch_key(group, epoch, leaf)?, pairs)
    }

    fn encryption_epoch_key_pairs<
        Group: GroupId<CURRENT_VERSION>,
        Epoch: EpochKey<CURRENT_VERSION>,
        Pair: HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        group: &Group,
        epoch: &Epoch,
        leaf: u32,
    ) -> Result<Vec<Pair>, StorageError> {
        Ok(self.read(&epoch_key(group, epoch, leaf)?)?.unwrap_or_default())
    }

    fn delete_encryption_epoch_key_pairs<Group: GroupId<CURRENT_VERSION>, Epoch: EpochKey<CURRENT_VERSION>>(
        &self,
        group: &Group,
        epoch: &Epoch,
        leaf: u32,
    ) -> Result<(), StorageError> {
        self.delete(&epoch_key(group, epoch, leaf)?);
        Ok(())
    }

    fn write_key_package<Ref: HashReference<CURRENT_VERSION>, Package: KeyPackage<CURRENT_VERSION>>(
        &self,
        reference: &Ref,
        package: &Package,
    ) -> Result<(), StorageError> {
        self.put(package_key(reference)?, package)
    }

    fn key_package<Ref: HashReference<CURRENT_VERSION>, Package: KeyPackage<CURRENT_VERSION>>(
        &self,
        reference: &Ref,
    ) -> Result<Option<Package>, StorageError> {
        self.read(&package_key(reference)?)
    }

    fn delete_key_package<Ref: HashReference<CURRENT_VERSION>>(&self, reference: &Ref) -> Result<(), StorageError> {
        self.delete(&package_key(reference)?);
        Ok(())
    }

    part! {
        write_tree, tree, TreeSync: Tree;
        write_interim_transcript_hash, interim_transcript_hash, InterimTranscriptHash: InterimTranscriptHash;
        write_context, group_context, GroupContext: Context;
        write_confirmation_tag, confirmation_tag, ConfirmationTag: ConfirmationTag;
        write_message_secrets, message_secrets, MessageSecrets: MessageSecrets;
        write_resumption_psk_store, resumption_psk_store, ResumptionPskStore: Resumption;
        write_own_leaf_index, own_leaf_index, LeafNodeIndex: OwnLeaf;
        write_group_epoch_secrets, group_epoch_secrets, GroupEpochSecrets: EpochSecrets;
        write_mls_join_config, mls_group_join_config, MlsGroupJoinConfig: JoinConfig;
        write_group_state, group_state, GroupState: State;
    }

    dropped! {
        append_own_leaf_node<A: GroupId, B: LeafNode>(&A, &B) -> () = ();
        queue_proposal<A: GroupId, B: ProposalRef, C: QueuedProposal>(&A, &B, &C) -> () = ();
        write_signature_key_pair<A: SignaturePublicKey, B: SignatureKeyPair>(&A, &B) -> () = ();
        write_encryption_key_pair<A: EncryptionKey, B: HpkeKeyPair>(&A, &B) -> () = ();
        write_psk<A: PskId, B: PskBundle>(&A, &B) -> () = ();
        own_leaf_nodes<A: GroupId, B: LeafNode>(&A) -> Vec<B> = Vec::new();
        queued_proposal_refs<A: GroupId, B: ProposalRef>(&A) -> Vec<B> = Vec::new();
        queued_proposals<A: GroupId, B: ProposalRef, C: QueuedProposal>(&A) -> Vec<(B, C)> = Vec::new();
        signature_key_pair<A: SignaturePublicKey, B: SignatureKeyPair>(&A) -> Option<B> = None;
        encryption_key_pair<A: HpkeKeyPair, B: EncryptionKey>(&B) -> Option<A> = None;
        psk<A: PskBundle, B: PskId>(&B) -> Option<A> = None;
        remove_proposal<A: GroupId, B: ProposalRef>(&A, &B) -> () = ();
        delete_own_leaf_nodes<A: GroupId>(&A) -> () = ();
        delete_group_config<A: GroupId>(&A) -> () = ();
        delete_tree<A: GroupId>(&A) -> () = ();
        delete_confirmation_tag<A: GroupId>(&A) -> () = ();
        delete_group_state<A: GroupId>(&A) -> () = ();
        delete_context<A: GroupId>(&A) -> () = ();
        delete_interim_transcript_hash<A: GroupId>(&A) -> () = ();
        delete_message_secrets<A: GroupId>(&A) -> () = ();
        delete_all_resumption_psk_secrets<A: GroupId>(&A) -> () = ();
        delete_own_leaf_index<A: GroupId>(&A) -> () = ();
        delete_group_epoch_secrets<A: GroupId>(&A) -> () = ();
        clear_proposal_queue<A: GroupId, B: ProposalRef>(&A) -> () = ();
        delete_signature_key_pair<A: SignaturePublicKey>(&A) -> () = ();
        delete_encryption_key_pair<A: EncryptionKey>(&A) -> () = ();
        delete_psk<A: PskId>(&A) -> () = ();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_back_brings_deleted_records_back() {
        let storage = Storage::default();
        storage.put(Key::Package(vec![1]), &"secret").unwrap();
        let copy = storage.copy();
        storage.delete(&Key::Package(vec![1]));
        assert_eq!(storage.read::<String>(&Key::Package(vec![1])).unwrap(), None);
        storage.roll_back(copy);
        assert_eq!(storage.read::<String>(&Key::Package(vec![1])).unwrap().as_deref(), Some("secret"));
    }
}
