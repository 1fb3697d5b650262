//! Messages that do not authenticate, of every kind that a relay, an outsider or a member with a patched client can make.

use openmls::prelude::{tls_codec::Serialize as _, *};
use openmls_basic_credential::SignatureKeyPair;
use openmls_traits::{
    signatures::{Signer, SignerError},
    types::SignatureScheme,
};

use super::{
    mal::{Mal, World},
    words::{Key, Word},
};

/// Signs something else than it is given: the whole of a verification finds that out, and no less.
struct Scribble<'a>(&'a SignatureKeyPair);

impl Signer for Scribble<'_> {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.0.sign(b"something else")
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// The last of `count` commits that she makes in one epoch and nobody gets, each a generation further: one that says
/// nothing but its signature, which is none.
fn unsigned_commit(mal: &mut Mal, count: usize) -> Vec<u8> {
    let mut commit = Vec::new();
    for _ in 0..count {
        let provider = &mal.client.provider;
        // Without a path nothing but the message itself is signed.
        let bundle = mal.group.commit_builder().propose_adds([super::mal::Bare::new("yan").key_package()]);
        let bundle = bundle.load_psks(provider.storage()).unwrap();
        let bundle = bundle.build(provider.rand(), provider.crypto(), &Scribble(&mal.client.signer), |_| true).unwrap();
        commit = bundle.stage_commit(provider).unwrap().into_messages().0.to_bytes().unwrap();
        mal.abandon();
    }
    commit
}

fn broken(mut message: Vec<u8>) -> Vec<u8> {
    *message.last_mut().unwrap() ^= 1;
    message
}

/// Each with what it is and who can make it. `epoch` is fresh: mal has made no commit in it.
pub fn unauthentic(world: &mut World) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let ana = world.party.id("ana");
    let mal = &mut world.mal;
    let genuine = mal.commit(Vec::new());
    // Its own sender data, for another sample of its end.
    let mut elsewhere = genuine.clone();
    elsewhere[8] ^= 1;
    let mut sender = genuine.clone();
    let at = sender.len() - 40;
    sender[at] ^= 1;
    let near = unsigned_commit(mal, 1);
    let far = unsigned_commit(mal, 14);
    let gone = unsigned_commit(mal, 200);
    let key = Key::of(mal);
    let word = Word { epoch: key.epoch, who: ana, process: [1; 16], number: 3, said: vec![6, 33], signature: [7; 64] };
    let word = key.seal(&word.sign(&mal.client, &key.room));
    let application = mal.group.create_message(&mal.client.provider, &mal.client.signer, b"words").unwrap();
    let application = application.tls_serialize_detached().unwrap();
    vec![
        ("relay", "300 bytes of nothing", vec![0x5a; 300]),
        ("relay", "a commit of another room", elsewhere),
        ("relay", "a commit whose sender does not open", sender),
        ("relay", "a word whose seal is broken", broken(word.clone())),
        ("member", "a commit with a broken seal", broken(genuine)),
        ("member", "the same 16 generations ahead", broken(far.clone())),
        ("member", "the same 200 generations ahead", broken(gone)),
        ("member", "a commit that its sender has not signed", near),
        ("member", "the same 16 generations ahead, unsigned", far),
        ("member", "a word that its sender has not signed", word),
        ("member", "an MLS application message", application),
    ]
}
