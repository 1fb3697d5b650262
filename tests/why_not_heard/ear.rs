//! What the ear adds: frames come out of the voice, and are not heard all the same.

use std::{f32::consts::TAU, time::Duration};

use parlor::{
    Cause, Heard, MemberId,
    sound::{Arrival, Ear, EarSettings, Encoder, Encoding, SILENCE, Samples},
};

use super::{ANA, BEN, Error, Evening, Hearing, MO, Row, ms, row};

/// How many causes it tells: all but that Opus cannot decode a packet whose framing holds. None such is known, of either
/// codec.
pub const CAUSES: usize = 9;

/// Every cause that an ear tells, of Ben's frames that Ana's voice has opened.
pub fn rows() -> Vec<Row> {
    vec![
        muted(),
        not_given(),
        no_room(),
        not_mixed_from_the_first_frame_on(),
        not_mixed_any_more(),
        no_voice_frame(),
        too_late(),
        doubled(),
        too_far_ahead(),
        faint(),
    ]
}

/// Ana's ear, and those who speak to it.
struct Listening {
    at: Evening,
    ear: Ear,
    encoders: Vec<Encoder>,
    /// When a frame of Ben's was opened and kept last, and when sound of his came out last.
    kept: Duration,
    played: Duration,
}

impl Listening {
    fn new() -> Self {
        Self::with(EarSettings::default())
    }

    fn with(settings: EarSettings) -> Self {
        let at = Evening::new();
        let encoders = at.ids.iter().map(|_| Encoder::new(Encoding::default()).unwrap()).collect();
        Self { ear: Ear::of(at.ids[ANA], settings), at, encoders, kept: Duration::ZERO, played: Duration::ZERO }
    }

    /// The next frame of `who`, a tone.
    fn sound(&mut self, who: usize, peak: f32) -> Vec<u8> {
        let tone: Samples = std::array::from_fn(|i| peak * (i as f32 * TAU / 96.0).sin());
        let mut payload = vec![0; 64];
        self.encoders[who].encode(&tone, &mut payload).unwrap();
        payload
    }

    fn packet(&mut self, who: usize, payload: &[u8]) -> Vec<u8> {
        self.at.party.voices[who].seal(payload).unwrap()
    }

    fn opens(&mut self, packet: &[u8]) -> Heard<Vec<u8>> {
        self.at.party.voices[ANA].open(packet, self.at.now).unwrap()
    }

    /// Ana's voice opens a packet, and her ear is given the frame.
    fn hears(&mut self, packet: &[u8]) -> parlor::Result<Arrival> {
        let heard = self.opens(packet);
        let arrival = self.ear.hear(&heard, self.at.now);
        if heard.speaker == self.at.ids[BEN] && matches!(arrival, Ok(Arrival::Kept)) {
            self.kept = self.at.now;
        }
        arrival
    }

    /// `who` says a frame; Ana hears it, and has what seals it.
    fn says(&mut self, who: usize, peak: f32) {
        let payload = self.sound(who, peak);
        let packet = self.packet(who, &payload);
        assert_eq!(self.hears(&packet).unwrap(), Arrival::Kept);
        self.at.seals(who, ANA);
    }

    /// Ana's device takes 20 ms of sound, and plays them.
    fn passes(&mut self) {
        let played = |ear: &Ear, ben| ear.account(ben).map_or(0, |ben| ben.counters.played);
        let (ben, before) = (self.at.ids[BEN], played(&self.ear, &self.at.ids[BEN]));
        self.ear.mix(self.at.now, &mut SILENCE.clone());
        if played(&self.ear, &ben) > before && self.ear.account(&ben).unwrap().decoded {
            self.played = self.at.now;
        }
        self.at.now += ms(20);
    }

    /// Ben speaks for a second, and is heard.
    fn ben_speaks(&mut self, peak: f32) {
        for _ in 0..50 {
            self.says(BEN, peak);
            self.passes();
        }
        assert_eq!(self.cause(), Cause::Heard);
        assert!(self.played >= self.at.now - ms(20));
    }

    fn hearing(&self) -> Hearing {
        self.at.hearing(BEN).through(self.ear.fate(&self.at.ids[BEN], self.at.now))
    }

    fn cause(&self) -> Cause {
        self.hearing().cause
    }

    /// Goes on until a second after the `last` good moment, when Ben is still heard, and one millisecond more.
    fn goes_on(mut self, last: fn(&Self) -> Duration, mut step: impl FnMut(&mut Self)) -> Self {
        while self.at.now <= last(&self) + ms(1000) {
            assert_eq!(self.cause(), Cause::Heard);
            step(&mut self);
        }
        self.at.now = last(&self) + ms(1000);
        assert_eq!(self.cause(), Cause::Heard, "a second has not passed");
        self.at.now += ms(1);
        self
    }

    /// What is told now. What the voice has counted is checked in other rows.
    fn tells(&self, cause: Cause, step: &'static str) -> Row {
        row(cause, step, self.at.hearing(BEN).counters, self.hearing())
    }
}

fn muted() -> Row {
    let mut to = Listening::new();
    to.ben_speaks(0.3);
    let ben = to.at.ids[BEN];
    to.ear.set_muted(ben, true).unwrap();
    let row = to.tells(Cause::MutedInEar, "Unmute them");
    to.ear.set_muted(ben, false).unwrap();
    assert_eq!(to.cause(), Cause::Heard);
    to.ear.set_gain(ben, 0.0).unwrap();
    assert_eq!(to.cause(), Cause::MutedInEar);
    to.ear.set_gain(ben, 0.001).unwrap();
    assert_eq!(to.cause(), Cause::Heard);
    // What the voice says goes first.
    to.ear.set_muted(ben, true).unwrap();
    to.at.party.voices[ANA].mute(&ben);
    assert_eq!(to.cause(), Cause::MutedByYou);
    to.at.party.voices[ANA].unmute(&ben);
    to.at.now += ms(1001);
    assert!(matches!(to.cause(), Cause::NoPackets { .. }), "{:?}", to.cause());
    row
}

/// Ana's app opens his frames, and that is all.
fn not_given() -> Row {
    let mut to = Listening::new();
    to.ben_speaks(0.3);
    let to = to.goes_on(
        |to| to.kept,
        |to| {
            let payload = to.sound(BEN, 0.3);
            let packet = to.packet(BEN, &payload);
            to.opens(&packet);
            to.passes();
        },
    );
    to.tells(Cause::NotGiven, "`Ear::hear`")
}

/// A thousand and twenty-four others speak at once.
fn no_room() -> Row {
    let mut to = Listening::new();
    let payload = to.sound(MO, 0.3);
    for other in 0..1024_u16 {
        let id = MemberId::from_bytes(std::array::from_fn(|at| other.to_be_bytes()[at % 2]));
        assert_eq!(to.ear.hear(&Heard::unverified(id, 0, 0, &payload), to.at.now).unwrap(), Arrival::Kept);
    }
    let payload = to.sound(BEN, 0.3);
    let [first, second] = [(); 2].map(|()| to.packet(BEN, &payload));
    assert!(matches!(to.hears(&first), Err(Error::Unusable { .. })));
    to.at.now += ms(500);
    to.opens(&second);
    to.at.now += ms(500);
    let row = to.tells(Cause::NoRoomInEar, "`Ear::forget`");
    to.at.now += ms(1);
    assert_eq!(to.cause(), Cause::NotGiven, "for a second it has turned nobody away");
    row
}

/// Ana's device never comes.
fn not_mixed_from_the_first_frame_on() -> Row {
    let mut to = Listening::new();
    to.says(BEN, 0.3);
    to.played = to.at.now;
    let to = to.goes_on(
        |to| to.played,
        |to| {
            to.at.now += ms(20);
            to.says(BEN, 0.3);
        },
    );
    to.tells(Cause::NotMixed, "`Ear::mix`")
}

/// Ana's device goes.
fn not_mixed_any_more() -> Row {
    let mut to = Listening::new();
    to.ben_speaks(0.3);
    let to = to.goes_on(
        |to| to.played,
        |to| {
            to.says(BEN, 0.3);
            to.at.now += ms(20);
        },
    );
    to.tells(Cause::NotMixed, "`Ear::mix`")
}

/// Ben's app seals Opus packets as they are.
fn no_voice_frame() -> Row {
    let opus = [0x48, 1, 2, 3];
    let mut to = Listening::new();
    let packet = to.packet(BEN, &opus);
    assert!(matches!(to.hears(&packet), Err(Error::Malformed { .. })));
    assert_eq!(to.cause(), Cause::NoVoiceFrame, "from the first on");
    let account = to.ear.account(&to.at.ids[BEN]).unwrap();
    assert_eq!((account.malformed, account.counters.received), (1, 0));

    let mut to = Listening::new();
    to.ben_speaks(0.3);
    let to = to.goes_on(
        |to| to.played,
        |to| {
            let packet = to.packet(BEN, &opus);
            to.hears(&packet).unwrap_err();
            to.passes();
        },
    );
    to.tells(Cause::NoVoiceFrame, "`VoiceFrame::write`")
}

/// Ten frames of Ben's overtake a second of his.
fn too_late() -> Row {
    let mut to = Listening::new();
    let mut held_up: Vec<_> = (0..50).map(|_| to.sound(BEN, 0.3)).collect();
    held_up.iter_mut().for_each(|frame| *frame = to.packet(BEN, frame));
    for _ in 0..10 {
        let payload = to.sound(BEN, 0.3);
        let packet = to.packet(BEN, &payload);
        to.hears(&packet).unwrap();
        to.passes();
    }
    let mut held_up = held_up.into_iter();
    let to = to.goes_on(
        |to| to.played,
        |to| {
            to.passes();
            let packet = held_up.next().unwrap();
            assert_eq!(to.hears(&packet).unwrap(), Arrival::Late);
            to.passes();
        },
    );
    to.tells(Cause::TooLateToPlay, "a longer delay")
}

/// Ben's app seals one frame again and again.
fn doubled() -> Row {
    let mut to = Listening::new();
    to.ben_speaks(0.3);
    let payload = to.sound(BEN, 0.3);
    let to = to.goes_on(
        |to| to.played,
        |to| {
            let packet = to.packet(BEN, &payload);
            to.hears(&packet).unwrap();
            to.passes();
        },
    );
    to.tells(Cause::Doubled, "each frame once")
}

/// Ben's app seals a minute of sound in a moment.
fn too_far_ahead() -> Row {
    let mut to = Listening::new();
    to.ben_speaks(0.3);
    let payload = to.sound(BEN, 0.3);
    for _ in 0..3000 {
        to.packet(BEN, &payload);
    }
    let to = to.goes_on(
        |to| to.played,
        |to| {
            let payload = to.sound(BEN, 0.3);
            let packet = to.packet(BEN, &payload);
            assert_eq!(to.hears(&packet).unwrap(), Arrival::Stray);
            to.passes();
        },
    );
    to.tells(Cause::TooFarAhead, "faster than it records")
}

/// Mo is louder, and Ana's ear decodes but one.
fn faint() -> Row {
    let mut to = Listening::with(EarSettings { voices: 1, ..EarSettings::default() });
    to.ben_speaks(0.03);
    let mut to = to.goes_on(
        |to| to.played,
        |to| {
            to.says(MO, 0.5);
            to.says(BEN, 0.03);
            to.passes();
        },
    );
    assert!(to.ear.account(&to.at.ids[BEN]).unwrap().faint > 40);
    let row = to.tells(Cause::Faint, "They speak up");
    // He says nothing, which nobody needs a decoder for.
    for _ in 0..60 {
        to.says(MO, 0.5);
        to.says(BEN, 0.0);
        to.passes();
    }
    assert_eq!((to.cause(), to.ear.account(&to.at.ids[BEN]).unwrap().decoded), (Cause::Heard, false));
    row
}
