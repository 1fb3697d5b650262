//! How many knocks are opened in a second: what is over it is given back unread, so that no flood costs more.
//!
//! To open a knock costs half a dozen signatures and up to eight key agreements, and whoever holds a link makes as many as
//! they like. Half of what there is time for is shared out evenly among the room's links; the other half is for whoever
//! comes first. So a flood by one link costs its holders their turn, and those of the other links none.

use std::{collections::BTreeMap, time::Duration};

use super::LinkId;

/// How many knocks are opened in a second. At 0.7 ms each they are a tenth of a core.
pub const KNOCKS_A_SECOND: u32 = 128;

/// How many of them are for whoever comes first.
const OPEN_TO_ALL: u32 = KNOCKS_A_SECOND / 2;

/// The knocks that were opened in this second.
#[derive(Default)]
pub(super) struct Looks {
    second: u64,
    /// By links of the room only, so that they are few.
    by_link: BTreeMap<LinkId, u32>,
    /// Those beyond their link's share.
    beyond: u32,
}

impl Looks {
    /// Takes one at `now` for a knock that says it was made with `link`, one of the room's `links`, if there is any.
    pub(super) fn take(&mut self, link: LinkId, links: usize, now: Duration) -> bool {
        if self.second != now.as_secs() {
            *self = Self { second: now.as_secs(), ..Self::default() };
        }
        let links = u32::try_from(links).unwrap_or(u32::MAX).max(1);
        let share = ((KNOCKS_A_SECOND - OPEN_TO_ALL) / links).max(1);
        let taken = self.by_link.entry(link).or_default();
        if *taken < share {
            *taken += 1;
            return true;
        }
        let is_left = self.beyond < OPEN_TO_ALL;
        self.beyond += u32::from(is_left);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A_SECOND: Duration = Duration::from_secs(1);

    fn link(n: u8) -> LinkId {
        LinkId([n; 32])
    }

    /// How many of a flood by `link` are opened in the second from `now` on.
    fn flood(looks: &mut Looks, n: u8, links: usize, now: Duration) -> u32 {
        let tries = (0..1_000).filter(|ms| looks.take(link(n), links, now + Duration::from_millis(*ms)));
        u32::try_from(tries.count()).unwrap()
    }

    #[test]
    fn the_only_link_of_a_room_gets_all_of_a_second_and_no_more() {
        let mut looks = Looks::default();
        for second in 0..3 {
            assert_eq!(flood(&mut looks, 1, 1, A_SECOND * second), KNOCKS_A_SECOND);
        }
    }

    #[test]
    fn a_flood_by_one_link_leaves_every_other_its_share() {
        for links in [2, 3, 10, 64] {
            let mut looks = Looks::default();
            let share = (KNOCKS_A_SECOND / 2 / u32::try_from(links).unwrap()).max(1);
            assert_eq!(flood(&mut looks, 0, links, A_SECOND), KNOCKS_A_SECOND / 2 + share, "{links} links");
            for other in 1..u8::try_from(links).unwrap() {
                assert_eq!(flood(&mut looks, other, links, A_SECOND), share, "{links} links");
            }
        }
    }

    #[test]
    fn floods_by_all_links_are_opened_no_more_often_than_one() {
        for links in [1, 2, 7, 64] {
            let mut looks = Looks::default();
            let all: u32 = (0..links).map(|n| flood(&mut looks, n, usize::from(links), A_SECOND)).sum();
            assert!((KNOCKS_A_SECOND - u32::from(links)..=KNOCKS_A_SECOND).contains(&all), "{links} links: {all}");
        }
    }
}
