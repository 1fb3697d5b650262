//! Which text of a peer's is fit to be shown: names, lines (titles, topics, notes, reasons), and texts of the chat.
//!
//! A name follows the string class of RFC 8266 (nicknames): FreeformClass of RFC 8264 §4.3, without the spaces that
//! RFC 8266 §2.1 takes out. That leaves letters of every script with their marks, digits, punctuation, symbols (emoji of
//! one code point and those with a skin tone among them) and single spaces inside. It leaves out whatever does not show
//! or turns text around. The two joiners may stand where RFC 5892 (A.1, A.2) lets them, as Persian and the scripts of
//! India need them. An emoji made of several by joiners, variation selectors or tags is no name: what holds it together
//! does not show, and so two names could look alike.
//!
//! **All members judge names alike.** A commit that brings somebody in, and the tree that a newcomer reads, are judged by
//! [`check_name`]: tables that are written down here and are the same whichever Unicode a member's libraries know. Only
//! who makes a name or lets somebody in goes by more ([`check_own_name`]), which may differ from member to member: whom
//! one member turns away, another may admit, and all follow.
//!
//! A line or a text is the author's own, so it may hold anything that cannot reach beyond it: joiners and selectors
//! too. Code points that are not assigned yet pass: they show as a box, and next year's emoji are no reason to refuse.

use std::{
    cmp::Ordering::{Equal, Greater, Less},
    fmt::{self, Write as _},
};

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};
use unicode_security::{GeneralSecurityProfile as _, skeleton};

/// Code points from the first to the last, ascending.
type Ranges = [(u32, u32)];

/// Default_Ignorable_Code_Point, those set aside for later ones among them: what does not show.
#[rustfmt::skip]
const IGNORABLE: &Ranges = &[
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
];

/// Spaces (Zs) other than U+0020, and what is drawn as nothing though it is no space: Braille pattern blank, Khitan
/// filler, null notehead.
const BLANK: &Ranges = &[
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x2800, 0x2800),
    (0x3000, 0x3000),
    (0x16FE4, 0x16FE4),
    (0x1D159, 0x1D159),
];

/// Format controls (Cf) that show, and the object replacement character.
#[rustfmt::skip]
const FORMAT: &Ranges = &[
    (0x600, 0x605), (0x6DD, 0x6DD), (0x70F, 0x70F), (0x890, 0x891), (0x8E2, 0x8E2), (0xFFF9, 0xFFFC),
    (0x110BD, 0x110BD), (0x110CD, 0x110CD), (0x13430, 0x1343F),
];

/// What no text holds: line and paragraph separator, deprecated format controls, what annotates or is set aside beside
/// it, private use. Control characters and noncharacters come by rule.
const NOWHERE: &Ranges = &[
    (0x2028, 0x2029),
    (0x206A, 0x206F),
    (0xE000, 0xF8FF),
    (0xFFF0, 0xFFFC),
    (0xF0000, 0xFFFFF),
    (0x10_0000, 0x10_FFFF),
];

/// Bidi_Control.
const BIDI: &Ranges = &[(0x61C, 0x61C), (0x200E, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069)];

/// The blocks that hold combining marks and nothing else.
const MARKS: &Ranges = &[(0x300, 0x36F), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE20, 0xFE2F)];

/// Canonical_Combining_Class=Virama: after it both joiners may stand.
#[rustfmt::skip]
const VIRAMA: &Ranges = &[
    (0x94D, 0x94D), (0x9CD, 0x9CD), (0xA4D, 0xA4D), (0xACD, 0xACD), (0xB4D, 0xB4D), (0xBCD, 0xBCD), (0xC4D, 0xC4D),
    (0xCCD, 0xCCD), (0xD3B, 0xD3C), (0xD4D, 0xD4D), (0xDCA, 0xDCA), (0xE3A, 0xE3A), (0xEBA, 0xEBA), (0xF84, 0xF84),
    (0x1039, 0x103A), (0x1714, 0x1715), (0x1734, 0x1734), (0x17D2, 0x17D2), (0x1A60, 0x1A60), (0x1B44, 0x1B44),
    (0x1BAA, 0x1BAB), (0x1BF2, 0x1BF3), (0x2D7F, 0x2D7F), (0xA806, 0xA806), (0xA82C, 0xA82C), (0xA8C4, 0xA8C4),
    (0xA953, 0xA953), (0xA9C0, 0xA9C0), (0xAAF6, 0xAAF6), (0xABED, 0xABED), (0x10A3F, 0x10A3F), (0x11046, 0x11046),
    (0x11070, 0x11070), (0x1107F, 0x1107F), (0x110B9, 0x110B9), (0x11133, 0x11134), (0x111C0, 0x111C0),
    (0x11235, 0x11235), (0x112EA, 0x112EA), (0x1134D, 0x1134D), (0x113CE, 0x113D0), (0x11442, 0x11442),
    (0x114C2, 0x114C2), (0x115BF, 0x115BF), (0x1163F, 0x1163F), (0x116B6, 0x116B6), (0x1172B, 0x1172B),
    (0x11839, 0x11839), (0x1193D, 0x1193E), (0x119E0, 0x119E0), (0x11A34, 0x11A34), (0x11A47, 0x11A47),
    (0x11A99, 0x11A99), (0x11C3F, 0x11C3F), (0x11D44, 0x11D45), (0x11D97, 0x11D97), (0x11F41, 0x11F42),
    (0x1612F, 0x1612F),
];

/// Joining_Type=Dual_Joining in the blocks of the Arabic script: letters that join the next one.
#[rustfmt::skip]
const JOINS_NEXT: &Ranges = &[
    (0x620, 0x620), (0x626, 0x626), (0x628, 0x628), (0x62A, 0x62E), (0x633, 0x63F), (0x641, 0x647), (0x649, 0x64A),
    (0x66E, 0x66F), (0x678, 0x687), (0x69A, 0x6BF), (0x6C1, 0x6C2), (0x6CC, 0x6CC), (0x6CE, 0x6CE), (0x6D0, 0x6D1),
    (0x6FA, 0x6FC), (0x6FF, 0x6FF), (0x750, 0x758), (0x75C, 0x76A), (0x76D, 0x770), (0x772, 0x772), (0x775, 0x777),
    (0x77A, 0x77F), (0x886, 0x886), (0x889, 0x88D), (0x88F, 0x88F), (0x8A0, 0x8A9), (0x8AF, 0x8B0), (0x8B3, 0x8B8),
    (0x8BA, 0x8C8),
];

/// Joining_Type=Dual_Joining or Right_Joining there: letters that join the one before.
#[rustfmt::skip]
const JOINS_LAST: &Ranges = &[
    (0x620, 0x620), (0x622, 0x63F), (0x641, 0x64A), (0x66E, 0x66F), (0x671, 0x673), (0x675, 0x6D3), (0x6D5, 0x6D5),
    (0x6EE, 0x6EF), (0x6FA, 0x6FC), (0x6FF, 0x6FF), (0x750, 0x77F), (0x870, 0x882), (0x886, 0x886), (0x889, 0x88F),
    (0x8A0, 0x8AC), (0x8AE, 0x8C8),
];

/// Joining_Type=Transparent there: marks, which stand in no letter's way.
const JOINS_THROUGH: &Ranges = &[(0x610, 0x61A), (0x64B, 0x65F), (0x670, 0x670), (0x6D6, 0x6DC), (0x6DF, 0x6E4)];

const ZWNJ: char = '\u{200C}';
const ZWJ: char = '\u{200D}';

/// The most combining marks in a row (UTS 39 §5.4): more than that pile up over other lines.
const MAX_MARKS: usize = 4;

fn is_in(ranges: &Ranges, c: char) -> bool {
    let c = u32::from(c);
    ranges
        .binary_search_by(|(first, last)| {
            if *last < c {
                Less
            } else if *first > c {
                Greater
            } else {
                Equal
            }
        })
        .is_ok()
}

/// Whether no text may hold `c`, whoever it comes from.
fn is_nowhere(c: char) -> bool {
    let is_nonchar = matches!(u32::from(c), 0xFDD0..=0xFDEF) || u32::from(c) & 0xFFFE == 0xFFFE;
    c.is_control() || is_nonchar || is_in(NOWHERE, c)
}

/// Whether there is nothing to see of `c`.
fn is_invisible(c: char) -> bool {
    matches!(c, ' ' | '\n') || is_in(IGNORABLE, c) || is_in(BLANK, c)
}

/// Checks the form of a name, whoever it came from; every member by the same tables.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.starts_with(' ') || name.ends_with(' ') || name.contains("  ") {
        return Err("it begins or ends with a space, or has two in a row");
    }
    if name.starts_with(|c| is_in(MARKS, c)) {
        return Err("it begins with a combining mark");
    }
    let mut before = "";
    for (at, c) in name.char_indices() {
        let after = name.get(at + c.len_utf8()..).unwrap_or_default();
        if matches!(c, ZWNJ | ZWJ) {
            if !may_join(c, before, after) {
                return Err("it holds a joiner where there is nothing to join");
            }
        } else if is_in(BIDI, c) {
            return Err("it holds a character that turns text around");
        } else if is_nowhere(c) || is_in(FORMAT, c) {
            return Err("it holds a control, private or unassigned character");
        } else if is_in(IGNORABLE, c) {
            return Err("it holds a character that does not show");
        } else if is_in(BLANK, c) {
            return Err("it holds a blank other than the plain space");
        }
        before = name.get(..at + c.len_utf8()).unwrap_or_default();
    }
    Ok(())
}

/// Whether a joiner may stand between `before` and `after`: RFC 5892, A.1 (in the Arabic script) and A.2.
fn may_join(joiner: char, before: &str, after: &str) -> bool {
    if before.ends_with(|c| is_in(VIRAMA, c)) {
        return true;
    }
    let letter = |c: &char| !is_in(JOINS_THROUGH, *c);
    joiner == ZWNJ
        && before.chars().rev().find(letter).is_some_and(|c| is_in(JOINS_NEXT, c))
        && after.chars().find(letter).is_some_and(|c| is_in(JOINS_LAST, c))
}

/// Checks what whoever makes a name, or lets its owner in, checks beside [`check_name`], by the tables of this build: a
/// character that nobody has assigned yet cannot be compared with others, and marks belong to a letter.
pub(crate) fn check_own_name(name: &str) -> Result<(), &'static str> {
    check_name(name)?;
    // The table has a type for every character that is assigned.
    if name.chars().any(|c| c != ' ' && c.identifier_type().is_none()) {
        return Err("it holds a control, private or unassigned character");
    }
    if name.starts_with(is_combining_mark) {
        return Err("it begins with a combining mark");
    }
    let mut marks = 0;
    for c in name.nfd() {
        marks = if is_combining_mark(c) { marks + 1 } else { 0 };
        if marks > MAX_MARKS {
            return Err("it holds more than four combining marks in a row");
        }
    }
    Ok(())
}

/// Checks a line that stands beside others, whoever it came from: a title, a topic, a note, a reason, a reaction. It may
/// be empty.
pub(crate) fn check_line(line: &str) -> Result<(), &'static str> {
    if line.chars().any(is_nowhere) {
        Err("it holds a control character, a line separator, or a private or unassigned character")
    } else if line.chars().any(|c| is_in(BIDI, c)) {
        Err("it holds a character that turns text around")
    } else if !line.is_empty() && line.chars().all(is_invisible) {
        Err("it holds nothing that shows")
    } else {
        Ok(())
    }
}

/// Checks a text of several lines that is shown by itself. What phones put around a number or a name that was copied may
/// stand in it: directions and isolates that end in the line that they begin in, and override none.
pub(crate) fn check_text(text: &str) -> Result<(), &'static str> {
    if text.chars().any(|c| c != '\n' && is_nowhere(c)) {
        return Err("it holds a control character other than a line feed, or a private or unassigned character");
    }
    if !text.split('\n').all(is_balanced) {
        return Err("it holds a character that turns around the text beside it");
    }
    if text.chars().all(is_invisible) {
        return Err("it holds nothing that shows");
    }
    Ok(())
}

/// Whether everything that sets a direction in `line` ends in it, in order (UAX 9 §2.1 to §2.5), and nothing overrides one.
fn is_balanced(line: &str) -> bool {
    let mut open = Vec::new();
    line.chars().all(|c| match c {
        '\u{202A}' | '\u{202B}' => {
            open.push('\u{202C}');
            true
        }
        '\u{2066}'..='\u{2068}' => {
            open.push('\u{2069}');
            true
        }
        '\u{202D}' | '\u{202E}' => false,
        '\u{202C}' | '\u{2069}' => open.pop() == Some(c),
        _ => true,
    }) && open.is_empty()
}

/// How a name looks, twice: as it is, and whatever its case. Two names that have one of these in common cannot be told
/// apart at a glance.
///
/// Skeletons of UTS 39 §4 over NFKC, by the tables of this build: to compare here, not to store or send.
pub(crate) fn looks(name: &str) -> [String; 2] {
    let plain: String = name.nfkc().collect();
    let folded: String = skeleton(&fold(&plain)).collect();
    // The look of some is a capital: `0` is `O`.
    [skeleton(&plain).collect(), fold(&folded)]
}

/// Full case folding, but for a few letters of no case of their own: what is one letter in capitals is one.
fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// A peer's text in the middle of an error: what does not show, or would turn or break the line, is written as `\u{…}`.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            let is_plain = matches!(c, ' ' | ZWNJ | ZWJ | '\u{FE0F}');
            if !is_plain && (is_nowhere(c) || is_invisible(c) || is_in(FORMAT, c)) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of people, from many scripts, as they are written.
    const NAMES: &[&str] = &[
        "ana",
        "Ana Mar\u{ed}a",
        "O'Brien-Smith, Jr.",
        "be\u{301}n",
        "Nguy\u{1ec5}n Th\u{1ecb} Ph\u{1b0}\u{1a1}ng",
        "Nguye\u{302}\u{303}n",
        "\u{0410}\u{043d}\u{043d}\u{0430}",
        "\u{0391}\u{03b8}\u{03b7}\u{03bd}\u{03ac}",
        // Arabic, with marks; Persian, with a non-joiner between two letters that would join.
        "\u{0623}\u{062d}\u{0645}\u{062f}",
        "\u{0645}\u{064f}\u{062d}\u{064e}\u{0645}\u{0651}\u{064e}\u{062f}",
        "\u{0639}\u{0644}\u{06cc}\u{200c}\u{0631}\u{0636}\u{0627}",
        // Hebrew, with points.
        "\u{05d0}\u{05d1}\u{05d9}",
        "\u{05e9}\u{05c1}\u{05b8}\u{05dc}\u{05d5}\u{05b9}\u{05dd}",
        // Hindi, Sinhala, Malayalam, with joiners after a virama.
        "\u{0939}\u{093f}\u{0928}\u{094d}\u{0926}\u{0940}",
        "\u{0936}\u{094d}\u{200d}\u{092f}\u{093e}\u{092e}",
        "\u{0dc1}\u{0dca}\u{200d}\u{0dbb}\u{0dd3}",
        "\u{0d28}\u{0d4d}\u{200c}\u{0d2f}",
        "\u{0e2a}\u{0e21}\u{0e0a}\u{0e32}\u{0e22}",
        "\u{1011}\u{103d}\u{1014}\u{103a}\u{1038}",
        "\u{1788}\u{17d2}\u{1798}\u{17bb}\u{17c6}",
        "\u{0f56}\u{0f66}\u{0f92}\u{0fb2}\u{0f7c}\u{0f63}",
        "\u{9ad8}\u{6a4b} \u{5149}",
        "\u{305f}\u{304b}\u{306f}\u{3057}",
        "\u{ae40}\u{c720}\u{b098}",
        "\u{12a0}\u{1260}\u{1260}",
        "\u{10d0}\u{10dc}\u{10d0}",
        // Emoji of one code point, with a skin tone, a flag of two letters.
        "ana \u{1f98a}",
        "\u{1f44b}\u{1f3fd}",
        "\u{1f1e8}\u{1f1ed}",
        "\u{2764}",
    ];

    /// What is no name to anybody.
    const REFUSED: &[(&str, &[&str])] = &[
        ("a space", &[" ", " ana", "ana ", "a  b"]),
        ("a blank", &["a\u{a0}b", "a\u{3000}b", "\u{2800}", "a\u{2003}b", "a\u{202f}b", "\u{1d159}"]),
        (
            "does not show",
            &[
                "ana\u{200b}",
                "\u{feff}",
                "\u{3164}",
                "\u{115f}",
                "\u{1160}",
                "\u{ffa0}",
                "a\u{34f}na",
                "a\u{ad}na",
                "a\u{2060}na",
                "ana\u{fe0f}",
                "\u{2764}\u{fe0f}",
                "ana\u{e0061}",
                "\u{180e}",
                "a\u{2065}",
                "ana\u{e01ef}",
            ],
        ),
        (
            "turns text around",
            &["\u{202e}ana", "a\u{202a}na", "ana\u{200e}", "ana\u{200f}", "\u{2066}ana\u{2069}", "\u{61c}ana"],
        ),
        (
            "control, private or unassigned",
            &[
                "a\nb",
                "a\u{7f}",
                "a\u{85}",
                "\u{1b}[2J",
                "a\u{2028}b",
                "a\u{2029}b",
                "\u{e000}",
                "\u{f8ff}",
                "\u{10fffd}",
                "\u{fffe}",
                "\u{fdd0}",
                "\u{1ffff}",
                "\u{fffc}",
                "a\u{fff9}b",
                "\u{600}",
                "\u{13430}",
            ],
        ),
        ("combining mark", &["\u{301}", "\u{301}\u{302}", "\u{301}ana", "\u{20dd}"]),
        (
            "a joiner",
            &[
                "ana\u{200d}",
                "\u{200d}",
                "a\u{200c}na",
                "\u{1f468}\u{200d}\u{1f469}",
                "\u{0639}\u{200d}\u{0644}",
                // After a letter that joins nothing, and at the end.
                "\u{0627}\u{200c}\u{0631}",
                "\u{06cc}\u{200c}",
                "\u{200c}\u{0631}",
                "\u{094d}\u{200d}\u{200d}",
            ],
        ),
    ];

    #[test]
    fn names_of_many_scripts_are_names() {
        for name in NAMES {
            assert_eq!(check_own_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn what_does_not_show_or_turns_the_line_is_no_name() {
        for (why, names) in REFUSED {
            for name in *names {
                let refused = check_name(name).unwrap_err();
                assert!(refused.contains(why), "{name:?}: {refused}");
                assert_eq!(check_own_name(name), Err(refused));
            }
        }
    }

    #[test]
    fn whoever_makes_a_name_goes_by_more_than_those_who_judge_it() {
        for name in ["\u{378}", "ana\u{e0080}", "\u{5b0}ana", "\u{93f}", "a\u{300}\u{301}\u{302}\u{303}\u{304}"] {
            assert!(check_own_name(name).is_err(), "{name:?}");
        }
        for name in ["\u{378}", "\u{5b0}ana", "\u{93f}", "a\u{300}\u{301}\u{302}\u{303}\u{304}"] {
            assert_eq!(check_name(name), Ok(()), "{name:?}");
        }
        assert_eq!(check_own_name("a\u{300}\u{301}\u{302}\u{303}"), Ok(()));
    }

    /// The tables are frozen: whoever changes one parts members of two versions from each other.
    #[test]
    fn what_all_members_judge_by_stays_as_it_is() {
        use sha2::{Digest as _, Sha256};

        let refused = |c: &char| check_name(&format!("a{c}a")).is_err();
        let joins = |joiner: char| {
            move |c: &char| {
                check_name(&format!("a{c}{joiner}\u{631}a")).is_ok()
                    || check_name(&format!("\u{628}{joiner}{c}a")).is_ok()
            }
        };
        let leads = |c: &char| check_name(&format!("{c}a")).is_err();
        let digest = |which: &dyn Fn(&char) -> bool| {
            let mut hash = Sha256::new();
            let mut count = 0;
            for c in ('\0'..=char::MAX).filter(which) {
                hash.update(u32::from(c).to_be_bytes());
                count += 1;
            }
            let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
            (count, u32::from_be_bytes([a, b, c, d]))
        };
        let found = [digest(&refused), digest(&leads), digest(&joins(ZWNJ)), digest(&joins(ZWJ))];
        assert_eq!(found, [(141_827, 586_142_056), (142_147, 1_925_156_910), (332, 669_471_421), (69, 3_127_728_195)]);
    }

    /// Whatever this build's tables find unassigned or invisible, the written ones do too, or whoever lets in does.
    #[test]
    fn the_written_tables_miss_nothing_that_the_library_finds_invisible() {
        use unicode_security::general_security_profile::IdentifierType;

        for c in '\0'..=char::MAX {
            let hidden =
                matches!(c.identifier_type(), Some(IdentifierType::Default_Ignorable | IdentifierType::Not_Character));
            assert!(!hidden || check_name(&format!("a{c}a")).is_err(), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn a_line_holds_what_its_author_likes_and_nothing_that_leaves_it() {
        for line in NAMES.iter().chain(&[
            "",
            "\u{1f468}\u{200d}\u{1f469}",
            "\u{2764}\u{fe0f} 5 \u{20ac}",
            "a  b ",
            "soft\u{ad}hyphen",
        ]) {
            assert_eq!(check_line(line), Ok(()), "{line:?}");
        }
        for line in [
            "a\nb",
            "a\u{2028}b",
            "a\u{2029}b",
            "\u{202e}",
            "a\u{202c}b",
            "a\u{2069}",
            "\u{200f}",
            "a\u{e000}",
            "a\u{ffff}",
            "a\u{fff9}b",
            "a\u{206a}",
            " ",
            "\u{2800}",
            "\u{3164}\u{200b}",
            "\u{200d}",
            "\u{a0}",
        ] {
            assert!(check_line(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_text_turns_nothing_but_itself_around() {
        for text in
            ["one\n\ntwo", "call \u{202a}+41 44\u{202c}", "\u{2068}\u{202b}a\u{202c}\u{2069} b", "\u{200f}\u{5d0}"]
        {
            assert_eq!(check_text(text), Ok(()), "{text:?}");
        }
        for text in [
            "",
            "\n",
            " \u{3000}\n",
            "\u{202e}a\u{202c}",
            "\u{202d}a\u{202c}",
            "a\u{202c}",
            "\u{2069}",
            "\u{2067}a",
            "\u{202a}a\n\u{202c}",
            "\u{2066}\u{202a}\u{2069}\u{202c}",
            "a\tb",
            "a\u{2028}b",
            "a\rb",
        ] {
            assert!(check_text(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_in_an_error_neither_turns_nor_breaks_it() {
        for (name, shown) in [
            ("\u{202e}ana", "\\u{202e}ana"),
            ("a\nb\u{2028}", "a\\u{a}b\\u{2028}"),
            ("\u{3164}\u{e000}\u{a0}", "\\u{3164}\\u{e000}\\u{a0}"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
        ] {
            assert_eq!(Shown(name).to_string(), shown);
        }
        for name in NAMES {
            assert_eq!(Shown(name).to_string(), *name);
        }
    }
}
