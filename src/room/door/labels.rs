//! Every label of the door, and of the way back in: what keeps a key or a signature made for one purpose from serving another.
//!
//! A signature is over its label and the message. No label is the beginning of another of its kind, and none is of
//! MLS's, whose signed content begins with the length of its own label, a byte below 64 (RFC 9420 §5.1.2).

/// The salt under which a link's secret is extracted (HKDF, RFC 5869 §2.2).
pub(super) const LINK: &[u8] = b"parlor link 1";

// What a link's secret expands to (HKDF, RFC 5869 §2.3).
pub(super) const ADDRESS: &[u8] = b"parlor link 1 address";
pub(super) const PLATE_KEY: &[u8] = b"parlor link 1 doorplate key";
pub(super) const SIGNING_KEY: &[u8] = b"parlor link 1 signing key";

// Hashes.
pub(super) const HOST_HASH: &[u8] = b"parlor link host 1\0";
pub(super) const KNOCK_ID: &[u8] = b"parlor knock id 1\0";

// Signatures: of a host over a doorplate; of a link over an admission and a knock; of a guest over a knock.
pub(super) const PLATE: &[u8] = b"parlor doorplate 1\0";
pub(super) const ADMISSION: &[u8] = b"parlor admission by link 1\0";
pub(super) const KNOCK_BY_LINK: &[u8] = b"parlor knock by link 1\0";
pub(super) const KNOCK_BY_GUEST: &[u8] = b"parlor knock by guest 1\0";

// Of a member over their request to be brought back; and the hash that it is known by.
pub(in crate::room) const REQUEST: &[u8] = b"parlor request to come back 1\0";
pub(in crate::room) const REQUEST_ID: &[u8] = b"parlor request id 1\0";

// What HPKE seals for (its `info`, RFC 9180 §5.1).
pub(super) const KNOCK_SLOT: &[u8] = b"parlor knock slot 1";
pub(in crate::room) const REQUEST_SLOT: &[u8] = b"parlor request slot 1";
pub(super) const ANSWER: &[u8] = b"parlor answer 1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_is_the_beginning_of_another_of_its_kind() {
        for kind in [
            &[ADDRESS, PLATE_KEY, SIGNING_KEY][..],
            &[HOST_HASH, KNOCK_ID, REQUEST_ID],
            &[PLATE, ADMISSION, KNOCK_BY_LINK, KNOCK_BY_GUEST, REQUEST],
            &[KNOCK_SLOT, REQUEST_SLOT, ANSWER],
        ] {
            for (at, one) in kind.iter().enumerate() {
                assert!(kind.iter().skip(at + 1).all(|other| !one.starts_with(other) && !other.starts_with(one)));
            }
        }
        // What is signed goes on after its label with bytes of an attacker's choice.
        assert!([PLATE, ADMISSION, KNOCK_BY_LINK, KNOCK_BY_GUEST, REQUEST].iter().all(|label| label.ends_with(b"\0")));
    }
}
