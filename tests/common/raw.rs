//! Commits of a member that no MLS library would make: any bytes in a commit's place, signed and encrypted as hers.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use openmls::prelude::{
    MlsMessageBodyIn, MlsMessageIn,
    tls_codec::{DeserializeBytes as _, Serialize as _},
};
use openmls_traits::{OpenMlsProvider as _, signatures::Signer as _};
use serde_json::Value;
use sha2::Sha256;

use super::party::mal::World;

/// `bytes` as a variable-length vector (RFC 9420 §2.1.2).
pub fn vector(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    let front = match length {
        0..0x40 => vec![bytes.len() as u8],
        0x40..0x4000 => (0x4000 | length as u16).to_be_bytes().to_vec(),
        _ => (0x8000_0000 | length).to_be_bytes().to_vec(),
    };
    [&front[..], bytes].concat()
}

/// What mal's client keeps of an epoch, and so what she can seal with.
pub struct Raw {
    leaf: u32,
    sender_secret: Vec<u8>,
    ratchet: Vec<u8>,
    generation: u32,
}

impl Raw {
    pub fn of(world: &World) -> Self {
        let values = world.mal.client.provider.storage().values.read().unwrap();
        let (_, json) = values.iter().find(|(key, _)| key.starts_with(b"MessageSecrets")).unwrap();
        let store: Value = serde_json::from_slice(json).unwrap();
        let message = &store["message_secrets"];
        let parents = message["secret_tree"]["parent_nodes"].as_array().unwrap();
        let size = message["secret_tree"]["leaf_nodes"].as_array().unwrap().len().next_power_of_two();
        let leaf = world.leaf("mal").u32();
        // From the root down to her leaf (RFC 9420 §9).
        let mut secret = bytes(&parents[(size - 1) / 2]).unwrap();
        let (mut low, mut high) = (0, size);
        while high - low > 1 {
            let middle = (low + high) / 2;
            let is_left = (leaf as usize) < middle;
            *(if is_left { &mut high } else { &mut low }) = middle;
            secret = expand(&secret, "tree", if is_left { b"left" } else { b"right" }, 32);
        }
        let ratchet = expand(&secret, "handshake", b"", 32);
        Self { leaf, sender_secret: bytes(&message["sender_data_secret"]).unwrap(), ratchet, generation: 0 }
    }

    /// A commit of this body: proposals and an optional path. Its signature stands; its confirmation tag does not.
    pub fn commit(&mut self, world: &World, body: &[u8]) -> Vec<u8> {
        let group = &world.mal.group;
        let place = [&vector(group.group_id().as_slice())[..], &group.epoch().as_u64().to_be_bytes()].concat();
        let framed = [&place[..], &[1], &self.leaf.to_be_bytes(), &[0, 3], body].concat();
        let info =
            group.export_group_info(world.mal.client.provider.crypto(), &world.mal.client.signer, false).unwrap();
        let info = MlsMessageIn::tls_deserialize_exact_bytes(&info.to_bytes().unwrap()).unwrap();
        let MlsMessageBodyIn::GroupInfo(info) = info.extract() else { panic!() };
        let context = info.group_context().tls_serialize_detached().unwrap();
        let signed = [&[0, 1, 0, 2][..], &framed, &context].concat();
        let signed = [&vector(b"MLS 1.0 FramedContentTBS")[..], &vector(&signed)].concat();
        let signature = world.mal.client.signer.sign(&signed).unwrap();
        let text = [body, &vector(&signature), &vector(&[7; 32])].concat();

        let generation = self.generation.to_be_bytes();
        let (key, nonce) = (self.derive("key", &generation, 32), self.derive("nonce", &generation, 12));
        self.ratchet = self.derive("secret", &generation, 32);
        self.generation += 1;
        let header = [&place[..], &[3]].concat();
        let sealed = seal(&key, &nonce, &text, &[&header[..], &[0]].concat());
        let sample = &sealed[..32];
        let of_sender = |label, length| expand(&self.sender_secret, label, sample, length);
        let sender = [&self.leaf.to_be_bytes()[..], &generation, &[0; 4]].concat();
        let sender = seal(&of_sender("key", 32), &of_sender("nonce", 12), &sender, &header);
        [&[0, 1, 0, 2][..], &header, &[0], &vector(&sender), &vector(&sealed)].concat()
    }

    fn derive(&self, label: &str, generation: &[u8], length: usize) -> Vec<u8> {
        expand(&self.ratchet, label, generation, length)
    }
}

fn seal(key: &[u8], nonce: &[u8], msg: &[u8], aad: &[u8]) -> Vec<u8> {
    ChaCha20Poly1305::new(key.into()).encrypt(Nonce::from_slice(nonce), Payload { msg, aad }).unwrap()
}

/// ExpandWithLabel (RFC 9420 §8).
fn expand(secret: &[u8], label: &str, context: &[u8], length: usize) -> Vec<u8> {
    let label = format!("MLS 1.0 {label}");
    let info = [&(length as u16).to_be_bytes()[..], &vector(label.as_bytes()), &vector(context)].concat();
    let mut out = vec![0; length];
    Hkdf::<Sha256>::from_prk(secret).unwrap().expand(&info, &mut out).unwrap();
    out
}

/// The 32 bytes somewhere in a stored value.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Array(list) if list.len() == 32 && list.iter().all(Value::is_number) => {
            list.iter().map(|n| n.as_u64().and_then(|n| n.try_into().ok())).collect()
        }
        Value::Object(map) => map.values().find_map(bytes),
        Value::Array(list) => list.iter().find_map(bytes),
        _ => None,
    }
}
