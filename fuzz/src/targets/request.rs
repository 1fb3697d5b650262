//! Requests to be brought back: the relay's; anybody's who knows the door keys; and their owner's, whatever they say and
//! whatever their cards say.
//!
//! Each input begins with ana's and mo's rooms as they were stored once, so that none depends on those before it.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use parlor::{
    Card, Error, Event, MemberId, Role, Room,
    room::{REQUEST_LEN, RequestId, Returning, Ticket, door::UnixTime},
};
use sha2::{Digest as _, Sha256};

use super::{
    card::{asking, door_of},
    house::{Asker, EVE, House, Seat, WATCHERS, agree, bring, card_in, id_of, identity, in_form, leaf, may, package},
    input::Input,
    porch::{NOW, WALL, key_pair, seal_slots},
    reach,
};
use crate::party::{
    gists,
    mal::{add, remove, state},
};

const SLOT: &[u8] = b"parlor request slot 1";

thread_local! {
    static HOUSES: RefCell<Option<[House; 2]>> = const { RefCell::new(None) };
}

/// Who asks has signed all that they ask; who may bring them back by their word can, nobody else, and all members make the
/// same of it; and others are brought back after.
pub fn request(data: &[u8]) {
    HOUSES.with_borrow_mut(|houses| {
        let houses = houses.get_or_insert_with(|| [House::new(true), House::new(false)]);
        let mut input = Input::new(data);
        let which = input.below(2);
        if houses[which].worn > 500 {
            houses[which] = House::new(which == 0);
        }
        let mut visit = Visit::new(&mut houses[which]);
        for _ in 0..1 + input.below(3) {
            visit.now += Duration::from_millis(400 * input.below(4) as u64);
            visit.ask(&mut input);
        }
        visit.honest(&mut input);
    });
}

/// One input's rooms.
struct Visit<'a> {
    house: &'a mut House,
    rooms: [Room; WATCHERS],
    /// Who is in the room, and what their words are judged by.
    seats: BTreeMap<MemberId, Seat>,
    now: Duration,
    /// By who hears: whom they have heard, when those asked by their own clock, and when that came.
    heard: [BTreeMap<MemberId, (u64, Duration)>; WATCHERS],
    /// Mal is where the others are.
    is_mal_here: bool,
}

impl<'a> Visit<'a> {
    fn new(house: &'a mut House) -> Self {
        Self {
            rooms: [house.room(0), house.room(1)],
            seats: house.seats.clone(),
            now: NOW,
            heard: Default::default(),
            is_mal_here: true,
            house,
        }
    }

    fn ask(&mut self, input: &mut Input<'_>) {
        let house = &*self.house;
        let header = house.header();
        let asker = &house.askers[input.below(house.askers.len())];
        let honest = asker.sign(&header, &asker.signed);
        let named = [[true, false], [false, true], [true, true]][input.below(3)];
        let doors: Vec<_> = house.doors.iter().zip(named).filter(|(_, named)| *named).map(|(door, _)| *door).collect();
        let seal = |key: &[u8], body: &[u8]| seal_slots(&doors, SLOT, &header, key, body);
        // What asks, and the card in it if all of it is its owner's word in order.
        let whole = |same: bool| same.then(|| card_in(&asker.signed).unwrap().to_vec());
        let (bytes, card) = match input.below(6) {
            0 => (input.rest().to_vec(), None),
            1 => {
                let genuine = seal(&[3; 32], &honest);
                let bytes = input.mutate(&genuine);
                let same = bytes == genuine;
                (bytes, whole(same))
            }
            // Sealed anew by another, and signed by whoever they are, or by nobody.
            2 if input.flag() => {
                let signer = &house.askers[input.below(house.askers.len())];
                let card = card_in(&asker.signed).unwrap();
                let signed = in_form(card, input.byte() & 3, input.number());
                let is_theirs = signer.id() == asker.id();
                let card = card_in(&signed).filter(|_| is_theirs).map(<[u8]>::to_vec);
                (seal(&[3; 32], &signer.sign(&header, &signed)), card)
            }
            2 => {
                let body = input.mutate(&honest);
                (seal(&[3; 32], &body), whole(body == honest))
            }
            3 => {
                let signed = input.mutate(&asker.signed);
                (seal(&[3; 32], &asker.sign(&header, &signed)), card_in(&signed).map(<[u8]>::to_vec))
            }
            // In the form of a body, with a card of any word and of any leaf.
            4 => {
                let card = write(house, asker, input);
                let state = input.byte() & 3;
                let epoch = if input.flag() { input.number() } else { 0 };
                let signed = in_form(&card, state, epoch);
                let bytes = seal(&[3; 32], &asker.sign(&header, &signed));
                if input.below(4) == 3 {
                    let id = asker.id();
                    self.answer_unasked(id, &card, input);
                    return;
                }
                (bytes, card_in(&signed).map(<[u8]>::to_vec))
            }
            // A body key of another length, or none that opens.
            _ => {
                let key = input.run();
                (seal(key, &honest), whole(key.len() == 32))
            }
        };
        let id = asker.id();
        for (at, is_named) in named.into_iter().enumerate() {
            self.hears(at, &bytes, id, card.as_deref().filter(|_| is_named), input);
        }
    }

    /// What whoever is at `at` makes of a request; `card` is what is in it if it is in order and they can read it.
    fn hears(&mut self, at: usize, bytes: &[u8], asker: MemberId, card: Option<&[u8]>, input: &mut Input<'_>) {
        let before = state(&self.rooms[at]);
        let heard = self.rooms[at].receive(bytes, self.now);
        assert_eq!(state(&self.rooms[at]), before);
        let card = card.and_then(|card| Card::from_bytes(card).ok()).filter(|card| card.id() == asker);
        let asks = card.and_then(|card| self.asks(at, &card).map(|asked_at| (card, asked_at)));
        let events = match heard {
            Ok(events) => events,
            Err(error) => {
                assert!(asks.is_none() && !error.to_string().is_empty(), "{error}");
                return;
            }
        };
        let last = self.heard[at].get(&asker).copied();
        let (card, asked_at) = match (&events[..], asks) {
            // Who asked before may have to wait.
            ([], None) => return,
            ([], Some(_)) => return assert!(last.is_some(), "who asks as they may is not heard"),
            (
                [Event::AsksBack { member, card, request, .. }]
                | [Event::AsksBack { member, card, request, .. }, Event::FailingCommits { .. }],
                Some((asking, asked_at)),
            ) => {
                assert_eq!((*request, *member), (RequestId::of(bytes), asker));
                assert_eq!(**card, asking);
                (asking, asked_at)
            }
            (other, asks) => panic!("{asks:?}: {:?}", gists(other)),
        };
        if let Some((last, came)) = last {
            assert!(last < asked_at && self.now >= came + Duration::from_secs(1), "heard again");
        }
        reach("heard");
        self.heard[at].insert(asker, (asked_at, self.now));
        if input.flag() {
            let wall = if input.flag() { WALL } else { UnixTime(asked_at.saturating_add(input.number())) };
            self.answer(at, &card, asked_at, wall);
            if !self.seats[&asker].is_by(&self.house.read(card.as_bytes()).0) {
                return;
            }
            for room in &mut self.rooms {
                let again = room.receive(bytes, self.now + Duration::from_secs(2));
                assert!(again.as_deref().is_ok_and(<[_]>::is_empty), "who is back is heard again");
                assert!(room.bring_back(&card, wall).is_err(), "one word brings back twice");
            }
        }
    }

    /// When its owner asked, if a request with that card is for whoever is at `at` to hear.
    fn asks(&self, at: usize, card: &Card) -> Option<u64> {
        let seat = self.seats.get(&card.id())?;
        let (theirs, word) = self.house.read(card.as_bytes());
        let word = word.filter(|word| word.is_ours)?;
        let actor = self.rooms[at].me().unwrap().role;
        (!seat.is_by(&theirs) && may(actor, seat, Some(&word), &self.seats)).then_some(word.asked_at)
    }

    /// Whoever is at `at` answers with a commit, if the word is of these minutes.
    fn answer(&mut self, at: usize, card: &Card, asked_at: u64, wall: UnixTime) {
        let before = state(&self.rooms[at]);
        let admission = self.rooms[at].bring_back(card, wall);
        let is_late = asked_at < wall.0.saturating_sub(15 * 60);
        let is_early = asked_at > wall.0.saturating_add(5 * 60);
        match admission {
            Ok(admission) => {
                assert!(!is_late && !is_early, "a word of {asked_at} brings somebody back at {wall:?}");
                self.follow(&admission.commit, card);
            }
            Err(Error::Denied(_)) if is_late || is_early => {
                assert_eq!(state(&self.rooms[at]), before);
                // A clock was wrong: the next counts, by whatever clock.
                self.heard[at].insert(card.id(), (0, self.now));
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn follow(&mut self, commit: &[u8], card: &Card) {
        let present = self.seats.keys().copied().collect();
        bring(&mut self.rooms, commit, self.now, card.id(), &present);
        reach("back");
        self.is_mal_here = false;
        self.sit(card);
    }

    /// The owner of `card` is back by it.
    fn sit(&mut self, card: &Card) {
        let (theirs, word) = self.house.read(card.as_bytes());
        let leaf = self.rooms[0].member(&card.id()).unwrap().leaf.0;
        let was = &self.seats[&card.id()];
        let returned = word.filter(|word| word.counts(was)).map_or(was.returned, |word| word.asked_at);
        let Seat { door, date, key, .. } = theirs;
        let seat = Seat { leaf, returned, door, date, key, ..was.clone() };
        self.seats.insert(card.id(), seat);
    }

    /// Mal, who answers whatever she likes, by a card that nobody else was shown: all judge her commit as they should.
    fn answer_unasked(&mut self, asker: MemberId, card: &[u8], input: &mut Input<'_>) {
        let (Some(package), Some(seat), true) = (package(card), self.seats.get(&asker), self.is_mal_here) else {
            return;
        };
        let (card, (_, word)) = (Card::from_bytes(card).unwrap(), self.house.read(card));
        let mal = &mut self.house.mal;
        let by = mal.client.id();
        let counted = word.filter(|word| word.counts(seat)).map_or(seat.returned, |word| word.asked_at);
        let noted = if input.below(4) == 3 { input.number() } else { counted };
        let mut parts = vec![remove(leaf(seat)), add(package)];
        if noted != seat.returned {
            parts.push(mal.recharter(|charter| {
                charter.standings.get_mut(asker.as_bytes()).unwrap().returned = noted;
            }));
        }
        let commit = mal.commit(parts);
        self.house.worn += 1;
        let may = card.id() == asker && noted == counted && may(self.seats[&by].role, seat, word.as_ref(), &self.seats);
        if may {
            reach("by mal");
            return self.follow(&commit, &card);
        }
        for room in &mut self.rooms {
            let before = state(room);
            let events = room.receive(&commit, self.now).unwrap();
            let [Event::Refused { actor: Some(actor), .. }] = &events[..] else { panic!("{:?}", gists(&events)) };
            assert_eq!((*actor, state(room)), (by, before));
        }
    }

    /// Somebody asks as they should, and is brought back unless what they have signed before stands against it.
    fn honest(&mut self, input: &mut Input<'_>) {
        self.now += Duration::from_secs(2_000);
        let who = [EVE, 3, 2, EVE][input.below(4)];
        let (at, id) = (input.below(WATCHERS), id_of(who));
        let last = self.heard[at].get(&id).map_or(WALL.0, |(asked_at, _)| WALL.0.max(*asked_at));
        let wall = UnixTime(last.saturating_add(1 + u64::from(input.byte())));
        let ticket = Ticket::from_bytes(&self.house.tickets[who]).unwrap();
        let (returning, request) = Returning::with_ticket(identity(who), &ticket, wall).unwrap();
        assert_eq!((request.len(), returning.id()), (REQUEST_LEN, RequestId::of(&request)));
        let card = returning.card().clone();
        let asks = self.asks(at, &card).filter(|asked_at| *asked_at > last);
        let is_untouched = self.seats[&id] == self.house.seats[&id];
        let actor = self.rooms[at].me().unwrap().role;
        let alone = who == 3 && actor < Role::Moderator;
        assert!(!is_untouched || last == u64::MAX || asks.is_some() == (actor >= Role::Moderator || alone));
        let events = self.rooms[at].receive(&request, self.now).unwrap();
        if asks.is_none() {
            return assert!(events.is_empty(), "{:?}", gists(&events));
        }
        let [Event::AsksBack { card: asking, .. }] = &events[..] else { panic!("{:?}", gists(&events)) };
        assert_eq!(**asking, card);
        let admission = self.rooms[at].bring_back(&card, wall).unwrap();
        self.follow(&admission.commit, &card);
        let (mut room, _) = returning.enter(&admission.welcome, admission.tree.as_deref()).unwrap();
        agree(&[&room, &self.rooms[0]]);
        // And the room goes on with them in it.
        let commit = room.refresh().unwrap();
        for other in self.rooms.iter_mut().chain([&mut room]) {
            let events = other.receive(&commit, self.now).unwrap();
            assert!(matches!(events[..], [Event::Rekeyed(_), Event::Refreshed { .. }]), "{:?}", gists(&events));
        }
        agree(&[&room, &self.rooms[0], &self.rooms[1]]);
    }
}

/// A card of the asker's, with any word, and any door key in its leaf.
fn write(house: &House, asker: &Asker, input: &mut Input<'_>) -> Vec<u8> {
    let room = if input.below(8) == 7 { Sha256::digest(b"another") } else { Sha256::digest(&house.id) };
    let since = match input.below(3) {
        0 => asker.since,
        1 => 0,
        _ => input.number(),
    };
    let time = |input: &mut Input<'_>| match input.below(4) {
        0 => WALL.0,
        1 => WALL.0 + u64::from(input.byte()),
        2 => input.number(),
        _ => input.u64(),
    };
    let asked_at = time(input);
    let door = match input.below(4) {
        0 => asker.door,
        1 => [0; 32],
        2 => house.doors[input.below(WATCHERS)],
        _ => key_pair(input.byte()).1,
    };
    let date = if input.below(4) == 3 { input.number() } else { asker.date };
    let mut word = [&room[..], &since.to_be_bytes(), &asked_at.to_be_bytes(), &door, &date.to_be_bytes()].concat();
    if input.below(8) == 7 {
        word = input.mutate(&word);
    }
    let word = Some(&word[..]).filter(|_| input.below(8) != 7);
    // Of another card, too.
    let card = match input.below(8) {
        7 => &house.askers[input.below(house.askers.len())].cards[0],
        at => &asker.cards[at & 1],
    };
    // What its leaf says: one's own key, and when one has asked; or as if one never had.
    let mut leaf = match input.below(8) {
        7 => asker.door.to_vec(),
        6 => key_pair(input.byte()).1.to_vec(),
        _ => door_of(card).to_vec(),
    };
    match input.below(4) {
        0 => leaf.extend(asked_at.to_be_bytes()),
        1 => {}
        2 => leaf.extend(time(input).to_be_bytes()),
        _ => leaf = input.mutate(&leaf),
    }
    let leaf = Some(&leaf[..]).filter(|_| input.below(8) != 7);
    asking(&asker.key, card, leaf, word)
}
