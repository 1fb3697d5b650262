//! One guest's part of a Welcome for many (RFC 9420 §12.4.3.1).
//!
//! A Welcome is a list of secrets, each sealed to one newcomer, and a GroupInfo that all of them share. openmls
//! reads its own lists only, so the parts are moved here by their encoding.

use openmls::{
    ciphersuite::hash_ref::{KeyPackageRef, make_key_package_ref},
    messages::{EncryptedGroupSecrets, Welcome},
    prelude::{Ciphersuite, ProtocolVersion},
};
use openmls_rust_crypto::RustCrypto;
use tls_codec::{DeserializeBytes as _, Serialize as _, VLBytes};

use super::{
    CIPHERSUITE,
    bounds::{MESSAGE_HEADER, MLS_WELCOME},
    bug,
    join::read_welcome,
};
use crate::{
    error::{Error, Item, Result},
    room::card::Card,
};

/// What `welcome` holds for the owner of `card`, as a welcome for them alone: as long as any other's, and it tells
/// nobody how many came with them.
pub(crate) fn split_welcome(welcome: &[u8], card: &Card) -> Result<Vec<u8>> {
    let malformed = |why| Error::Malformed { what: Item::Welcome, why };
    let welcome: Welcome = read_welcome(welcome)?;
    let reference = card_reference(card)?;
    let bytes = welcome.tls_serialize_detached().map_err(bug)?;
    let (suite, secrets, info) =
        <(Ciphersuite, Vec<EncryptedGroupSecrets>, VLBytes)>::tls_deserialize_exact_bytes(&bytes).map_err(bug)?;
    let mine: Vec<_> = secrets.into_iter().filter(|secrets| secrets.new_member() == reference).collect();
    if mine.len() != 1 {
        return Err(malformed("it holds nothing for this card, or too much"));
    }
    (ProtocolVersion::Mls10, u16::from(MLS_WELCOME), (suite, mine, info)).tls_serialize_detached().map_err(bug)
}

/// What MLS names a card by (RFC 9420 §5.2).
pub(super) fn card_reference(card: &Card) -> Result<KeyPackageRef> {
    let package = card.as_bytes().get(MESSAGE_HEADER..).unwrap_or_default();
    make_key_package_ref(package, CIPHERSUITE, &RustCrypto::default()).map_err(bug)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Guest, Identity, Role, Room, room::Settings};

    #[test]
    fn each_of_many_enters_by_their_own_part_and_by_no_other() {
        let (mut ana, _) = Room::create(Identity::generate("ana").unwrap(), Settings::default()).unwrap();
        let guests: Vec<Guest> =
            (0..5).map(|n| Guest::new(Identity::generate(&format!("guest {n}")).unwrap()).unwrap()).collect();
        let batch: Vec<_> = guests.iter().map(|guest| (guest.card().clone(), Role::Listener)).collect();
        let admission = ana.admit_all(&batch).unwrap();
        ana.receive(&admission.commit, Duration::ZERO).unwrap();

        let parts: Vec<_> = batch.iter().map(|(card, _)| split_welcome(&admission.welcome, card).unwrap()).collect();
        assert!(parts.iter().all(|part| part.len() == parts[0].len() && part.len() < admission.welcome.len()));
        let not_in_it = Guest::new(Identity::generate("zed").unwrap()).unwrap();
        assert!(split_welcome(&admission.welcome, not_in_it.card()).is_err());
        assert!(split_welcome(&parts[0], &batch[1].0).is_err());
        assert_eq!(split_welcome(&parts[0], &batch[0].0).unwrap(), parts[0]);
        for (n, mut guest) in guests.into_iter().enumerate() {
            guest = *guest.enter(&parts[(n + 1) % parts.len()]).unwrap_err().guest;
            let (room, _) = guest.enter(&parts[n]).unwrap();
            assert_eq!(room.code(), ana.code());
        }
    }
}
