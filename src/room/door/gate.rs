//! The spam gate: what the relay checks of a knock before it keeps it.
//!
//! The relay gets the address of a door and the public half of its link's key. With them it can tell a knock of a
//! link holder from anything else, and can make none itself.

use std::fmt;

use super::{LinkId, knock};
use crate::{
    bytes::Reader,
    error::{Item, Result},
};

const VERSION: u8 = 1;

/// Where the relay knows a door: 16 bytes, derived from the secret of its link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DoorAddress(pub(crate) [u8; 16]);

impl DoorAddress {
    /// The address of these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for DoorAddress {
    /// All of it in hex: the relay stores knocks and doorplates by it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DoorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DoorAddress({self})")
    }
}

/// What the relay needs to drop knocks that no holder of a link made. It is no secret, and nobody can knock with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Gate {
    address: DoorAddress,
    id: LinkId,
}

impl Gate {
    /// Bytes of a gate.
    pub const LEN: usize = 1 + 16 + 32;

    pub(super) const fn new(address: DoorAddress, id: LinkId) -> Self {
        Self { address, id }
    }

    /// Reads what [`Gate::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) if it has another length or version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(Item::Gate, bytes);
        reader.version(VERSION)?;
        let gate = Self { address: DoorAddress(reader.array()?), id: LinkId(reader.array()?) };
        reader.end()?;
        Ok(gate)
    }

    /// The gate for the relay: version 1 (1) ‖ address (16) ‖ link id (32).
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [VERSION; Self::LEN];
        let parts = self.address.0.iter().chain(&self.id.0);
        for (to, from) in bytes.iter_mut().skip(1).zip(parts) {
            *to = *from;
        }
        bytes
    }

    /// Where the relay knows the door.
    pub const fn address(&self) -> DoorAddress {
        self.address
    }

    /// The link.
    pub const fn id(&self) -> LinkId {
        self.id
    }

    /// Whether somebody who holds the link made `knock`, at any time: one signature is checked, and nothing else of
    /// it can be read.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) or [`Error::Malformed`](crate::Error::Malformed) if it is no knock
    /// at this door, or nobody who holds the link made it as it stands.
    pub fn check(&self, knock: &[u8]) -> Result<()> {
        let envelope = knock::Envelope::read(knock)?;
        if envelope.address != self.address || envelope.link != self.id {
            return Err(knock::malformed("it is for another door"));
        }
        envelope.check_link()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Link, MemberId};

    #[test]
    fn a_gate_has_one_encoding() {
        let gate = Link::generate(MemberId([7; 32])).unwrap().gate();
        let bytes = gate.to_bytes();
        assert_eq!(Gate::from_bytes(&bytes).unwrap(), gate);
        for length in 0..Gate::LEN {
            assert!(Gate::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(Gate::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        for version in [0, 2, 255] {
            assert!(Gate::from_bytes(&[&[version], &bytes[1..]].concat()).is_err(), "version {version}");
        }
    }
}
