//! The door as an app sees it: links as text, and gates as bytes. What is sealed is tested beside the code, where
//! the tests can make it as an attacker would.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use parlor::{
    Error, Identity, Item, Link,
    room::door::{Gate, KNOCK_LEN, LinkId, MAX_HINT, PLATE_LEN, UnixTime},
};

fn link() -> Link {
    Link::generate(Identity::generate("ana").unwrap().id()).unwrap()
}

#[track_caller]
fn refused(text: &str) {
    let error = text.parse::<Link>().unwrap_err();
    assert!(matches!(error, Error::Malformed { what: Item::Link, .. }), "{text}: {error}");
}

#[test]
fn a_link_comes_back_from_its_text() {
    for hint in ["", "relay.example:4433", "[2001:db8::1]:4433/a~b_c-%41@d", &"h".repeat(MAX_HINT)] {
        let link = link().with_hint(hint).unwrap();
        let text = link.reveal();
        assert_eq!(text.len(), "parlor:#".len() + hint.len() + 87);
        let again: Link = text.parse().unwrap();
        assert_eq!((again.id(), again.address(), again.hint()), (link.id(), link.address(), hint));
        assert_eq!(again.gate(), link.gate());
        assert_eq!(*again.reveal(), *text);
    }
}

#[test]
fn a_link_that_was_cut_short_or_added_to_is_refused() {
    let text = link().with_hint("relay.example").unwrap().reveal();
    for length in 0..text.len() {
        refused(&text[..length]);
    }
    for added in ["A", "=", " ", "\n", "#", "AAAA"] {
        refused(&format!("{}{added}", *text));
        refused(&format!("{added}{}", *text));
    }
}

#[test]
fn a_link_has_one_text() {
    let text = link().reveal();
    let body = text.strip_prefix("parlor:#").unwrap();
    refused(&format!("PARLOR:#{body}"));
    refused(&format!("parlor://#{}", &body[..86]));
    refused(&format!("parlor:{body}"));
    refused(&format!("https:#{body}"));
    // Another alphabet, and characters of none.
    for (at, wrong) in [(5, '+'), (5, '/'), (5, '='), (5, ' '), (86, '.'), (40, 'ä')] {
        let mut altered: Vec<char> = body.chars().collect();
        altered[at] = wrong;
        refused(&format!("parlor:#{}", altered.into_iter().collect::<String>()));
    }
    // The last character carries bits that are no part of any byte.
    let last = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let accepted =
        last.iter().filter(|last| format!("parlor:#{}{}", &body[..86], char::from(**last)).parse::<Link>().is_ok());
    assert_eq!(accepted.count(), 16);
    // Other versions.
    let bytes = BASE64.decode(body).unwrap();
    for version in [0, 2, 255] {
        let other = BASE64.encode([&[version], &bytes[1..]].concat());
        refused(&format!("parlor:#{other}"));
    }
}

#[test]
fn a_hint_is_short_and_plain() {
    let body = link().reveal().strip_prefix("parlor:#").unwrap().to_owned();
    for hint in ["a b", "a#b", "a?b", "ä", "a\nb", "<a>", "\"", &"h".repeat(MAX_HINT + 1)] {
        assert!(link().with_hint(hint).is_err(), "{hint}");
        refused(&format!("parlor:{hint}#{body}"));
    }
}

#[test]
fn neither_debug_nor_display_shows_the_secret() {
    let link = link().with_hint("relay.example").unwrap();
    let text = link.reveal();
    let body = text.split_once('#').unwrap().1;
    let secret = &BASE64.decode(body).unwrap()[33..];
    let shown =
        format!("{link} {link:?} {link:#?} {} {} {:?} {:?}", link.id(), link.address(), link.address(), link.gate());
    assert!(shown.starts_with("parlor:relay.example#… "), "{shown}");
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal = format!("{:?}", &secret[..4]);
    for window in 0..body.len() - 8 {
        assert!(!shown.contains(&body[window..window + 8]), "{shown}");
    }
    assert!(!shown.contains(&hex[..8]) && !shown.contains(&decimal[1..decimal.len() - 1]), "{shown}");
}

#[test]
fn an_error_about_a_link_does_not_repeat_it() {
    let text = link().reveal();
    for bad in [&text[..94], &text.replace("parlor:", "parler:"), &format!("{}A", *text)] {
        let error = Link::parse(bad).unwrap_err();
        let body = text.split_once('#').unwrap().1;
        assert!(!format!("{error} {error:?}").contains(&body[10..18]));
    }
}

#[test]
fn the_relays_part_of_a_link_is_neither_the_link_nor_its_secret() {
    let link = link();
    let gate = link.gate().to_bytes();
    let body = BASE64.decode(link.reveal().split_once('#').unwrap().1).unwrap();
    for part in body[1..].windows(8) {
        assert!(!gate.windows(8).any(|window| window == part));
    }
    let gate = Gate::from_bytes(&gate).unwrap();
    assert_eq!((gate.id(), gate.address()), (link.id(), link.address()));
    assert_eq!(LinkId::from_bytes(*gate.id().as_bytes()), link.id());
}

#[test]
fn a_gate_takes_nothing_that_is_no_knock() {
    let gate = link().gate();
    let mut lengths: Vec<usize> = (0..KNOCK_LEN).step_by(61).collect();
    lengths.push(KNOCK_LEN);
    for length in lengths {
        for byte in [0, 1, 255] {
            let error = gate.check(&vec![byte; length]).unwrap_err();
            assert!(matches!(error, Error::Malformed { what: Item::Knock, .. }), "{error}");
        }
    }
    assert!(matches!(
        gate.check(&vec![1; 10_000_000]),
        Err(Error::TooLarge { what: Item::Knock, limit: KNOCK_LEN, .. })
    ));
}

#[test]
fn a_doorplate_of_nobody_is_refused() {
    let link = link();
    for length in [0, 1, 100, PLATE_LEN - 1, PLATE_LEN] {
        for byte in [0, 1, 255] {
            let error = link.read_doorplate(&vec![byte; length]).unwrap_err();
            assert!(matches!(error, Error::Malformed { what: Item::Doorplate, .. }), "{error}");
        }
    }
    let huge = link.read_doorplate(&vec![1; 10_000_000]).unwrap_err();
    assert!(matches!(huge, Error::TooLarge { what: Item::Doorplate, limit: PLATE_LEN, .. }), "{huge}");
}

#[test]
fn a_time_of_day_neither_wraps_nor_panics() {
    use std::time::{Duration, SystemTime};
    assert_eq!(UnixTime(u64::MAX).plus(1), UnixTime(u64::MAX));
    assert_eq!(UnixTime::from(SystemTime::UNIX_EPOCH - Duration::from_secs(9)), UnixTime(0));
    assert_eq!(UnixTime::from(SystemTime::UNIX_EPOCH + Duration::from_millis(9_999)), UnixTime(9));
}
