//! The shortest history that goes wrong in the same way: pieces are left out while it still does.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use crate::{
    model::{Broken, Held, Rule},
    script::{Script, Step},
    world::{Tally, World},
};

thread_local! {
    static IS_PLAYING: Cell<bool> = const { Cell::new(false) };
}

/// Plays a history; a panic is a broken rule. What happened comes back too, if `tell`.
pub fn play(script: &Script, tell: bool) -> (Held<Tally>, String) {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IS_PLAYING.get() {
                hook(panic);
            }
        }));
    });
    IS_PLAYING.set(true);
    let played = panic::catch_unwind(AssertUnwindSafe(|| World::play(script, tell)));
    IS_PLAYING.set(false);
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        (Err(Broken { rule: Rule::Sound, how: format!("panic: {}", text.unwrap_or_default()) }), String::new())
    })
}

/// The shortest history found that breaks the same rule, or `None` if this one does not when it is played again.
pub fn shortest(script: &Script, rule: Rule) -> Option<Script> {
    let fails = |script: &Script| matches!(play(script, false).0, Err(broken) if broken.rule == rule);
    // Some come about in one of a few runs.
    if !(0..5).any(|_| fails(script)) {
        return None;
    }
    let mut shortest = script.clone();
    let mut chunk = shortest.steps.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let before = shortest.steps.len();
        while at < shortest.steps.len() {
            let mut shorter = shortest.clone();
            shorter.steps.drain(at..(at + chunk).min(shortest.steps.len()));
            if fails(&shorter) {
                shortest = shorter;
            } else {
                at += chunk;
            }
        }
        // Single steps, until none of them can be left out.
        if chunk == 1 && shortest.steps.len() == before {
            break;
        }
        chunk = chunk.div_ceil(2);
    }
    for at in (0..shortest.opening.roles.len()).rev() {
        let mut shorter = shortest.clone();
        shorter.opening.roles.remove(at);
        if fails(&shorter) {
            shortest = shorter;
        }
    }
    Some(shortest)
}

/// What to read and to do when the history of `seed` went wrong.
pub fn report(seed: u64, script: &Script, broken: &Broken) -> String {
    let Some(shortest) = shortest(script, broken.rule) else {
        return format!(
            "{broken}\nseed {seed}, once: played again it holds; keys differ from run to run, or time does"
        );
    };
    let (played, told) = play(&shortest, true);
    let last = played.err().map_or_else(|| "this time it holds".to_owned(), |broken| broken.to_string());
    let steps: Vec<String> = shortest.steps.iter().map(|step: &Step| format!("  {step:?}")).collect();
    format!(
        "{broken}\n\nseed {seed}, shortest history ({} of {} steps), {:?}:\n{}\n\nwhat happens:\n{told}  {last}\n\n\
         PARLOR_SEED={seed} cargo test --test simulation -- --nocapture\n",
        steps.len(),
        script.steps.len(),
        shortest.opening,
        steps.join("\n"),
    )
}
