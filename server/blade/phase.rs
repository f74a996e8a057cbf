//! The road of a blade: one total state machine, one table test that walks every pair.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A step of an attempt, in the order of the road (PRODUCT.md). Up to `Kernel` the server sees
/// each itself, from `Live` on the blade reports, `Joining` and `Ready` come from probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Off,
    Powering,
    Firmware,
    Dhcp,
    Bootfile,
    Script,
    Kernel,
    Live,
    Clock,
    Preflight,
    Partition,
    Write,
    Verify,
    Bundle,
    Configure,
    BootOrder,
    Installed,
    Rebooting,
    Up,
    Joining,
    Ready,
}

impl Phase {
    pub const ALL: [Phase; 21] = [
        Phase::Off,
        Phase::Powering,
        Phase::Firmware,
        Phase::Dhcp,
        Phase::Bootfile,
        Phase::Script,
        Phase::Kernel,
        Phase::Live,
        Phase::Clock,
        Phase::Preflight,
        Phase::Partition,
        Phase::Write,
        Phase::Verify,
        Phase::Bundle,
        Phase::Configure,
        Phase::BootOrder,
        Phase::Installed,
        Phase::Rebooting,
        Phase::Up,
        Phase::Joining,
        Phase::Ready,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Off => "off",
            Phase::Powering => "powering",
            Phase::Firmware => "firmware",
            Phase::Dhcp => "dhcp",
            Phase::Bootfile => "bootfile",
            Phase::Script => "script",
            Phase::Kernel => "kernel",
            Phase::Live => "live",
            Phase::Clock => "clock",
            Phase::Preflight => "preflight",
            Phase::Partition => "partition",
            Phase::Write => "write",
            Phase::Verify => "verify",
            Phase::Bundle => "bundle",
            Phase::Configure => "configure",
            Phase::BootOrder => "boot-order",
            Phase::Installed => "installed",
            Phase::Rebooting => "rebooting",
            Phase::Up => "up",
            Phase::Joining => "joining",
            Phase::Ready => "ready",
        }
    }

    /// Phases that the installer on the blade may report; the others are seen by the server.
    pub fn reported_by_blade(self) -> bool {
        matches!(self, Phase::Up) || (Phase::Live..=Phase::BootOrder).contains(&self)
    }

    /// How long a blade may be in this phase, or be silent in it, before it is *stalled*:
    /// milliseconds, `None` where waiting is no fault. Generous: slow firmware and disks exist.
    pub fn deadline_ms(self) -> Option<i64> {
        let seconds = match self {
            Phase::Off | Phase::Ready => return None,
            Phase::Powering => 60,
            Phase::Firmware => 420,
            Phase::Dhcp | Phase::Bootfile | Phase::Script => 120,
            Phase::Kernel | Phase::Live => 180,
            Phase::Clock => 120,
            Phase::Preflight | Phase::Partition => 120,
            Phase::Write => 60,
            Phase::Verify | Phase::Bundle | Phase::Configure | Phase::BootOrder => 180,
            Phase::Installed | Phase::Rebooting => 600,
            Phase::Up | Phase::Joining => 600,
        };
        Some(seconds * 1000)
    }

    /// Share of the road behind a blade that has *finished* this phase, in percent. Weights are
    /// typical seconds; the write phase is scaled by measured bytes.
    pub fn percent_at_end(self) -> u8 {
        match self {
            Phase::Off => 0,
            Phase::Powering => 1,
            Phase::Firmware => 5,
            Phase::Dhcp => 6,
            Phase::Bootfile => 7,
            Phase::Script => 8,
            Phase::Kernel => 12,
            Phase::Live => 17,
            Phase::Clock => 18,
            Phase::Preflight => 19,
            Phase::Partition => 20,
            Phase::Write => 55,
            Phase::Verify => 58,
            Phase::Bundle => 60,
            Phase::Configure => 63,
            Phase::BootOrder => 64,
            Phase::Installed => 65,
            Phase::Rebooting => 80,
            Phase::Up => 88,
            Phase::Joining => 96,
            Phase::Ready => 100,
        }
    }

    /// Percent of the road for a blade that is *in* this phase.
    pub fn percent(self, bytes_done: u64, bytes_total: u64) -> u8 {
        if self == Phase::Ready {
            return 100;
        }
        let before = match (self as usize).checked_sub(1) {
            Some(index) => Phase::ALL[index].percent_at_end(),
            None => 0,
        };
        let span = u64::from(self.percent_at_end() - before);
        let part = match (self, bytes_total) {
            // What a blade says of its bytes may be any number.
            (Phase::Write | Phase::Bundle, 1..) => {
                u128::from(span) * u128::from(bytes_done.min(bytes_total)) / u128::from(bytes_total)
            }
            _ => 0,
        };
        before + u8::try_from(part).unwrap_or(0)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Phase::ALL.into_iter().find(|phase| phase.as_str() == text);
        found.ok_or_else(|| format!("{:?} is no phase", text.chars().take(40).collect::<String>()))
    }
}

/// How an attempt stands, beside the phase it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// On its way.
    Going,
    /// Past the deadline of its phase; goes on if it moves again.
    Stalled,
    /// Ended without success at its phase; only a new attempt helps.
    Failed,
    /// Stopped by an operator; goes on when released.
    Held,
    /// Ended because a newer attempt of the same blade began.
    Superseded,
    /// Ended with success: the health probe of its role answered.
    Ready,
}

impl Outcome {
    pub const ALL: [Outcome; 6] = [
        Outcome::Going,
        Outcome::Stalled,
        Outcome::Failed,
        Outcome::Held,
        Outcome::Superseded,
        Outcome::Ready,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Going => "going",
            Outcome::Stalled => "stalled",
            Outcome::Failed => "failed",
            Outcome::Held => "held",
            Outcome::Superseded => "superseded",
            Outcome::Ready => "ready",
        }
    }

    /// No step but a new attempt changes it any more.
    pub fn is_over(self) -> bool {
        matches!(self, Outcome::Failed | Outcome::Superseded | Outcome::Ready)
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Outcome::ALL
            .into_iter()
            .find(|o| o.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no outcome"))
    }
}

/// Where an attempt is: the phase reached and how it stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Standing {
    pub phase: Phase,
    pub outcome: Outcome,
}

/// What can happen to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Evidence that the blade is in this phase: a packet, a report, a probe.
    Reached(Phase),
    /// The install-completed callback. Never un-happens.
    Finished,
    /// The blade, or the server for it, gave up.
    Fail,
    /// The phase's deadline passed in silence.
    Stall,
    Hold,
    Release,
    Supersede,
}

/// Attempts an operator's one request may make before it is left to a person.
pub const MAX_TRIES: i64 = 3;

/// The next standing; total, no error case.
///
/// Phases never go back within an attempt (a ROM, a boot program and an OS each send DHCP), an
/// ended attempt never changes, `Installed` cannot be undone by a late packet.
pub fn after(now: Standing, step: Step) -> Standing {
    let Standing { phase, outcome } = now;
    if outcome.is_over() {
        return now;
    }
    let going = |phase| Standing { phase, outcome: Outcome::Going };
    match step {
        Step::Supersede => Standing { phase, outcome: Outcome::Superseded },
        Step::Finished if phase < Phase::Installed => Standing {
            phase: Phase::Installed,
            outcome: if outcome == Outcome::Held { Outcome::Held } else { Outcome::Going },
        },
        Step::Hold => Standing { phase, outcome: Outcome::Held },
        Step::Release if outcome == Outcome::Held => going(phase),
        Step::Fail => Standing { phase, outcome: Outcome::Failed },
        // Before the callback, nothing but the callback makes a blade installed.
        Step::Reached(to) if to >= Phase::Installed && phase < Phase::Installed => now,
        // A held blade keeps on telling how far it is, but does not leave `held` by itself.
        Step::Reached(to) if outcome == Outcome::Held => Standing { phase: phase.max(to), outcome },
        Step::Reached(Phase::Ready) => Standing { phase: Phase::Ready, outcome: Outcome::Ready },
        Step::Reached(to) if to >= phase => going(to),
        Step::Stall if outcome == Outcome::Going => Standing { phase, outcome: Outcome::Stalled },
        Step::Reached(_) | Step::Finished | Step::Release | Step::Stall => now,
    }
}

/// The six colours of the rack page, from a standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    Ready,
    Installing,
    Netbooting,
    Stalled,
    Failed,
    Held,
    Unknown,
    Off,
}

impl Standing {
    pub fn class(self) -> Class {
        match (self.outcome, self.phase) {
            (Outcome::Ready, _) => Class::Ready,
            (Outcome::Failed, _) => Class::Failed,
            (Outcome::Held, _) => Class::Held,
            (Outcome::Stalled, _) => Class::Stalled,
            (Outcome::Superseded, _) | (_, Phase::Off) => Class::Off,
            (_, phase) if phase <= Phase::Kernel => Class::Netbooting,
            _ => Class::Installing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_standing() -> impl Iterator<Item = Standing> {
        Phase::ALL.into_iter().flat_map(|phase| {
            Outcome::ALL.into_iter().map(move |outcome| Standing { phase, outcome })
        })
    }

    fn every_step() -> impl Iterator<Item = Step> {
        let others =
            [Step::Finished, Step::Fail, Step::Stall, Step::Hold, Step::Release, Step::Supersede];
        Phase::ALL.into_iter().map(Step::Reached).chain(others)
    }

    #[test]
    fn every_pair_of_standing_and_step_keeps_the_promises() {
        for now in every_standing() {
            for step in every_step() {
                let next = after(now, step);
                assert!(next.phase >= now.phase, "{now:?} {step:?} went back to {next:?}");
                if now.outcome.is_over() {
                    assert_eq!(next, now, "an ended attempt changed by {step:?}");
                }
                if now.phase < Phase::Installed && step != Step::Finished {
                    assert!(
                        next.phase < Phase::Installed,
                        "{now:?} {step:?}: installed without the callback"
                    );
                }
                assert_eq!(
                    after(next, step).phase,
                    next.phase,
                    "{now:?} {step:?} is not idempotent"
                );
            }
        }
    }

    #[test]
    fn a_stalled_blade_that_moves_again_goes_on() {
        let stalled = Standing { phase: Phase::Write, outcome: Outcome::Stalled };
        assert_eq!(after(stalled, Step::Reached(Phase::Write)).outcome, Outcome::Going);
        assert_eq!(after(stalled, Step::Reached(Phase::Dhcp)), stalled);
    }

    #[test]
    fn percent_grows_along_the_road_and_ends_at_100() {
        let percents: Vec<u8> = Phase::ALL.iter().map(|phase| phase.percent(0, 0)).collect();
        assert!(percents.is_sorted(), "{percents:?}");
        assert_eq!(percents.last(), Some(&100));
        assert_eq!(Phase::Write.percent(50, 100), 37);
        assert_eq!(Phase::Write.percent(u64::MAX, 100), Phase::Write.percent_at_end());
    }

    #[test]
    fn names_of_phases_are_read_back() {
        for phase in Phase::ALL {
            assert_eq!(phase.as_str().parse(), Ok(phase));
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.as_str());
        }
    }
}
