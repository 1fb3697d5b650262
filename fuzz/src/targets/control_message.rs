//! Control messages: raw, genuine ones that were changed on their way, and what a member with a patched client makes.

use std::cell::RefCell;

use openmls::{
    prelude::{
        CredentialWithKey, Extension, ExtensionType, Extensions, ExternalSender, LeafNodeIndex, LeafNodeParameters,
        OpenMlsProvider as _, UnknownExtension,
    },
    schedule::{ExternalPsk, PreSharedKeyId, Psk},
};
use parlor::Role;

use super::{input::Input, reach, world::Scene};
use crate::party::{
    mal::{Bare, CHARTER, DOOR_KEY, LINK_PROOF, MEDIA_KEYS, SUITE, add, capabilities, psk, remove},
    words,
};

thread_local! {
    static SCENES: RefCell<[Option<Kept>; 3]> = const { RefCell::new([None, None, None]) };
}

struct Kept {
    scene: Scene,
    /// Messages of mal's in this epoch, which nobody has received: commits and words, then what no room reads.
    genuine: Vec<Vec<u8>>,
    unread: usize,
    epoch: u64,
}

/// Members make the same of every message; what the policy does not allow changes nothing, and genuine commits are
/// merged after it.
pub fn control_message(data: &[u8]) {
    let mut input = Input::new(data);
    let at = input.below(3);
    let role = [Role::Listener, Role::Moderator, Role::Host][at];
    SCENES.with_borrow_mut(|scenes| {
        let kept = scenes[at].get_or_insert_with(|| Kept {
            scene: Scene::new(role),
            genuine: Vec::new(),
            unread: 0,
            epoch: u64::MAX,
        });
        send(kept, &mut input);
        if !kept.scene.is_usable() {
            scenes[at] = None;
        }
    });
}

fn send(kept: &mut Kept, input: &mut Input<'_>) {
    match input.below(5) {
        0 => kept.scene.refuse(input.rest()),
        1 | 2 => {
            kept.renew();
            let at = input.below(kept.genuine.len());
            let genuine = kept.genuine[at].clone();
            let altered = input.mutate(&genuine);
            if altered != genuine || at >= kept.unread {
                reach(if at < 3 {
                    "a commit"
                } else if at < kept.unread {
                    "a word"
                } else {
                    "what no room reads"
                });
                kept.scene.refuse(&altered);
            }
        }
        3 => {
            let Some(commit) = commit(&mut kept.scene, input) else {
                return kept.scene.world.mal.abandon();
            };
            if kept.scene.weigh(&commit) {
                reach("merged");
            }
        }
        _ => propose(&mut kept.scene, input),
    }
}

impl Kept {
    /// What mal would send in this epoch.
    fn renew(&mut self) {
        let epoch = self.scene.room().epoch();
        if self.epoch == epoch {
            return;
        }
        let mal = &mut self.scene.world.mal;
        let title = mal.recharter(|charter| charter.title = b"a title".to_vec());
        let refresh = mal.commit(vec![]);
        let title = mal.commit(vec![title]);
        let ghost = mal.commit(vec![add(Bare::new("ghost").key_package())]);
        let words = [&[6, b'!'][..], &[1], &[0; 300]].map(|said| words::say(mal, epoch, said));
        let outside = Bare::new("zed").external_commit(mal);
        // MLS application messages, of which a room takes none, whatever is in them.
        let unread = [&[6, b'!'][..], &[0; 300]].map(|said| {
            let message = mal.group.create_message(&mal.client.provider, &mal.client.signer, said).unwrap();
            message.to_bytes().unwrap()
        });
        self.genuine = [vec![refresh, title, ghost], words.into()].concat();
        self.unread = self.genuine.len();
        self.genuine.extend([&[outside][..], &unread].concat());
        self.epoch = epoch;
    }
}

/// A commit of up to four parts, whatever they are.
fn commit(scene: &mut Scene, input: &mut Input<'_>) -> Option<Vec<u8>> {
    let people: Vec<_> = scene.room().roster().map(|member| (member.id, member.leaf.0)).collect();
    let mut parts = Vec::new();
    for _ in 0..input.below(5) {
        let (id, leaf) = people[input.below(people.len())];
        let mal = &scene.world.mal;
        parts.push(match input.below(8) {
            0 => remove(LeafNodeIndex::new(if input.flag() { leaf } else { input.byte().into() })),
            1 => add(stranger(input)),
            2 => mal.give(&[(id, input.byte() & 3)]),
            3 => mal.recharter_to(input.mutate(&mal.charter_bytes())),
            4 => mal.extend(|extensions| extend(extensions, input)),
            5 => {
                let external = Psk::External(ExternalPsk::new(input.run().to_vec()));
                psk(PreSharedKeyId::new(SUITE, mal.client.provider.rand(), external).ok()?)
            }
            6 => mal.recharter(|charter| {
                let standing = charter.standings.entry(*id.as_bytes()).or_default();
                (standing.role, standing.leaving) = (input.byte() & 3, input.flag());
                standing.since = [0, mal.next_epoch(), input.number()][input.below(3)];
                standing.muted_by = input.flag().then(|| *people[input.below(people.len())].0.as_bytes());
            }),
            _ => mal.recharter(|charter| {
                charter.flags = input.byte() & 31;
                charter.banned.insert(*id.as_bytes());
            }),
        });
    }
    let leaf = leaf(scene, input);
    scene.commit(leaf, parts)
}

fn stranger(input: &mut Input<'_>) -> openmls::prelude::KeyPackage {
    let name = ["zed", "ana", "", "n\u{7}", "a name of more than sixty-four bytes, which nobody could show in a list"];
    let bare = Bare::new(name[input.below(name.len())]);
    let extensions = unknown_extensions(input);
    bare.key_package_with(|builder| match &extensions {
        Some(extensions) => builder.leaf_node_extensions(extensions.clone()),
        None => builder,
    })
}

/// What a leaf may carry, or not: ours of any length.
fn unknown_extensions(input: &mut Input<'_>) -> Option<Extensions<openmls::prelude::LeafNode>> {
    let mut all = Vec::new();
    for _ in 0..input.below(3) {
        let kind = [DOOR_KEY, LINK_PROOF, MEDIA_KEYS, CHARTER][input.below(4)];
        all.push(Extension::Unknown(kind, UnknownExtension(input.run().to_vec())));
    }
    if all.is_empty() { None } else { Extensions::from_vec(all).ok() }
}

fn leaf(scene: &Scene, input: &mut Input<'_>) -> LeafNodeParameters {
    let builder = LeafNodeParameters::builder();
    match input.below(6) {
        0 => {
            let credential = scene.world.mal.client.credential(&String::from_utf8_lossy(input.run()));
            builder.with_credential_with_key(credential).build()
        }
        1 => match unknown_extensions(input) {
            Some(extensions) => builder.with_capabilities(capabilities()).with_extensions(extensions).build(),
            None => builder.build(),
        },
        _ => LeafNodeParameters::default(),
    }
}

fn extend(extensions: &mut Extensions<openmls::prelude::GroupContext>, input: &mut Input<'_>) {
    match input.below(4) {
        0 => drop(extensions.remove(ExtensionType::Unknown(CHARTER))),
        1 => drop(extensions.remove(ExtensionType::RequiredCapabilities)),
        2 => {
            let other = Extension::Unknown(input.u16() | 0xF000, UnknownExtension(input.run().to_vec()));
            drop(extensions.add_or_replace(other));
        }
        _ => {
            let CredentialWithKey { credential, signature_key } = Bare::new("zed").credential("zed");
            let senders = Extension::ExternalSenders(vec![ExternalSender::new(signature_key, credential)]);
            drop(extensions.add_or_replace(senders));
        }
    }
}

/// A proposal without its commit: no room takes one, and none is kept for the next commit.
fn propose(scene: &mut Scene, input: &mut Input<'_>) {
    let leaf = LeafNodeIndex::new(input.below(8) as u32);
    let package = (input.below(2) == 0).then(|| stranger(input));
    let mal = &mut scene.world.mal;
    let (provider, signer) = (&mal.client.provider, &mal.client.signer);
    let message = match (input.below(4), package) {
        (0, _) => mal.group.propose_remove_member(provider, signer, leaf).ok().map(|(message, _)| message),
        (1, _) => mal.group.propose_self_update(provider, signer, LeafNodeParameters::default()).ok().map(|it| it.0),
        (2, _) => mal.group.leave_group(provider, signer).ok(),
        (_, Some(package)) => mal.group.propose_add_member(provider, signer, &package).ok().map(|it| it.0),
        _ => None,
    };
    mal.group.clear_pending_proposals(provider.storage()).unwrap();
    if let Some(message) = message.and_then(|message| message.to_bytes().ok()) {
        scene.refuse(&message);
        if input.flag() {
            scene.go_on();
        }
    }
}
