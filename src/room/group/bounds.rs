//! What peers send, counted before openmls builds anything of it.
//!
//! A cap in bytes says little where an element is a byte on the wire and hundreds in memory: a blank node of a ratchet
//! tree, an empty extension, a welcome's secret of three empty vectors. So the lengths of what comes are walked here,
//! and nothing is kept of them, before the parser sees it.
//!
//! Invariant: what passes takes openmls less than 32 MiB; whatever a room makes passes.
//!
//! ```text
//! optional<Node> ratchet_tree<V>                                  RFC 9420 §12.4.3.3
//! cipher_suite (2) ‖ secrets<V> ‖ encrypted_group_info<V>         RFC 9420 §12.4.3.1
//! ```

use crate::error::{Error, Item, Result};

/// The most nodes of a tree: 8,192 leaves, and the parents between them. No tree of so many ever fitted into
/// [`MAX_TREE`](crate::room::MAX_TREE) while a leaf of at least 160 bytes stood at each place, as one did at the last.
const MAX_NODES: usize = 2 * 8_192 - 1;

/// The most extensions that all leaves of a tree have together; ours have two each.
const MAX_EXTENSIONS: usize = 65_536;

/// The most newcomers of one welcome. It has no room for so many.
const MAX_SECRETS: usize = 8_192;

/// The most bytes of a welcome's encrypted group info: the settings of a full room have about 100 KiB, and the tree of 64
/// members about as much, where it does not travel apart.
const MAX_GROUP_INFO: usize = 256 * 1024;

/// Wire formats of an MLSMessage (RFC 9420 §6), the second of two bytes.
pub(super) const MLS_WELCOME: u8 = 3;
pub(super) const MLS_GROUP_INFO: u8 = 4;
pub(super) const MLS_KEY_PACKAGE: u8 = 5;

/// The bytes of an MLSMessage before what it holds: its version and wire format.
pub(super) const MESSAGE_HEADER: usize = 4;

/// Refuses a serialized tree of more elements than a room's may have.
pub(super) fn check_tree(bytes: &[u8]) -> Result<()> {
    let malformed = |why| Error::Malformed { what: Item::Tree, why };
    let unreadable = || malformed("it does not parse");
    let mut rest = Encoded(bytes);
    let mut nodes = Encoded(rest.vector().ok_or_else(unreadable)?);
    let (mut count, mut extensions) = (0, 0);
    while !nodes.is_empty() {
        count += 1;
        extensions += nodes.node().ok_or_else(unreadable)?;
        if count > MAX_NODES {
            return Err(malformed("it has more than 16,383 nodes: no room's has"));
        }
        if extensions > MAX_EXTENSIONS {
            return Err(malformed("its leaves have more than 65,536 extensions: no room's have"));
        }
    }
    Ok(())
}

/// Refuses a welcome of more parts than a room's may have, or whose group info is larger.
pub(super) fn check_welcome(bytes: &[u8]) -> Result<()> {
    let malformed = |why| Error::Malformed { what: Item::Welcome, why };
    let unreadable = || malformed("it is no MLS message, or was cut short");
    let mut rest = Encoded(bytes);
    rest.bytes(MESSAGE_HEADER + 2).ok_or_else(unreadable)?;
    let mut secrets = Encoded(rest.vector().ok_or_else(unreadable)?);
    let mut count = 0;
    while !secrets.is_empty() {
        count += 1;
        // Whose it is, and what is sealed to them.
        (0..3).try_for_each(|_| secrets.vector().map(drop)).ok_or_else(unreadable)?;
        if count > MAX_SECRETS {
            return Err(malformed("it is for more than 8,192 newcomers: no room takes so many at once"));
        }
    }
    let info = rest.vector().ok_or_else(unreadable)?;
    if info.len() > MAX_GROUP_INFO {
        return Err(malformed("what it says of its room has more than 256 KiB: no room's has"));
    }
    Ok(())
}

/// What is left of something encoded as in RFC 9420 §2.
pub(super) struct Encoded<'a>(pub(super) &'a [u8]);

impl<'a> Encoded<'a> {
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// A vector after its length (RFC 9420 §2.1.2).
    pub(super) fn vector(&mut self) -> Option<&'a [u8]> {
        let [first] = self.array()?;
        let more = match first >> 6 {
            0 => 0,
            1 => 1,
            2 => 3,
            _ => return None,
        };
        let start = usize::from(first & 0x3f);
        let length = self.bytes(more)?.iter().fold(start, |length, byte| length << 8 | usize::from(*byte));
        self.bytes(length)
    }

    /// An optional node of a ratchet tree: how many extensions it has.
    fn node(&mut self) -> Option<usize> {
        match self.array()? {
            [0] => Some(0),
            [1] => match self.array()? {
                [1] => self.leaf(),
                // Key, parent hash, unmerged leaves.
                [2] => self.vectors(3).map(|()| 0),
                _ => None,
            },
            _ => None,
        }
    }

    /// A leaf node (RFC 9420 §7.2): how many extensions it has.
    fn leaf(&mut self) -> Option<usize> {
        // Encryption key and signature key.
        self.vectors(2)?;
        // The credential's type, and what it is; then what the leaf can do: versions, suites, extensions, proposals,
        // credentials.
        self.bytes(2)?;
        self.vectors(6)?;
        match self.array()? {
            // Of a key package, with its dates; of an update; of a commit, with its parent hash.
            [1] => drop(self.bytes(16)?),
            [2] => {}
            [3] => self.vectors(1)?,
            _ => return None,
        }
        let mut extensions = Encoded(self.vector()?);
        let mut count = 0;
        while !extensions.is_empty() {
            count += 1;
            extensions.bytes(2)?;
            extensions.vector()?;
        }
        // The signature.
        self.vectors(1)?;
        Some(count)
    }

    fn vectors(&mut self, count: usize) -> Option<()> {
        (0..count).try_for_each(|_| self.vector().map(drop))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tls_codec::Serialize as _;

    use super::*;
    use crate::{Guest, Identity, Role, Room, room::Settings};

    /// `bytes` after their length in four bytes.
    fn vector(bytes: &[u8]) -> Vec<u8> {
        [&(0x8000_0000 | u32::try_from(bytes.len()).unwrap()).to_be_bytes()[..], bytes].concat()
    }

    /// A leaf with so many empty extensions.
    fn leaf(extensions: usize) -> Vec<u8> {
        let mut leaf = vec![1, 1, 1, 9, 1, 9, 0, 1, 1, 9, 0, 0, 0, 0, 0, 2];
        leaf.extend(vector(&[0xf0, 0xff, 0].repeat(extensions)));
        leaf.extend([1, 9]);
        leaf
    }

    #[test]
    fn a_tree_has_as_many_nodes_and_extensions_as_it_may_and_no_more() {
        let tree = |blanks: usize, leaf: &[u8]| check_tree(&vector(&[&vec![0; blanks], leaf].concat()));
        assert!(tree(MAX_NODES - 1, &leaf(1)).is_ok());
        assert!(tree(MAX_NODES, &leaf(1)).unwrap_err().to_string().contains("more than 16,383 nodes"));
        assert!(tree(2, &leaf(MAX_EXTENSIONS)).is_ok());
        assert!(tree(2, &leaf(MAX_EXTENSIONS + 1)).unwrap_err().to_string().contains("65,536 extensions"));
        assert!(tree(2, &[leaf(MAX_EXTENSIONS), leaf(1)].concat()).is_err(), "all leaves together");
        for cut in 1..leaf(1).len() {
            assert!(tree(2, &leaf(1)[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_welcome_has_as_many_parts_and_bytes_as_it_may_and_no_more() {
        let welcome = |secrets: usize, info: usize| {
            check_welcome(&[&[0, 1, 0, 3, 0, 3][..], &vector(&vec![0; 3 * secrets]), &vector(&vec![0; info])].concat())
        };
        assert!(welcome(MAX_SECRETS, MAX_GROUP_INFO).is_ok());
        assert!(welcome(MAX_SECRETS + 1, 0).unwrap_err().to_string().contains("8,192 newcomers"));
        assert!(welcome(0, MAX_GROUP_INFO + 1).unwrap_err().to_string().contains("256 KiB"));
        assert!(check_welcome(&[0, 1, 0, 3, 0, 3, 2, 0, 0, 0]).is_err());
    }

    #[test]
    fn the_trees_and_welcomes_of_rooms_are_walked_to_their_end() {
        let (mut ana, _) = Room::create(Identity::generate("ana").unwrap(), Settings::default()).unwrap();
        for round in 0..12 {
            let guest = Guest::new(Identity::generate(&format!("guest {round}")).unwrap()).unwrap();
            let admission = ana.admit(guest.card(), Role::Listener).unwrap();
            ana.receive(&admission.commit, Duration::ZERO).unwrap();
            check_welcome(&admission.welcome).unwrap();
            if round % 3 == 1 {
                let (mut room, _) = guest.enter(&admission.welcome).unwrap();
                let refresh = room.refresh().unwrap();
                ana.receive(&refresh, Duration::ZERO).unwrap();
            }
            let tree = ana.group.as_ref().unwrap().mls.export_ratchet_tree().tls_serialize_detached().unwrap();
            check_tree(&tree).unwrap();
            let mut rest = Encoded(&tree);
            let mut nodes = Encoded(rest.vector().unwrap());
            assert!(rest.is_empty());
            let mut extensions = 0;
            while !nodes.is_empty() {
                extensions += nodes.node().unwrap();
            }
            assert!(extensions >= round + 2, "leaves have extensions: {extensions}");
        }
    }
}
