//! A member on bare openmls, which checks no policy: what she makes is signed, encrypted and consistent as MLS wants
//! it, whether it is allowed or not.

use openmls::{
    prelude::{tls_codec::DeserializeBytes as _, *},
    schedule::PreSharedKeyId,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::signatures::Signer as _;
use parlor::{
    Admission, Card, Event, MemberId, Role, Room, RoomCode, Settings,
    media::seal::{MediaCertificate, MediaKey, Proof},
    room::door::LinkEntry,
};

use super::{NOW, Party, charter::Charter, gists};

pub const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;
pub const CHARTER: u16 = 0xF0C1;
pub const DOOR_KEY: u16 = 0xF0C3;
pub const LINK_PROOF: u16 = 0xF0C4;
pub const MEDIA_KEYS: u16 = 0xF0C5;
pub const RETURN: u16 = 0xF0C6;

/// The door key in cards that have one: nobody knows its secret.
pub const DOOR: [u8; 32] = [9; 32];

/// A client of bare openmls.
pub struct Bare {
    pub provider: OpenMlsRustCrypto,
    pub signer: SignatureKeyPair,
    pub name: String,
}

impl Bare {
    pub fn new(name: &str) -> Self {
        let signer = SignatureKeyPair::new(SUITE.signature_algorithm()).unwrap();
        Self { provider: OpenMlsRustCrypto::default(), signer, name: name.to_owned() }
    }

    pub fn id(&self) -> MemberId {
        MemberId::from_bytes(self.signer.public().try_into().unwrap())
    }

    pub fn credential(&self, name: &str) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(name.as_bytes().to_vec()).into(),
            signature_key: self.signer.public().into(),
        }
    }

    pub fn key_package(&self) -> KeyPackage {
        self.key_package_with(|builder| builder)
    }

    pub fn key_package_with(&self, change: impl Fn(KeyPackageBuilder) -> KeyPackageBuilder) -> KeyPackage {
        change(KeyPackage::builder().leaf_node_capabilities(capabilities()))
            .build(SUITE, &self.provider, &self.signer, self.credential(&self.name))
            .unwrap()
            .key_package()
            .clone()
    }

    /// The certificate of `keys`, made by hand as `src/media/seal/key.rs` documents it, for whoever goes by `name`.
    pub fn certify(&self, keys: &MediaKey, name: &str) -> MediaCertificate {
        let [deniable, evidence] = [Proof::Deniable, Proof::Evidence].map(|proof| keys.public(proof));
        let signed = [b"parlor media keys 1\0", &deniable[..], &evidence, name.as_bytes()].concat();
        let signature = self.signer.sign(&signed).unwrap().try_into().unwrap();
        MediaCertificate { deniable, evidence, signature }
    }

    pub fn card(&self) -> Card {
        Card::from_bytes(&MlsMessageOut::from(self.key_package()).to_bytes().unwrap()).unwrap()
    }

    /// A card whose leaf has a door key, [`DOOR`], and no date: words can name it.
    pub fn card_with_door(&self) -> Card {
        let door = Extensions::single(Extension::Unknown(DOOR_KEY, UnknownExtension(DOOR.to_vec()))).unwrap();
        let package = self.key_package_with(|builder| builder.leaf_node_extensions(door.clone()));
        Card::from_bytes(&MlsMessageOut::from(package).to_bytes().unwrap()).unwrap()
    }

    /// Enters without a look at what is entered.
    pub fn enter(self, admission: &Admission) -> Mal {
        let MlsMessageBodyIn::Welcome(welcome) =
            MlsMessageIn::tls_deserialize_exact_bytes(&admission.welcome).unwrap().extract()
        else {
            panic!("a welcome is an MLS welcome")
        };
        let group = StagedWelcome::new_from_welcome(&self.provider, &join_config(), welcome, None)
            .unwrap()
            .into_group(&self.provider)
            .unwrap();
        Mal { client: self, group }
    }

    /// The commit by which this outsider, whom `mal` gives her group's info, would enter.
    pub fn external_commit(&self, mal: &Mal) -> Vec<u8> {
        let info = mal.group.export_group_info(mal.client.provider.crypto(), &mal.client.signer, true).unwrap();
        let info = MlsMessageIn::tls_deserialize_exact_bytes(&info.to_bytes().unwrap()).unwrap();
        let MlsMessageBodyIn::GroupInfo(info) = info.extract() else { panic!() };
        let (_, bundle) = MlsGroup::external_commit_builder()
            .with_config(join_config())
            .build_group(&self.provider, info, self.credential(&self.name))
            .unwrap()
            .leaf_node_parameters(LeafNodeParameters::builder().with_capabilities(capabilities()).build())
            .load_psks(self.provider.storage())
            .unwrap()
            .build(self.provider.rand(), self.provider.crypto(), &self.signer, |_| true)
            .unwrap()
            .finalize(&self.provider)
            .unwrap();
        bundle.into_contents().0.to_bytes().unwrap()
    }
}

/// A leaf's extensions: nothing but these media keys.
pub fn media_extension(keys: Vec<u8>) -> Extensions<LeafNode> {
    Extensions::single(Extension::Unknown(MEDIA_KEYS, UnknownExtension(keys))).unwrap()
}

pub fn capabilities() -> Capabilities {
    Capabilities::new(
        None,
        Some(&[SUITE]),
        Some(&[CHARTER, DOOR_KEY, LINK_PROOF, MEDIA_KEYS, RETURN].map(ExtensionType::Unknown)),
        None,
        Some(&[CredentialType::Basic]),
    )
}

pub fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .number_of_resumption_psks(1)
        .build()
}

/// What an honest member must still be after a refusal.
#[derive(PartialEq, Debug)]
pub struct State {
    epoch: u64,
    pub code: RoomCode,
    roster: Vec<parlor::Member>,
    settings: Settings,
    banned: Vec<MemberId>,
    links: Vec<LinkEntry>,
    leaving: Vec<MemberId>,
    hands: Vec<MemberId>,
    open: bool,
    pending: bool,
}

pub fn state(room: &Room) -> State {
    State {
        epoch: room.epoch(),
        code: room.code(),
        roster: room.roster().cloned().collect(),
        settings: room.settings().clone(),
        banned: room.banned().copied().collect(),
        links: room.links().copied().collect(),
        leaving: room.leaving().copied().collect(),
        hands: room.hands().to_vec(),
        open: room.is_open(),
        pending: room.is_pending(),
    }
}

/// A bare client in a room.
pub struct Mal {
    pub client: Bare,
    pub group: MlsGroup,
}

impl Mal {
    /// A commit with these parts, which she does not merge herself.
    pub fn commit(&mut self, parts: Vec<Part>) -> Vec<u8> {
        self.commit_with(LeafNodeParameters::default(), parts)
    }

    pub fn commit_with(&mut self, leaf: LeafNodeParameters, parts: Vec<Part>) -> Vec<u8> {
        let (bytes, _) = self.commit_and_welcome(leaf, parts);
        self.abandon();
        bytes
    }

    /// The commit stays pending.
    pub fn commit_and_welcome(&mut self, leaf: LeafNodeParameters, parts: Vec<Part>) -> (Vec<u8>, Option<Vec<u8>>) {
        let provider = &self.client.provider;
        let mut builder = self.group.commit_builder().leaf_node_parameters(leaf);
        for part in parts {
            builder = match part {
                Part::Proposal(proposal) => builder.add_proposal(*proposal),
                Part::Add(package) => builder.propose_adds([*package]),
                Part::Extensions(extensions) => builder.propose_group_context_extensions(extensions).unwrap(),
            };
        }
        let bundle = builder
            .load_psks(provider.storage())
            .unwrap()
            .use_ratchet_tree_extension(true)
            .build(provider.rand(), provider.crypto(), &self.client.signer, |_| true)
            .unwrap()
            .stage_commit(provider)
            .unwrap();
        let (commit, welcome, _) = bundle.into_messages();
        (commit.to_bytes().unwrap(), welcome.map(|welcome| welcome.to_bytes().unwrap()))
    }

    pub fn abandon(&mut self) {
        self.group.clear_pending_commit(self.client.provider.storage()).unwrap();
    }

    pub fn merge(&mut self) {
        self.group.merge_pending_commit(&self.client.provider).unwrap();
    }

    pub fn charter(&self) -> Charter {
        Charter::read(&self.charter_bytes())
    }

    pub fn charter_bytes(&self) -> Vec<u8> {
        self.group.extensions().unknown(CHARTER).unwrap().0.clone()
    }

    /// The proposal that puts a charter in place of the room's that `change` was made to.
    pub fn recharter(&self, change: impl FnOnce(&mut Charter)) -> Part {
        let mut charter = self.charter();
        change(&mut charter);
        self.recharter_to(charter.write())
    }

    pub fn recharter_to(&self, bytes: Vec<u8>) -> Part {
        self.extend(|extensions| {
            extensions.add_or_replace(Extension::Unknown(CHARTER, UnknownExtension(bytes))).unwrap();
        })
    }

    pub fn next_epoch(&self) -> u64 {
        self.group.epoch().as_u64() + 1
    }

    /// The proposal that gives these roles, dated as they must be.
    pub fn give(&self, roles: &[(MemberId, u8)]) -> Part {
        let next = self.next_epoch();
        self.recharter(|charter| roles.iter().for_each(|(id, role)| charter.give(*id.as_bytes(), *role, next)))
    }

    pub fn extend(&self, change: impl FnOnce(&mut Extensions<GroupContext>)) -> Part {
        let mut extensions = self.group.extensions().clone();
        change(&mut extensions);
        Part::Extensions(extensions)
    }

    /// Merges another's commit.
    pub fn follow(&mut self, commit: &[u8]) {
        let message = MlsMessageIn::tls_deserialize_exact_bytes(commit).unwrap();
        let message = message.try_into_protocol_message().unwrap();
        let processed = self.group.process_message(&self.client.provider, message).unwrap();
        let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else { panic!() };
        self.group.merge_staged_commit(&self.client.provider, *staged).unwrap();
    }
}

/// A room with honest members of every role, and mal.
pub struct World {
    pub party: Party,
    pub mal: Mal,
}

impl World {
    pub fn new(role: Role) -> Self {
        let mut party = Party::new(&[
            ("ana", Role::Host),
            ("mo", Role::Moderator),
            ("ben", Role::Speaker),
            ("eve", Role::Listener),
            ("liv", Role::Listener),
        ]);
        let mal = Bare::new("mal");
        let admission = party.rooms[0].admit(&mal.card(), role).unwrap();
        party.deliver(&admission.commit);
        Self { party, mal: mal.enter(&admission) }
    }

    pub fn leaf(&self, name: &str) -> LeafNodeIndex {
        let member = self.party.rooms[0].roster().find(|member| member.name == name).unwrap();
        LeafNodeIndex::new(member.leaf.0)
    }

    /// Every honest member refuses `message`, says who wanted what, and stays as it was; then the room goes on.
    #[track_caller]
    pub fn refuse(&mut self, message: &[u8], who: Option<&str>, what: &str) {
        let expected = who.map(|name| if name == "mal" { self.mal.client.id() } else { self.party.id(name) });
        let before: Vec<State> = self.party.rooms.iter().map(state).collect();
        for (room, before) in self.party.rooms.iter_mut().zip(&before) {
            let events = room.receive(message, NOW).unwrap();
            let [Event::Refused { actor, why }] = &events[..] else { panic!("{room:?}: {:?}", gists(&events)) };
            assert_eq!(*actor, expected, "{why}");
            assert_eq!(why.actor, who.unwrap_or("somebody"), "{why}");
            assert!(why.action.contains(what), "{why}");
            assert_eq!(&state(room), before);
        }
        // The same bytes do no more the second time.
        for (room, before) in self.party.rooms.iter_mut().zip(&before) {
            assert!(!matches!(room.receive(message, NOW).as_deref(), Ok([Event::Rekeyed(_), ..])));
            assert_eq!(&state(room), before);
        }
        self.go_on();
    }

    /// Honest members can still do everything, mal can still follow, and a guest can still enter.
    #[track_caller]
    pub fn go_on(&mut self) {
        // A host first: she may whoever has committed before.
        for name in ["ana", "eve"] {
            let commit = self.party.named(name).refresh().unwrap();
            for events in self.party.deliver(&commit) {
                let told: Vec<_> = events.iter().filter(|event| !matches!(event, Event::Send(_))).collect();
                assert!(matches!(told[..], [Event::Rekeyed(_), Event::Refreshed { .. }]), "{:?}", gists(&events));
            }
            self.mal.follow(&commit);
        }
        self.party.a_guest_enters();
        assert_eq!(self.mal.group.epoch().as_u64(), self.party.rooms[0].epoch());
        assert_eq!(self.party.rooms.iter().map(Room::code).collect::<std::collections::HashSet<_>>().len(), 1);
    }
}

/// One thing in a commit of mal's.
pub enum Part {
    Proposal(Box<Proposal>),
    Add(Box<KeyPackage>),
    Extensions(Extensions<GroupContext>),
}

pub fn add(package: KeyPackage) -> Part {
    Part::Add(Box::new(package))
}

/// openmls gives no constructor; on the wire it is the leaf index.
pub fn remove(leaf: LeafNodeIndex) -> Part {
    let remove = RemoveProposal::tls_deserialize_exact_bytes(&leaf.u32().to_be_bytes()).unwrap();
    Part::Proposal(Box::new(Proposal::Remove(Box::new(remove))))
}

pub fn psk(id: PreSharedKeyId) -> Part {
    Part::Proposal(Box::new(Proposal::PreSharedKey(Box::new(PreSharedKeyProposal::new(id)))))
}
