//! The archive: what a member keeps in a room that keeps evidence, to make clips of.
//!
//! It holds the last packets that were given out and the last seals that verified, in one store of fixed size: the
//! oldest make room, nothing is allocated for one more, and whoever floods it pushes out the past but makes it no
//! bigger. Until a seal is there nobody knows whether a packet is the speaker's, so forgeries that were given out lie
//! here too; a clip takes the packet that has the sealed hash.
//!
//! Invariant: the bytes of all records lie one behind the other in `bytes`, in the records' order. A frame key stays
//! here for as long as a packet or seal under it does, or its epoch lasts, and is wiped then.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
};

use crate::{
    error::{Error, Result},
    identity::{LeafIndex, MemberId},
    media::{
        Suite,
        clip::{self, Draft, MAX_CLIP},
        keys::KeyAndSalt,
        seal::{
            MediaCertificate, Proof,
            statement::{PacketHash, Seal, packet_hash},
        },
    },
};

/// The store is cut for records of this length: a second of one speaker is 50 packets of 100 bytes and more. If they are
/// shorter it holds fewer bytes.
const SHORT_RECORD: usize = 64;

pub(in crate::media) struct Archive {
    capacity: usize,
    bytes: VecDeque<u8>,
    records: VecDeque<Record>,
    places: Vec<Place>,
    /// How many sources there were.
    entered: u64,
}

/// One speaker in one epoch, and the key of what they said.
pub(in crate::media) struct Source {
    pub(in crate::media) epoch: u64,
    pub(in crate::media) transcript: Box<[u8]>,
    pub(in crate::media) leaf: LeafIndex,
    pub(in crate::media) speaker: MemberId,
    pub(in crate::media) name: String,
    pub(in crate::media) certificate: MediaCertificate,
    /// Of `key`.
    pub(in crate::media) kid: u64,
    pub(in crate::media) key: KeyAndSalt,
}

/// A source of an archive, for as long as that keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::media) struct SourceId {
    place: usize,
    number: u64,
}

/// A place for a source, free or taken.
struct Place {
    source: Option<Source>,
    /// Which of all sources it is or was.
    number: u64,
    /// How many records are its.
    records: usize,
    /// Whether older ones had to go.
    evicted: bool,
    /// No more will come.
    over: bool,
}

struct Record {
    place: usize,
    length: usize,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Packet {
        counter: u64,
    },
    /// The bytes are hashes and signature.
    Seal {
        number: u64,
        proof: Proof,
        first: u64,
    },
}

impl Archive {
    /// An archive of `capacity` bytes of packets and seals; all that it will need for them is allocated here.
    pub(in crate::media) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            bytes: VecDeque::with_capacity(capacity),
            records: VecDeque::with_capacity(capacity / SHORT_RECORD),
            places: Vec::new(),
            entered: 0,
        }
    }

    /// A speaker of an epoch whose keys have come.
    pub(in crate::media) fn enter(&mut self, source: Source) -> SourceId {
        let number = self.entered;
        self.entered += 1;
        let taken = Place { source: Some(source), number, records: 0, evicted: false, over: false };
        let free = self.places.iter().position(|place| place.source.is_none());
        let place = free.unwrap_or(self.places.len());
        match self.places.get_mut(place) {
            Some(free) => *free = taken,
            None => self.places.push(taken),
        }
        SourceId { place, number }
    }

    /// Nothing more comes of epochs before `epoch`: what is kept of them stays until it has to make room.
    pub(in crate::media) fn retire(&mut self, epoch: u64) {
        for place in &mut self.places {
            place.over |= place.source.as_ref().is_some_and(|source| source.epoch < epoch);
            place.tidy();
        }
    }

    /// A packet whose tag verified and that was given out.
    pub(in crate::media) fn packet(&mut self, source: SourceId, counter: u64, packet: &[u8]) {
        self.push(source, What::Packet { counter }, [packet, &[]]);
    }

    /// A seal that verified.
    pub(in crate::media) fn seal(&mut self, source: SourceId, seal: &Seal) {
        let what = What::Seal { number: seal.number, proof: seal.proof, first: seal.first };
        self.push(source, what, [seal.hashes.as_flattened(), &seal.signature]);
    }

    /// The newest that `speaker` said under seals that follow one another without a gap, with the packets that are there.
    ///
    /// `of` names an epoch and counters in it: then it is of those seals alone that cover one of them. A clip that
    /// would be too long loses its beginning.
    ///
    /// # Errors
    /// [`Error::Unusable`] if nothing sealed of theirs is kept, or the room keeps no evidence.
    pub(in crate::media) fn export(
        &self,
        room: &[u8; 32],
        suite: Suite,
        speaker: &MemberId,
        of: Option<(u64, RangeInclusive<u64>)>,
    ) -> Result<Draft> {
        let nothing = || Error::Unusable {
            what: "clip",
            why: "nothing of theirs that they sealed is kept: it is too long ago, or their seals did not come",
        };
        let (place, seals) = self.newest_run(speaker, of.as_ref()).ok_or_else(nothing)?;
        if seals.iter().any(|seal| seal.proof != Proof::Evidence) {
            return Err(no_evidence());
        }
        let source = place.source.as_ref().ok_or_else(nothing)?;
        let packets = self.packets_of(place, &seals);
        let (mut seals, mut packets) = (seals.as_slice(), packets.as_slice());
        let mut length = clip::length(source, seals, packets);
        while let [first, rest @ ..] = seals
            && let Some((theirs, others)) = packets.split_at_checked(first.hashes.len())
        {
            // What is gone from the beginning once something had to make room, was no loss on the way.
            let begins_with_a_gap = place.evicted && theirs.first().is_some_and(Option::is_none);
            if length <= MAX_CLIP && !begins_with_a_gap {
                break;
            }
            length -= clip::length_of_part(std::slice::from_ref(first), theirs);
            (seals, packets) = (rest, others);
        }
        if packets.iter().all(Option::is_none) {
            return Err(nothing());
        }
        Draft::new(*room, suite, source, seals, packets)
    }

    fn push(&mut self, source: SourceId, what: What, parts: [&[u8]; 2]) {
        let length = parts.iter().map(|part| part.len()).sum();
        if length > self.capacity || self.place_of(source).is_none() {
            return;
        }
        while self.bytes.len() + length > self.capacity || self.records.len() >= self.capacity / SHORT_RECORD {
            if !self.evict() {
                return;
            }
        }
        // The last record of the source itself may have gone.
        let Some(place) = self.place_of(source) else { return };
        place.records += 1;
        for part in parts {
            self.bytes.extend(part);
        }
        self.records.push_back(Record { place: source.place, length, what });
    }

    fn place_of(&mut self, source: SourceId) -> Option<&mut Place> {
        self.places.get_mut(source.place).filter(|place| place.number == source.number && place.source.is_some())
    }

    /// Drops the oldest record, and the source that has none left and gets no more.
    fn evict(&mut self) -> bool {
        let Some(Record { place, length, .. }) = self.records.pop_front() else { return false };
        self.bytes.drain(..length);
        if let Some(place) = self.places.get_mut(place) {
            place.records -= 1;
            place.evicted = true;
            place.tidy();
        }
        true
    }

    fn newest_run(&self, speaker: &MemberId, of: Option<&(u64, RangeInclusive<u64>)>) -> Option<(&Place, Vec<Seal>)> {
        let mut newest: Option<(u64, &Place, BTreeMap<u64, Seal>)> = None;
        for (record, place, at) in self.records() {
            let What::Seal { number, proof, first } = record.what else { continue };
            let Some(source) = place.source.as_ref().filter(|source| source.speaker == *speaker) else { continue };
            let bytes = self.copy(at, record.length);
            let Some((hashes, signature)) = bytes.split_last_chunk() else { continue };
            let hashes = hashes.as_chunks().0.to_vec();
            let seal = Seal { number, proof, first, hashes, signature: *signature };
            if let Some((epoch, counters)) = of
                && (source.epoch != *epoch || seal.end() <= *counters.start() || seal.first > *counters.end())
            {
                continue;
            }
            match &mut newest {
                Some((epoch, _, seals)) if *epoch == source.epoch => _ = seals.insert(number, seal),
                Some((epoch, ..)) if *epoch > source.epoch => {}
                _ => newest = Some((source.epoch, place, BTreeMap::from([(number, seal)]))),
            }
        }
        let (_, place, seals) = newest?;
        let mut run: Vec<Seal> = Vec::new();
        for seal in seals.into_values().rev() {
            if run.last().is_some_and(|next| next.number != seal.number + 1 || next.first != seal.end()) {
                break;
            }
            run.push(seal);
        }
        run.reverse();
        Some((place, run))
    }

    /// For each hash in `seals`, which follow one another, the packet that has it.
    fn packets_of(&self, of: &Place, seals: &[Seal]) -> Vec<Option<Vec<u8>>> {
        let sealed: Vec<&PacketHash> = seals.iter().flat_map(|seal| &seal.hashes).collect();
        let first = seals.first().map_or(0, |seal| seal.first);
        let mut packets = vec![None; sealed.len()];
        for (record, place, at) in self.records() {
            let What::Packet { counter } = record.what else { continue };
            let index = counter.checked_sub(first).and_then(|index| usize::try_from(index).ok());
            let Some(index) = index.filter(|_| place.number == of.number) else { continue };
            let (Some(hash), Some(slot)) = (sealed.get(index), packets.get_mut(index)) else { continue };
            let packet = self.copy(at, record.length);
            if packet_hash(&packet) == **hash {
                *slot = Some(packet);
            }
        }
        packets
    }

    /// Each record, whose it is, and where its bytes are; the oldest first.
    fn records(&self) -> impl Iterator<Item = (&Record, &Place, usize)> {
        let mut next = 0;
        self.records.iter().filter_map(move |record| {
            let at = next;
            next += record.length;
            Some((record, self.places.get(record.place)?, at))
        })
    }

    fn copy(&self, at: usize, length: usize) -> Vec<u8> {
        self.bytes.iter().skip(at).take(length).copied().collect()
    }
}

impl Place {
    fn tidy(&mut self) {
        if self.over && self.records == 0 {
            self.source = None;
        }
    }
}

/// What to say where there is no archive.
pub(in crate::media) const fn no_evidence() -> Error {
    Error::Unusable { what: "clip", why: "this room keeps no evidence: what is said in it cannot be proved afterwards" }
}
