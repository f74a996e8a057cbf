//! What to do next, decided from stored state alone (layer 3): level-triggered, so a daemon
//! that died and came back decides the same.

use crate::{
    blade::{AttemptId, JUMP_MS, Millis, Outcome, Phase, Step},
    config::Config,
    db::AttemptRow,
    inventory::{ClusterDoc, Snapshot},
    topology::{ClusterSpec, Member, Net, Os},
};

/// A decision about one attempt, with the line for the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub attempt: AttemptId,
    /// When its blade was last heard; nothing is due if it was heard since.
    pub last_seen: Millis,
    pub step: Step,
    pub why: String,
}

/// Attempts whose time is over: first stalled, later failed.
///
/// `resumed` is since when blades can be heard by this daemon, and its clock runs: what happened
/// before was seen by nobody, so silence counts from then.
pub fn overdue(
    attempts: &[AttemptRow],
    config: &Config,
    resumed: Millis,
    now: Millis,
) -> Vec<Decision> {
    attempts.iter().filter_map(|row| overdue_one(row, config, resumed, now)).collect()
}

fn overdue_one(
    row: &AttemptRow,
    config: &Config,
    resumed: Millis,
    now: Millis,
) -> Option<Decision> {
    let deadline = config.deadline_ms(row.standing.phase)?;
    let heard = row.last_seen.max(row.phase_since);
    // The clock was set back: when that was, nobody can tell.
    let heard = if heard > now + JUMP_MS { resumed } else { heard };
    let silent = now - heard.max(resumed);
    let phase = row.standing.phase;
    let give_up = deadline + i64::from(config.give_up.0) * 1000;
    let (step, verb) = match row.standing.outcome {
        Outcome::Going if silent > deadline => (Step::Stall, "stalled"),
        Outcome::Stalled if silent > give_up => (Step::Fail, "E_TIMEOUT: failed"),
        _ => return None,
    };
    let why = format!("{verb} in {phase}: silent for {} s; {}", silent / 1000, advice(phase));
    Some(Decision { attempt: row.id, last_seen: row.last_seen, step, why })
}

/// What is awaited in a phase and what usually helps: shown to people.
pub fn advice(phase: Phase) -> &'static str {
    match phase {
        Phase::Off | Phase::Powering => {
            "waiting for power: press the blade's power button, or check its BMC"
        }
        Phase::Firmware => {
            "waiting for a DHCP request: check network boot in the firmware, the cable and spanning tree"
        }
        Phase::Dhcp => {
            "waiting for the boot file to be asked for: look for another DHCP server, or a firewall on UDP 69"
        }
        Phase::Bootfile => {
            "waiting for the boot script: the boot program did not start or lost its network. Is Secure Boot on? Then say \
             `secure_boot = true` of the blade; else check MTU and UDP 1024-65535"
        }
        Phase::Script => "waiting for the kernel to be fetched: look at the blade's console",
        Phase::Kernel | Phase::Live => {
            "waiting for the live system to report: look at its console, memory and network driver"
        }
        Phase::Clock => "waiting for the clock to be set",
        Phase::Preflight | Phase::Partition => {
            "waiting for the installer: look at the blade's console"
        }
        Phase::Write => "waiting for bytes to be written: is the blade on, is the disk healthy?",
        Phase::Verify | Phase::Bundle | Phase::Configure | Phase::BootOrder => {
            "waiting for the installer to go on: look at the blade's console"
        }
        Phase::Installed | Phase::Rebooting => {
            "waiting for the installed system to report: does the blade boot from its disk?"
        }
        Phase::Up | Phase::Joining => {
            "waiting for the role's health probe: look at the service's log on the blade"
        }
        Phase::Ready => "nothing is awaited",
    }
}

/// Attempts that wait for their blade's power: `Off` was not tried yet, `Powering` in vain.
pub fn power_wanted(attempts: &[AttemptRow]) -> impl Iterator<Item = &AttemptRow> {
    attempts.iter().filter(|row| {
        row.standing.phase <= Phase::Powering && row.standing.outcome == Outcome::Going
    })
}

/// Attempts whose blade called back and is about to reboot.
pub fn disk_boot_wanted(attempts: &[AttemptRow]) -> impl Iterator<Item = &AttemptRow> {
    attempts.iter().filter(|row| {
        row.standing.phase == Phase::Installed && row.standing.outcome == Outcome::Going
    })
}

/// Attempts whose role's health is to be probed, until they are ready.
pub fn probe_wanted(attempts: &[AttemptRow]) -> impl Iterator<Item = &AttemptRow> {
    attempts
        .iter()
        .filter(|row| row.standing.phase >= Phase::Installed && !row.standing.outcome.is_over())
}

/// The cluster as topologies see it. `os` comes from its boot image.
///
/// Members without MAC, address or subnet are an error: one line each.
pub fn spec(snapshot: &Snapshot, cluster: &ClusterDoc, os: Os) -> Result<ClusterSpec, Vec<String>> {
    let mut problems = Vec::new();
    let mut members = Vec::new();
    for (role, blade) in snapshot.members_of(cluster) {
        let subnet = blade.ip.and_then(|ip| snapshot.subnet_of(ip));
        let (Some(mac), Some(ip), Some(subnet)) = (blade.macs.first(), blade.ip, subnet) else {
            problems.push(format!(
                "cluster {}: blade {} needs a MAC and a static address inside a configured subnet",
                cluster.name, blade.name
            ));
            continue;
        };
        members.push(Member {
            blade: blade.name.clone(),
            role: role.to_owned(),
            mac: *mac,
            arch: blade.arch.unwrap_or_default(),
            net: Net {
                ip,
                prefix: subnet.cidr.prefix_len(),
                ip6: snapshot.net6_of(blade),
                gateway: subnet.gateway,
                dns: subnet.dns.clone(),
                ntp: subnet.ntp.clone(),
                domain: subnet.domain.clone(),
            },
        });
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(ClusterSpec {
        name: cluster.name.clone(),
        topology: cluster.topology.clone(),
        parameters: cluster.parameters.clone(),
        os,
        members,
    })
}
