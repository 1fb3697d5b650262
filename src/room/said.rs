//! What members say to everybody beside their commits, as a [word](super::words) carries it: who said it and in which
//! epoch is proved, and each word is heard once.
//!
//! ```text
//! kind (1) ‖ body
//!   1 leave      nothing
//!   2 stance     turn (4) ‖ marks (1): 1 hand up, 2 microphone off
//!   3 invite     whom (32)
//!   4 answer     the id of the word that invited (16) ‖ 1 yes, 0 no (1)
//!   5 chat       see chat.rs
//!   6 reaction   UTF-8
//!   7 code       to whom (32) ‖ see short_code.rs
//!   8 turned away  knock id (16) ‖ whose (32)
//!   9 forgiven   whose (32)
//! ```
//!
//! A member may have written any bytes here. A kind that is unknown is left alone: a later version says more.

use crate::{
    error::{Error, Item, Result},
    identity::MemberId,
    room::words::WordId,
};

/// The most bytes of a body.
const MAX_BODY: usize = 4 * 1024;

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// "I want to leave."
    Leave,
    /// All that one says of oneself, so that a later word stands for every earlier one.
    Stance(Stance),
    /// "Would you like to speak?"
    Invite(MemberId),
    /// "Yes" or "no" to that word.
    Answer { invitation: WordId, yes: bool },
    /// A sealed line of chat.
    Chat(Vec<u8>),
    /// A reaction.
    Reaction(Vec<u8>),
    /// A step of a short code's exchange.
    Code { to: MemberId, step: Vec<u8> },
    /// "I have turned this knock away."
    TurnedAway { knock: [u8; 16], whose: MemberId },
    /// "Nothing is held against them at the door any more."
    Forgiven(MemberId),
}

/// A member's word on their own hand and microphone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stance {
    /// It grows with every word of theirs.
    pub(crate) turn: u32,
    pub(crate) hand_up: bool,
    pub(crate) mic_off: bool,
}

impl Said {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Leave => (1, Vec::new()),
            Self::Stance(Stance { turn, hand_up, mic_off }) => {
                (2, [&turn.to_be_bytes()[..], &[u8::from(*hand_up) | (u8::from(*mic_off) << 1)]].concat())
            }
            Self::Invite(whom) => (3, whom.as_bytes().to_vec()),
            Self::Answer { invitation, yes } => (4, [&invitation.0[..], &[u8::from(*yes)]].concat()),
            Self::Chat(line) => (5, line.clone()),
            Self::Reaction(reaction) => (6, reaction.clone()),
            Self::Code { to, step } => (7, [to.as_bytes().as_slice(), step].concat()),
            Self::TurnedAway { knock, whose } => (8, [&knock[..], whose.as_bytes()].concat()),
            Self::Forgiven(whose) => (9, whose.as_bytes().to_vec()),
        };
        [&[kind], body.as_slice()].concat()
    }

    /// Reads what a word says; `None` for a kind that this version does not know.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>> {
        let malformed = |why| Error::Malformed { what: Item::Message, why };
        let Some((kind, body)) = bytes.split_first() else { return Err(malformed("it says nothing")) };
        if body.len() > MAX_BODY {
            return Err(malformed("it says too much"));
        }
        let wrong_length = || malformed("its length is not that of its kind");
        let yes = |byte: u8| match byte {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(malformed("it says neither yes nor no")),
        };
        Ok(Some(match *kind {
            1 if body.is_empty() => Self::Leave,
            1 => return Err(wrong_length()),
            2 => match body {
                [a, b, c, d, marks] if *marks < 4 => Self::Stance(Stance {
                    turn: u32::from_be_bytes([*a, *b, *c, *d]),
                    hand_up: marks & 1 != 0,
                    mic_off: marks & 2 != 0,
                }),
                _ => return Err(wrong_length()),
            },
            3 => Self::Invite(MemberId::from_slice(body).ok_or_else(wrong_length)?),
            4 => match body.split_first_chunk::<16>() {
                Some((invitation, [answer])) => Self::Answer { invitation: WordId(*invitation), yes: yes(*answer)? },
                _ => return Err(wrong_length()),
            },
            5 => Self::Chat(body.to_vec()),
            6 => Self::Reaction(body.to_vec()),
            7 => {
                let (to, step) = body.split_first_chunk::<32>().ok_or_else(wrong_length)?;
                Self::Code { to: MemberId::from_bytes(*to), step: step.to_vec() }
            }
            8 => {
                let (knock, whose) = body.split_first_chunk::<16>().ok_or_else(wrong_length)?;
                Self::TurnedAway { knock: *knock, whose: MemberId::from_slice(whose).ok_or_else(wrong_length)? }
            }
            9 => Self::Forgiven(MemberId::from_slice(body).ok_or_else(wrong_length)?),
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_comes_back_and_no_other_length_does() {
        let id = MemberId::from_bytes([7; 32]);
        for said in [
            Said::Leave,
            Said::Stance(Stance { turn: 9, hand_up: true, mic_off: false }),
            Said::Invite(id),
            Said::Answer { invitation: WordId([5; 16]), yes: true },
            Said::TurnedAway { knock: [3; 16], whose: id },
            Said::Forgiven(id),
        ] {
            let bytes = said.encode();
            assert_eq!(Said::decode(&bytes).unwrap(), Some(said));
            for len in 0..bytes.len() {
                assert!(Said::decode(&bytes[..len]).is_err(), "cut to {len}");
            }
            assert!(Said::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
        for said in [Said::Chat(vec![1, 2]), Said::Reaction(vec![3]), Said::Code { to: id, step: vec![4, 5] }] {
            assert_eq!(Said::decode(&said.encode()).unwrap(), Some(said));
        }
        assert!(Said::decode(&[&[4][..], &[5; 16], &[2]].concat()).is_err());
        assert!(Said::decode(&[2, 0, 0, 0, 0, 4]).is_err());
        assert!(Said::decode(&[&[5][..], &[0; MAX_BODY + 1]].concat()).is_err());
    }

    #[test]
    fn what_a_later_version_says_is_left_alone() {
        assert_eq!(Said::decode(&[200, 1, 2]).unwrap(), None);
    }
}
