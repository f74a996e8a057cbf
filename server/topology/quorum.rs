//! How many members of an etcd cluster vote.

use super::{EtcdRule, Problem, VoterRule};

/// Voters among `blades` members, or why their number or the one asked for cannot be.
///
/// Odd only: an even cluster survives no more failures than the odd one below it and is easier
/// to split. More than seven vote too slowly (etcd FAQ, "maximum cluster size").
pub(super) fn voters(
    rule: &EtcdRule,
    blades: usize,
    asked: Option<i64>,
    allow_single: bool,
) -> Result<usize, Problem> {
    let most = usize::from(rule.max);
    let fault = |code, message: String| Err(Problem::new(code, "etcd_voters", message));
    if let Some(asked) = asked {
        let Ok(asked) = usize::try_from(asked).map(|n| n.min(1000)) else {
            return fault("E_QUORUM_MIN", format!("{asked} voters: at least 1 is needed"));
        };
        return match asked {
            0 => fault("E_QUORUM_MIN", "0 voters: at least 1 is needed".into()),
            n if n.is_multiple_of(2) => fault(
                "E_QUORUM_EVEN",
                format!("{n} voters: an even number adds no safety; use {}", n.min(most + 1) - 1),
            ),
            n if n > most => fault("E_QUORUM_MAX", format!("{n} voters: at most {most} may vote")),
            n if n > blades => {
                fault("E_QUORUM_MAX", format!("{n} voters, but the role has {blades} blades"))
            }
            n => Ok(n),
        };
    }
    match rule.voters {
        VoterRule::LargestOdd => Ok(largest_odd(blades.min(usize::from(rule.default_max)))),
        VoterRule::All if blades > most => {
            fault("E_QUORUM_MAX", format!("{blades} voters: at most {most} may vote"))
        }
        VoterRule::All if blades > 0 && blades.is_multiple_of(2) => fault(
            "E_QUORUM_EVEN",
            format!("{blades} blades would all vote, an even number: use {}", blades - 1),
        ),
        VoterRule::All if blades < usize::from(rule.min) && !(allow_single && blades == 1) => {
            fault("E_QUORUM_MIN", too_few(rule, blades))
        }
        VoterRule::All => Ok(blades),
    }
}

fn too_few(rule: &EtcdRule, blades: usize) -> String {
    let hint = match &rule.single {
        Some(parameter) => format!("; {parameter} = true takes 1, which survives no failure"),
        None => String::new(),
    };
    format!("{blades} voters: at least {} are needed{hint}", rule.min)
}

fn largest_odd(n: usize) -> usize {
    if n.is_multiple_of(2) { n.saturating_sub(1) } else { n }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SMALL: EtcdRule = EtcdRule {
        role: String::new(),
        voters: VoterRule::LargestOdd,
        min: 1,
        single: None,
        default_max: 5,
        max: 7,
    };

    #[rstest]
    #[case(3, None, Ok(3))]
    #[case(4, None, Ok(3))]
    #[case(9, None, Ok(5))]
    #[case(9, Some(7), Ok(7))]
    #[case(9, Some(9), Err("E_QUORUM_MAX"))]
    #[case(4, Some(4), Err("E_QUORUM_EVEN"))]
    #[case(4, Some(0), Err("E_QUORUM_MIN"))]
    #[case(4, Some(-3), Err("E_QUORUM_MIN"))]
    #[case(4, Some(5), Err("E_QUORUM_MAX"))]
    #[case(4, Some(i64::MAX), Err("E_QUORUM_EVEN"))]
    fn voters_are_odd_and_few(
        #[case] blades: usize,
        #[case] asked: Option<i64>,
        #[case] wanted: Result<usize, &str>,
    ) {
        assert_eq!(voters(&SMALL, blades, asked, false).map_err(|problem| problem.code), wanted);
    }
}
