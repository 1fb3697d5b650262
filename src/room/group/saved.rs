//! A group in a snapshot, and out of one.
//!
//! ```text
//! id length (4) ‖ id
//!   ‖ count (4) ‖ count × [ kind (1) ‖ length (4) ‖ key ‖ length (4) ‖ record ]
//!   ‖ door key: public (32) ‖ length (4) ‖ secret
//!   ‖ the date of one's own next leaf (8) ‖ media key's seed (32) ‖ 1 and the seed (32) that a pending commit brings in, or 0
//!   ‖ how many commits were made in this epoch (8)
//! ```
//!
//! The records are openmls's own JSON. Whoever wrote them had the vault's key: they are trusted to be a group, not to
//! be whole, for what does not read is an error.

use std::{collections::BTreeMap, time::Duration};

use openmls::prelude::{GroupId, MlsGroup, PastEpochDeletion};
use zeroize::Zeroizing;

use super::{
    Group, Provider, Sweep, bug,
    hpke::DoorKey,
    join_config,
    storage::{Key, Part, Storage},
};
use crate::{
    bytes::{Reader, Writer},
    error::{Error, Item, Result},
    media::seal::MediaKey,
    room::judge::Proposed,
};

/// Room for what is written beside the records, in bytes.
const AROUND: usize = 64 * 1024;

impl Group {
    /// Writes all that it takes to go on with the group.
    pub(crate) fn save(&mut self, out: &mut Writer) -> Result<()> {
        let _sweep = Sweep;
        self.store_message_secrets()?;
        let Provider { storage, door, media, date, .. } = self.provider.as_ref();
        storage.put_part(Part::Tree, self.mls.treesync()).map_err(bug)?;
        storage.put_part(Part::Context, self.mls.public_group().group_context()).map_err(bug)?;

        out.long("room id", self.mls.group_id().as_slice())?;
        let records = storage.for_snapshot();
        out.count("records", records.len())?;
        out.reserve(records.values().map(|record| record.len() + 64).sum::<usize>() + AROUND);
        for (key, record) in &records {
            let (kind, key) = key.to_bytes();
            out.put(&[kind]);
            out.long("record", key)?;
            out.long("record", record)?;
        }
        door.save(out)?;
        out.put(&date.to_be_bytes());
        out.put(media.seed());
        out.flag(self.fresh_media.is_some());
        self.fresh_media.iter().for_each(|media| out.put(media.seed()));
        out.put(&u64::from(self.made).to_be_bytes());
        Ok(())
    }

    /// Has openmls put in the secrets of messages, which it shows to nobody but its storage.
    pub(super) fn store_message_secrets(&mut self) -> Result<()> {
        // It deletes nothing, and writes what is left.
        let nothing = PastEpochDeletion::older_than_duration(Duration::MAX);
        let (mls, provider) = (&mut self.mls, self.provider.as_ref());
        provider.storage.take_all(|| mls.delete_past_epoch_secrets(provider, nothing)).map_err(bug)
    }

    /// The group that [`save`](Self::save) wrote.
    pub(crate) fn restore(saved: &mut Reader<'_>) -> Result<Self> {
        let id = GroupId::from_slice(saved.long()?);
        let mut records = BTreeMap::new();
        for _ in 0..saved.count(9)? {
            let (kind, key) = (saved.byte()?, saved.long()?);
            let key = Key::from_bytes(kind, key).ok_or_else(|| saved.malformed("it holds a record of unknown kind"))?;
            records.insert(key, Zeroizing::new(saved.long()?.to_vec()));
        }
        let (door, date) = (DoorKey::restore(saved)?, saved.number()?);
        let media = MediaKey::from_seed(&Zeroizing::new(saved.array()?));
        let fresh_media = if saved.flag()? { Some(MediaKey::from_seed(&Zeroizing::new(saved.array()?))) } else { None };
        let made = u32::try_from(saved.number()?).unwrap_or(u32::MAX);

        let storage = Storage::default();
        storage.fill(records);
        // It is no state: what openmls makes of a message is not for the record to say.
        storage.put_part(Part::JoinConfig, &join_config()).map_err(bug)?;
        let unreadable = |why| Error::Malformed { what: Item::Snapshot, why };
        let loaded = MlsGroup::load(&storage, &id);
        let mls =
            loaded.map_err(|_| unreadable("its group does not read: another version of the group layer wrote it"))?;
        let mls = Box::new(mls.ok_or_else(|| unreadable("a part of its group is missing"))?);
        // The group holds what is large by itself.
        drop(storage.for_snapshot());
        let provider = Box::new(Provider::with(storage, door, media, date));
        Ok(Self { provider, mls, fresh_media, made, _sweep: Sweep })
    }

    /// What the pending commit would do, if there is one.
    pub(crate) fn pending(&self) -> Option<Proposed> {
        let garden = self.charter().ok().and_then(|charter| charter.garden);
        Some(self.describe(self.me(), self.mls.pending_commit()?, None, garden.as_ref()))
    }
}
