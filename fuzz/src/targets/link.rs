//! Links as text, and what the relay gets of them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use parlor::{Link, room::door::MAX_HINT};

use super::input::Input;

/// A link has one text, and shows its secret to nobody.
pub fn link(data: &[u8]) {
    let mut input = Input::new(data);
    let text = match input.below(3) {
        0 => String::from_utf8_lossy(input.rest()).into_owned(),
        // Any body under any hint.
        1 => {
            let hint = String::from_utf8_lossy(input.run()).into_owned();
            format!("parlor:{hint}#{}", BASE64.encode(input.rest()))
        }
        // The right length, and a change or two to the text.
        _ => {
            let hint = String::from_utf8_lossy(input.run()).into_owned();
            let body = [&[1][..], &input.array::<64>()].concat();
            let text = format!("parlor:{hint}#{}", BASE64.encode(body));
            String::from_utf8_lossy(&input.mutate(text.as_bytes())).into_owned()
        }
    };
    let Ok(link) = Link::parse(&text) else { return };
    assert_eq!(*link.reveal(), text, "two texts of one link");
    assert!(link.hint().len() <= MAX_HINT && link.hint().is_ascii());
    let (front, body) = text.split_once('#').unwrap();
    let shown = format!("{link} {link:?}");
    assert!(shown.starts_with(front));
    // The hint is shown, and may hold anything.
    assert!(link.hint().contains(&body[44..]) || !shown.contains(&body[44..]), "the secret is shown");
    let again = Link::parse(&text).unwrap();
    assert_eq!((again.id(), again.address(), again.gate()), (link.id(), link.address(), link.gate()));
    let moved = again.with_hint("relay.example").unwrap();
    assert_eq!((moved.id(), moved.address()), (link.id(), link.address()));
}
