//! Where openmls keeps what it reads back: in memory, wiped when dropped.
//!
//! A live room reads back two kinds of record: the HPKE key pairs of its epoch, and the key package of a guest
//! who has not entered yet. Everything else that openmls stores it also holds in the group itself; those calls
//! are dropped here, so that no second copy of any secret exists. Pre-shared keys are dropped too: no commit can
//! bring in a secret from outside the room.
//!
//! Records are JSON, because the compact formats write openmls's types and then fail to read them. The buffer
//! they are written into wipes itself, and the one it leaves behind when it grows.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
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
}

/// What a record is found by. The public keys and epochs in here are no secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    EpochKeyPairs(Vec<u8>),
    KeyPackage(Vec<u8>),
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
        self.records().retain(|key, _| !matches!(key, Key::KeyPackage(_)));
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        // The map is whole between any two of our statements, so a poisoned lock guards a good map.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: Key, value: &(impl Serialize + ?Sized)) -> Result<(), StorageError> {
        self.records().insert(key, to_json(value)?);
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
    Ok(Key::KeyPackage(serde_json::to_vec(reference)?))
}

fn to_json(value: &(impl Serialize + ?Sized)) -> Result<Zeroizing<Vec<u8>>, StorageError> {
    let mut out = Wiping(Zeroizing::new(Vec::with_capacity(1024)));
    serde_json::to_writer(&mut out, value)?;
    Ok(out.0)
}

/// A growing buffer that leaves no copy of its content behind: the standard one frees its old memory as it is.
struct Wiping(Zeroizing<Vec<u8>>);

impl Write for Wiping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let need = self.0.len().saturating_add(bytes.len());
        if need > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(need.max(self.0.capacity().saturating_mul(2))));
            larger.extend_from_slice(&self.0);
            // The old buffer is wiped over its whole capacity as it goes.
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

    dropped! {
        write_mls_join_config<A: GroupId, B: MlsGroupJoinConfig>(&A, &B) -> () = ();
        append_own_leaf_node<A: GroupId, B: LeafNode>(&A, &B) -> () = ();
        queue_proposal<A: GroupId, B: ProposalRef, C: QueuedProposal>(&A, &B, &C) -> () = ();
        write_tree<A: GroupId, B: TreeSync>(&A, &B) -> () = ();
        write_interim_transcript_hash<A: GroupId, B: InterimTranscriptHash>(&A, &B) -> () = ();
        write_context<A: GroupId, B: GroupContext>(&A, &B) -> () = ();
        write_confirmation_tag<A: GroupId, B: ConfirmationTag>(&A, &B) -> () = ();
        write_group_state<A: GroupState, B: GroupId>(&B, &A) -> () = ();
        write_message_secrets<A: GroupId, B: MessageSecrets>(&A, &B) -> () = ();
        write_resumption_psk_store<A: GroupId, B: ResumptionPskStore>(&A, &B) -> () = ();
        write_own_leaf_index<A: GroupId, B: LeafNodeIndex>(&A, &B) -> () = ();
        write_group_epoch_secrets<A: GroupId, B: GroupEpochSecrets>(&A, &B) -> () = ();
        write_signature_key_pair<A: SignaturePublicKey, B: SignatureKeyPair>(&A, &B) -> () = ();
        write_encryption_key_pair<A: EncryptionKey, B: HpkeKeyPair>(&A, &B) -> () = ();
        write_psk<A: PskId, B: PskBundle>(&A, &B) -> () = ();
        mls_group_join_config<A: GroupId, B: MlsGroupJoinConfig>(&A) -> Option<B> = None;
        own_leaf_nodes<A: GroupId, B: LeafNode>(&A) -> Vec<B> = Vec::new();
        queued_proposal_refs<A: GroupId, B: ProposalRef>(&A) -> Vec<B> = Vec::new();
        queued_proposals<A: GroupId, B: ProposalRef, C: QueuedProposal>(&A) -> Vec<(B, C)> = Vec::new();
        tree<A: GroupId, B: TreeSync>(&A) -> Option<B> = None;
        group_context<A: GroupId, B: GroupContext>(&A) -> Option<B> = None;
        interim_transcript_hash<A: GroupId, B: InterimTranscriptHash>(&A) -> Option<B> = None;
        confirmation_tag<A: GroupId, B: ConfirmationTag>(&A) -> Option<B> = None;
        group_state<A: GroupState, B: GroupId>(&B) -> Option<A> = None;
        message_secrets<A: GroupId, B: MessageSecrets>(&A) -> Option<B> = None;
        resumption_psk_store<A: GroupId, B: ResumptionPskStore>(&A) -> Option<B> = None;
        own_leaf_index<A: GroupId, B: LeafNodeIndex>(&A) -> Option<B> = None;
        group_epoch_secrets<A: GroupId, B: GroupEpochSecrets>(&A) -> Option<B> = None;
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
    fn a_buffer_grows_and_keeps_what_was_written() {
        let mut out = Wiping(Zeroizing::new(Vec::new()));
        let mut want = Vec::new();
        for i in 0..=255_u8 {
            out.write_all(&[i; 37]).unwrap();
            want.extend_from_slice(&[i; 37]);
        }
        assert_eq!(*out.0, want);
    }

    #[test]
    fn a_roll_back_brings_deleted_records_back() {
        let storage = Storage::default();
        storage.put(Key::KeyPackage(vec![1]), &"secret").unwrap();
        let copy = storage.copy();
        storage.delete(&Key::KeyPackage(vec![1]));
        assert_eq!(storage.read::<String>(&Key::KeyPackage(vec![1])).unwrap(), None);
        storage.roll_back(copy);
        assert_eq!(storage.read::<String>(&Key::KeyPackage(vec![1])).unwrap().as_deref(), Some("secret"));
    }
}
