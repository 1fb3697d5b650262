//! What became of the frames and packets of a voice.

/// What became of the frames and packets of a voice, counted since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Frames sealed.
    pub sealed: u64,
    /// Packets opened, those out of the parking lot included.
    pub opened: u64,
    /// Packets refused: no packet of this kind of room, or too large for one.
    pub malformed: u64,
    /// Packets refused: the tag did not verify.
    pub forged: u64,
    /// Packets refused: opened before.
    pub replayed: u64,
    /// Packets refused: their epoch's keys were erased, or they fell behind the replay window.
    pub too_late: u64,
    /// Packets refused: their sender was not on stage.
    pub not_on_stage: u64,
    /// Packets refused: their sender was muted by oneself, or their microphone was off.
    pub muted: u64,
    /// Packets refused: one's own.
    pub reflected: u64,
    /// Packets parked for an epoch on its way.
    pub parked: u64,
    /// Parked packets dropped for younger ones, at one of the lot's bounds.
    pub parked_dropped: u64,
    /// Parked packets dropped because their epoch did not come in time.
    pub parked_expired: u64,
    /// Parked packets that were taken out after their epoch had come.
    pub unparked: u64,
    /// Seals made of what one said oneself, second copies not counted.
    pub seals_made: u64,
    /// Seals of others that were taken.
    pub seals_taken: u64,
    /// Seals dropped unread, because too many forged ones had come in the speaker's name within a second.
    pub seals_unread: u64,
    /// Frames opened that a seal of their speaker's has confirmed.
    pub verified: u64,
    /// Frames opened that no seal has covered within a second.
    pub unverified: u64,
    /// Packets that somebody else in the room made in a speaker's name, played or not.
    pub impersonated: u64,
    /// Frames held for their seal.
    pub held: u64,
    /// Frames held that no seal has covered in time, or that had to make room.
    pub unsealed: u64,
}
