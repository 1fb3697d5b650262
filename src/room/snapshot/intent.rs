//! What a command wanted, in a snapshot.

use crate::{
    bytes::{Reader, Writer},
    error::Result,
    identity::{MemberId, Role},
    media::seal::{SealMode, Unsealed},
    room::{
        Card, Entry, Intent, Setting, Speaking,
        charter::{role_byte, role_of},
        door::{LinkEntry, LinkId, Terms, UnixTime},
        snapshot::{put_ids, read_ids},
    },
};

pub(super) fn put_intent(intent: &Intent, out: &mut Writer) -> Result<()> {
    let kind = |out: &mut Writer, kind: u8| out.put(&[kind]);
    match intent {
        Intent::Admit(cards) => {
            kind(out, 1);
            out.count("cards", cards.len())?;
            for (card, role) in cards {
                out.put(&[role_byte(*role)]);
                out.long("card", card.as_bytes())?;
            }
        }
        Intent::Remove(members) => {
            kind(out, 2);
            put_ids(members.iter(), out)?;
        }
        Intent::Ban(people) => {
            kind(out, 3);
            put_ids(people.iter(), out)?;
        }
        Intent::LiftBan(id) => {
            kind(out, 4);
            out.put(id.as_bytes());
        }
        Intent::SetRole(id, role) => {
            out.put(&[5, role_byte(*role)]);
            out.put(id.as_bytes());
        }
        Intent::HandOver(id) => {
            kind(out, 6);
            out.put(id.as_bytes());
        }
        Intent::Mute(id) => {
            kind(out, 7);
            out.put(id.as_bytes());
        }
        Intent::LiftMute(id) => {
            kind(out, 8);
            out.put(id.as_bytes());
        }
        Intent::Set(settings) => {
            kind(out, 9);
            out.count("settings", settings.len())?;
            settings.iter().try_for_each(|setting| put_setting(setting, out))?;
        }
        Intent::IssueLink(LinkEntry { id, terms, issuer }) => {
            out.put(&[10, role_byte(terms.role), u8::from(terms.one_shot)]);
            out.put(id.as_bytes());
            out.put(&terms.expires.map_or(0, |at| at.0).to_be_bytes());
            out.put(issuer.as_bytes());
        }
        Intent::RevokeLink(id) => {
            kind(out, 11);
            out.put(id.as_bytes());
        }
        Intent::Leave => kind(out, 12),
        Intent::End => kind(out, 13),
        Intent::OpenDoor => kind(out, 14),
        Intent::Refresh => kind(out, 15),
        Intent::BringBack(card) => {
            kind(out, 16);
            out.long("card", card.as_bytes())?;
        }
    }
    Ok(())
}

pub(super) fn read_intent(saved: &mut Reader<'_>) -> Result<Intent> {
    let id = |saved: &mut Reader<'_>| saved.array().map(MemberId::from_bytes);
    Ok(match saved.byte()? {
        1 => {
            let mut cards = Vec::new();
            for _ in 0..saved.count(5)? {
                let role = read_role(saved)?;
                // One that has expired since cannot be let in again; who made it makes another.
                cards.extend(Card::from_bytes(saved.long()?).map(|card| (card, role)));
            }
            Intent::Admit(cards)
        }
        2 => Intent::Remove(read_ids(saved)?),
        3 => Intent::Ban(read_ids(saved)?),
        4 => Intent::LiftBan(id(saved)?),
        5 => {
            let role = read_role(saved)?;
            Intent::SetRole(id(saved)?, role)
        }
        6 => Intent::HandOver(id(saved)?),
        7 => Intent::Mute(id(saved)?),
        8 => Intent::LiftMute(id(saved)?),
        9 => Intent::Set((0..saved.count(2)?).map(|_| read_setting(saved)).collect::<Result<_>>()?),
        10 => {
            let (role, one_shot) = (read_role(saved)?, saved.flag()?);
            let link = LinkId::from_bytes(saved.array()?);
            let expires = Some(saved.number()?).filter(|at| *at > 0).map(UnixTime);
            Intent::IssueLink(LinkEntry { id: link, terms: Terms { role, one_shot, expires }, issuer: id(saved)? })
        }
        11 => Intent::RevokeLink(LinkId::from_bytes(saved.array()?)),
        12 => Intent::Leave,
        13 => Intent::End,
        14 => Intent::OpenDoor,
        15 => Intent::Refresh,
        // Nobody is brought back by a card that has expired since.
        16 => Card::from_bytes(saved.long()?).map_or(Intent::Refresh, |card| Intent::BringBack(Box::new(card))),
        _ => return Err(saved.malformed("it holds a command of unknown kind: a later parlor wrote it, update")),
    })
}

fn read_role(saved: &mut Reader<'_>) -> Result<Role> {
    role_of(saved.byte()?)
}

fn put_setting(setting: &Setting, out: &mut Writer) -> Result<()> {
    match setting {
        Setting::Title(title) => {
            out.put(&[1]);
            out.long("title", title.as_bytes())?;
        }
        Setting::Topic(topic) => {
            out.put(&[2]);
            out.long("topic", topic.as_bytes())?;
        }
        Setting::Entry(entry) => out.put(&[3, *entry as u8]),
        Setting::Speaking(speaking) => out.put(&[4, u8::from(*speaking == Speaking::Everybody)]),
        Setting::Seals(mode) => out.put(&[5, *mode as u8]),
        Setting::SealEvery(every) => out.put(&[6, *every]),
        Setting::Unsealed(unsealed) => out.put(&[7, u8::from(*unsealed == Unsealed::Hold)]),
        Setting::Recording(recording) => out.put(&[8, u8::from(*recording)]),
        Setting::Capacity(capacity) => {
            out.put(&[9]);
            out.put(&capacity.unwrap_or(0).to_be_bytes());
        }
        Setting::Locked(locked) => out.put(&[10, u8::from(*locked)]),
    }
    Ok(())
}

fn read_setting(saved: &mut Reader<'_>) -> Result<Setting> {
    let unknown =
        |saved: &Reader<'_>| saved.malformed("it holds a setting of unknown kind: a later parlor wrote it, update");
    let text = |saved: &mut Reader<'_>| {
        let text = str::from_utf8(saved.long()?).map(str::to_owned);
        text.map_err(|_| saved.malformed("a text in it is not UTF-8"))
    };
    Ok(match saved.byte()? {
        1 => Setting::Title(text(saved)?),
        2 => Setting::Topic(text(saved)?),
        3 => {
            let kind = saved.byte()?;
            let entry = [Entry::Invited, Entry::Link, Entry::Knock].into_iter().find(|entry| *entry as u8 == kind);
            Setting::Entry(entry.ok_or_else(|| unknown(saved))?)
        }
        4 => Setting::Speaking(if saved.flag()? { Speaking::Everybody } else { Speaking::OnStage }),
        5 => {
            let kind = saved.byte()?;
            let mode = [SealMode::Off, SealMode::Live, SealMode::Strict].into_iter().find(|mode| *mode as u8 == kind);
            Setting::Seals(mode.ok_or_else(|| unknown(saved))?)
        }
        6 => Setting::SealEvery(saved.byte()?),
        7 => Setting::Unsealed(if saved.flag()? { Unsealed::Hold } else { Unsealed::Play }),
        8 => Setting::Recording(saved.flag()?),
        9 => Setting::Capacity(Some(u32::from_be_bytes(saved.array()?)).filter(|capacity| *capacity > 0)),
        10 => Setting::Locked(saved.flag()?),
        _ => return Err(unknown(saved)),
    })
}
