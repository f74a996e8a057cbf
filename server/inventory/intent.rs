//! What a blade that boots from the network is to be given, from its state alone.

use super::{Attempt, Intent, Member};
use crate::blade::{Outcome, Phase};

/// Decides from role, newest attempt and hold.
///
/// An installed blade boots from its disk whatever came after (CLOUD-CONFIG.md §4): a failed
/// probe or a hold after `installed` must never start a second installation.
pub fn intent(
    member: Option<&Member>,
    attempt: Option<&Attempt>,
    reason: Option<&str>,
    hold: Option<&str>,
) -> Intent {
    if attempt.is_some_and(|attempt| attempt.standing.phase >= Phase::Installed) {
        return Intent::Local;
    }
    if let Some(why) = hold {
        return Intent::Wait(format!("held by an operator: {why}"));
    }
    match (member, attempt) {
        (None, _) => Intent::Menu,
        (Some(_), Some(attempt)) if !attempt.standing.outcome.is_over() => {
            match attempt.standing.outcome {
                Outcome::Held => Intent::Wait("held by an operator".to_owned()),
                _ => Intent::Install(attempt.clone()),
            }
        }
        (Some(member), None) => {
            Intent::Wait(format!("waiting for: firstlight deploy {}", member.cluster))
        }
        (Some(_), Some(attempt)) => Intent::Wait(format!(
            "attempt {} failed in {}: {}",
            attempt.number,
            attempt.standing.phase,
            reason.unwrap_or("no reason given")
        )),
    }
}
