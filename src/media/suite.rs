//! The cipher suites (RFC 9605 §4.5). The suite is the room's, agreed in the group, and stands in no packet: nobody
//! on the way can ask for a weaker one.

/// Nn: the length of a nonce and of a salt in bytes, in every suite.
pub const NONCE_LEN: usize = 12;
/// Nt: the length of a tag in bytes. Shorter ones are not offered.
pub const TAG_LEN: usize = 16;
/// The longest key of any suite in bytes.
pub(crate) const MAX_KEY_LEN: usize = 32;

/// An SFrame cipher suite. Tags are always 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Suite {
    /// ChaCha20-Poly1305 with SHA-256, private-use id 0xF001: fast everywhere, constant-time without special instructions.
    #[default]
    ChaCha20Poly1305,
    /// AES-128-GCM with SHA-256, RFC 9605 suite 0x0004.
    Aes128Gcm,
    /// AES-256-GCM with SHA-512, RFC 9605 suite 0x0005.
    Aes256Gcm,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 3] = [Self::ChaCha20Poly1305, Self::Aes128Gcm, Self::Aes256Gcm];

    /// The suite's SFrame identifier (RFC 9605 §8.1).
    pub const fn id(self) -> u16 {
        match self {
            Self::ChaCha20Poly1305 => 0xF001,
            Self::Aes128Gcm => 0x0004,
            Self::Aes256Gcm => 0x0005,
        }
    }

    /// The suite of an SFrame identifier.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            0xF001 => Some(Self::ChaCha20Poly1305),
            0x0004 => Some(Self::Aes128Gcm),
            0x0005 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// Nk: the length of its key in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::ChaCha20Poly1305 | Self::Aes256Gcm => 32,
        }
    }

    /// Nh: the length of its hash in bytes.
    pub const fn hash_len(self) -> usize {
        match self {
            Self::ChaCha20Poly1305 | Self::Aes128Gcm => 32,
            Self::Aes256Gcm => 64,
        }
    }
}
