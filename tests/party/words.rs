//! Words as `src/room/words.rs` documents them, written a second time: what a member with a patched client can open and
//! seal under the keys of the epochs that she was in.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use openmls::prelude::OpenMlsProvider as _;
use openmls_traits::signatures::Signer as _;
use parlor::MemberId;
use sha2::{Digest as _, Sha256};

use super::mal::{Bare, Mal};

/// What begins a word: its kind and version.
pub const WORD: [u8; 2] = [4, 1];
const HEADER: usize = 2 + 8 + 12;

/// The key of one epoch of one room.
#[derive(Clone)]
pub struct Key {
    pub epoch: u64,
    pub room: Vec<u8>,
    bytes: Vec<u8>,
}

impl Key {
    /// That of the epoch that she is in.
    pub fn of(mal: &Mal) -> Self {
        let bytes = mal.group.export_secret(mal.client.provider.crypto(), "parlor words 1", &[], 32).unwrap();
        Self { epoch: mal.group.epoch().as_u64(), room: mal.group.group_id().to_vec(), bytes }
    }

    /// Opens a word of that epoch: what is sealed in it, whatever that is.
    pub fn open_inner(&self, word: &[u8]) -> Option<Vec<u8>> {
        if word.len() < HEADER || word[..2] != WORD || word[2..10] != self.epoch.to_be_bytes() {
            return None;
        }
        let payload = Payload { msg: &word[HEADER..], aad: &word[..HEADER] };
        self.cipher().decrypt(Nonce::from_slice(&word[10..HEADER]), payload).ok()
    }

    /// Opens a word of that epoch.
    pub fn open(&self, word: &[u8]) -> Option<Word> {
        let inner = self.open_inner(word)?;
        let length = usize::from(u16::from_be_bytes([inner[56], inner[57]]));
        Some(Word {
            epoch: self.epoch,
            who: MemberId::from_bytes(inner[..32].try_into().unwrap()),
            process: inner[32..48].try_into().unwrap(),
            number: u64::from_be_bytes(inner[48..56].try_into().unwrap()),
            said: inner[58..58 + length].to_vec(),
            signature: inner[58 + length..122 + length].try_into().unwrap(),
        })
    }

    /// Seals it, whatever it is, as a word of this key's epoch.
    pub fn seal(&self, word: &Word) -> Vec<u8> {
        let length = u16::try_from(word.said.len()).unwrap().to_be_bytes();
        let number = word.number.to_be_bytes();
        let parts = [word.who.as_bytes(), &word.process[..], &number, &length, &word.said, &word.signature];
        let mut inner = parts.concat();
        inner.resize(inner.len().next_multiple_of(128), 0);
        self.seal_inner(&inner)
    }

    pub fn seal_inner(&self, inner: &[u8]) -> Vec<u8> {
        let nonce: [u8; 12] = rand::random();
        let header = [&WORD[..], &self.epoch.to_be_bytes(), &nonce].concat();
        let sealed = self.cipher().encrypt(Nonce::from_slice(&nonce), Payload { msg: inner, aad: &header }).unwrap();
        [header, sealed].concat()
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(self.bytes.as_slice().into())
    }
}

/// What is in a word.
#[derive(Clone, PartialEq, Debug)]
pub struct Word {
    pub epoch: u64,
    pub who: MemberId,
    pub process: [u8; 16],
    pub number: u64,
    pub said: Vec<u8>,
    pub signature: [u8; 64],
}

impl Word {
    /// What the signature covers.
    pub fn signed(&self, room: &[u8]) -> Vec<u8> {
        let room: [u8; 32] = Sha256::digest(room).into();
        let (epoch, number) = (self.epoch.to_be_bytes(), self.number.to_be_bytes());
        [b"parlor word 1\0".as_slice(), &room, &epoch, self.who.as_bytes(), &self.process, &number, &self.said].concat()
    }

    /// Signs it, as `by`.
    #[must_use]
    pub fn sign(mut self, by: &Bare, room: &[u8]) -> Self {
        self.signature = by.signer.sign(&self.signed(room)).unwrap().try_into().unwrap();
        self
    }
}

/// A word of her own that says `said`, as a client would make it that counts nothing.
pub fn say(mal: &Mal, number: u64, said: &[u8]) -> Vec<u8> {
    let key = Key::of(mal);
    let (who, said) = (mal.client.id(), said.to_vec());
    let word = Word { epoch: key.epoch, who, process: [9; 16], number, said, signature: [0; 64] };
    key.seal(&word.sign(&mal.client, &key.room))
}
