//! The answer to a knock: sealed to the reply key in it, so that only that guest reads yes or no.
//!
//! ```text
//! answer: version = 2 (1) ‖ HPKE encapsulated key (32) ‖ sealed(AAD = version ‖ knock id, plain): a power of two in all
//! plain:  1 (1) ‖ SHA-256 of the sealed tree (32), zeros if the tree is in the welcome ‖ welcome length (4) ‖ welcome ‖ zeros
//!     or  0 (1) ‖ for good (1) ‖ reason length (1) ‖ reason ‖ zeros
//! ```
//!
//! A no is as long as a yes from the same room at the same time. Whoever could read the knock can answer it: a yes is
//! proved by the welcome in it, a no by nothing, and a guest who doubts it asks who sent the link.

use super::{Knock, KnockId, labels};
use crate::{
    bytes::{Reader, pad, put_short},
    error::{Error, Item, Result},
    room::{
        MAX_MESSAGE, TreeId, check_size,
        group::{DoorKey, ENCAPSULATED, TAG},
    },
    text::check_line,
};

/// The longest reason in bytes of UTF-8.
pub(crate) const MAX_REASON: usize = 100;

const VERSION: u8 = 2;
/// Bytes of the smallest answer.
const SMALLEST: usize = 4_096;
/// Bytes of the largest: enough for the largest welcome.
const LARGEST: usize = MAX_MESSAGE * 2;
/// What sealing adds.
const SEAL: usize = 1 + ENCAPSULATED + TAG;
/// What a yes adds to its welcome.
const YES: usize = 1 + TREE + 4;
const TREE: usize = 32;

/// What those who may let in make of a knock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict<'a> {
    /// They are in the room: a welcome for them alone, and which tree goes with it if that travels apart.
    Admitted { welcome: &'a [u8], tree: Option<TreeId> },
    /// They are not, and may knock again unless it is for good; with at most [`MAX_REASON`] bytes to it.
    Refused { for_good: bool, reason: &'a str },
}

/// What a guest was answered.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Opened {
    Admitted { welcome: Vec<u8>, tree: Option<TreeId> },
    Refused { for_good: bool, reason: String },
}

/// How long an answer is that can carry a welcome of `welcome` bytes: a power of two.
pub(crate) fn bucket_for(welcome: usize) -> usize {
    let need = welcome.saturating_add(YES + SEAL).clamp(SMALLEST, LARGEST);
    need.next_power_of_two()
}

/// Answers `knock` with `bucket` bytes, which [`bucket_for`] told and which are the same whatever the verdict is.
///
/// # Errors
/// [`Error::Unusable`] if it does not fit, or the reason is too long, does not show, or holds what turns or breaks a line.
pub(crate) fn seal(verdict: &Verdict<'_>, knock: &Knock, bucket: usize) -> Result<Vec<u8>> {
    let unusable = |why| Error::Unusable { what: "answer", why };
    if !is_bucket(bucket) {
        return Err(unusable("its length is none that `bucket_for` gives"));
    }
    let mut plain = Vec::with_capacity(bucket);
    match verdict {
        Verdict::Admitted { welcome, tree } => {
            let length = u32::try_from(welcome.len()).map_err(|_| unusable("the welcome is too long"))?;
            plain.push(1);
            plain.extend_from_slice(tree.as_ref().map_or(&[0; TREE][..], |tree| tree.as_bytes()));
            plain.extend_from_slice(&length.to_be_bytes());
            plain.extend_from_slice(welcome);
        }
        Verdict::Refused { for_good, reason } => {
            if reason.len() > MAX_REASON || check_line(reason).is_err() {
                return Err(unusable(
                    "the reason is longer than 100 bytes, does not show, or holds what turns or breaks a line",
                ));
            }
            plain.extend_from_slice(&[0, u8::from(*for_good)]);
            put_short(&mut plain, "reason", reason.as_bytes())?;
        }
    }
    pad(&mut plain, "answer", bucket - SEAL)?;
    let sealed = knock.reply().seal(&plain, labels::ANSWER, &aad(&knock.id()))?;
    Ok([&[VERSION], sealed.as_slice()].concat())
}

/// Opens the answer to the knock `id`, which asked for it to `reply`.
pub(super) fn open(answer: &[u8], reply: &DoorKey, id: &KnockId) -> Result<Opened> {
    check_size(Item::Answer, answer, LARGEST)?;
    let mut reader = Reader::new(Item::Answer, answer);
    if !is_bucket(answer.len()) {
        return Err(reader.malformed("it has a length that no answer has"));
    }
    reader.version(VERSION)?;
    let sealed = reader.bytes(answer.len() - 1)?;
    let Some(plain) = reply.open(sealed, labels::ANSWER, &aad(id)) else {
        return Err(reader.malformed("it is not the answer to your knock, or was altered"));
    };
    let mut reader = Reader::new(Item::Answer, &plain);
    let opened = if reader.flag()? {
        let tree = Some(reader.array()?).filter(|tree| *tree != [0; TREE]).map(TreeId);
        let length = u32::from_be_bytes(reader.array()?);
        let length = usize::try_from(length).map_err(|_| reader.malformed("it was cut short"))?;
        Opened::Admitted { welcome: reader.bytes(length)?.to_vec(), tree }
    } else {
        Opened::Refused { for_good: reader.flag()?, reason: reader.text(MAX_REASON)?.to_owned() }
    };
    reader.padding()?;
    Ok(opened)
}

const fn is_bucket(length: usize) -> bool {
    length.is_power_of_two() && length >= SMALLEST && length <= LARGEST
}

fn aad(id: &KnockId) -> Vec<u8> {
    [&[VERSION], id.as_bytes().as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::{
        super::party::{self, Door, LATER},
        *,
    };

    /// A knock as its reader has it, and the key that its answer is sealed to.
    fn knock() -> (Knock, DoorKey) {
        let door = Door::new();
        let (waiting, bytes) = party::guest("ben").knock(&door.link, &door.plate(1), "", LATER).unwrap();
        (door.open(&bytes).unwrap(), waiting.reply)
    }

    const NO: Verdict<'_> = Verdict::Refused { for_good: true, reason: "full" };

    #[test]
    fn a_no_is_as_long_as_a_yes() {
        let (knock, reply) = knock();
        let biggest = vec![7; LARGEST - YES - SEAL];
        for (welcome, length) in [
            (0, 4_096),
            (4_010, 4_096),
            (4_011, 8_192),
            (20_000, 32_768),
            (MAX_MESSAGE, LARGEST),
            (biggest.len(), LARGEST),
        ] {
            let bucket = bucket_for(welcome);
            let tree = (welcome % 2 == 0).then(|| TreeId::of(b"a tree"));
            let yes = seal(&Verdict::Admitted { welcome: &biggest[..welcome], tree }, &knock, bucket).unwrap();
            let no = seal(&NO, &knock, bucket).unwrap();
            assert_eq!((yes.len(), no.len()), (length, length));
            let welcome = biggest[..welcome].to_vec();
            assert_eq!(open(&yes, &reply, &knock.id()).unwrap(), Opened::Admitted { welcome, tree });
            let said = Opened::Refused { for_good: true, reason: "full".into() };
            assert_eq!(open(&no, &reply, &knock.id()).unwrap(), said);
        }
    }

    #[test]
    fn an_answer_opens_for_its_own_knock_only_and_as_it_was_sealed() {
        let (ours, reply) = knock();
        let (theirs, other_reply) = knock();
        let answer = seal(&NO, &ours, 4_096).unwrap();
        assert!(open(&answer, &reply, &theirs.id()).is_err());
        assert!(open(&answer, &other_reply, &ours.id()).is_err());
        for at in (0..answer.len()).step_by(7).chain(0..64) {
            let mut altered = answer.clone();
            altered[at] ^= 1;
            assert!(open(&altered, &reply, &ours.id()).is_err(), "byte {at}");
            assert!(open(&answer[..at], &reply, &ours.id()).is_err(), "{at} bytes");
        }
        assert!(open(&[&answer[..], &[0]].concat(), &reply, &ours.id()).is_err());
        assert!(open(&vec![1; LARGEST + 1], &reply, &ours.id()).is_err());
    }

    #[test]
    fn an_answer_has_one_encoding() {
        let (knock, reply) = knock();
        let sealed = |plain: &[u8]| {
            let mut plain = plain.to_vec();
            plain.resize(4_096 - SEAL, 0);
            let sealed = knock.reply().seal(&plain, labels::ANSWER, &aad(&knock.id())).unwrap();
            [&[VERSION], &sealed[..]].concat()
        };
        assert!(open(&sealed(&[0, 1, 1, b'x']), &reply, &knock.id()).is_ok());
        let yes = |rest: &[u8]| [&[1], &[7; TREE][..], rest].concat();
        assert!(open(&sealed(&yes(&[0, 0, 0, 1, b'w'])), &reply, &knock.id()).is_ok());
        for bad in [
            &[2][..],
            &[0, 2],
            &[0, 1, 1, b'\n'],
            &[0, 1, 101],
            &[0, 1, 1, 0xFF],
            &[0, 1, 0, 1],
            &yes(&[0, 0, 0, 1, 0, 1]),
            &yes(&[255]),
        ] {
            assert!(open(&sealed(bad), &reply, &knock.id()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_sealed() {
        let (knock, _) = knock();
        let refused =
            |verdict: Verdict<'_>, bucket| matches!(seal(&verdict, &knock, bucket), Err(Error::Unusable { .. }));
        for bucket in [0, 2_048, 5_000, LARGEST * 2] {
            assert!(refused(NO, bucket));
        }
        assert!(refused(Verdict::Admitted { welcome: &[0; 4_011], tree: None }, 4_096));
        for reason in ["a\nb", &"x".repeat(MAX_REASON + 1)] {
            assert!(refused(Verdict::Refused { for_good: false, reason }, 4_096));
        }
    }
}
