//! Joins DHCPv6 to the journal.

use std::{fs, io::Write as _, path::Path, sync::Arc};

use anyhow::Context;
use serde_json::json;

use crate::{
    blade::{Kind, Phase},
    config::{Config, DhcpMode},
    dhcp6,
    inventory::Duid,
    journal::{Journal, Sighting},
};

use super::sightings::WATCH_EVERY;

/// A server where the configuration has an IPv6 subnet and addresses are ours to give.
pub fn bind(config: &Config, journal: &Journal) -> anyhow::Result<Option<dhcp6::Server>> {
    if config.subnets6.is_empty() || config.dhcp.mode != DhcpMode::Server {
        return Ok(None);
    }
    let seen_by = journal.clone();
    let options = dhcp6::Options {
        interfaces: config.boot.interfaces.clone(),
        url: config.boot.url.clone(),
        http_port: config.boot.http.port(),
        duid: identifier(&config.data_dir).context("the identifier of the DHCPv6 server")?,
        snapshot: journal.snapshot(),
        seen: Arc::new(move |seen| seen_by.saw(sighting(seen))),
        watch_every: WATCH_EVERY,
    };
    dhcp6::Server::bind(options).context("DHCPv6").map(Some)
}

/// A DUID-UUID (RFC 6355) made once and kept: clients renew with the server that they know.
fn identifier(data_dir: &Path) -> anyhow::Result<Duid> {
    let path = data_dir.join("dhcp6-duid");
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|error| {
            anyhow::anyhow!("{}: {error}; remove the file to get a new one", path.display())
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let duid = Duid::of_uuid(uuid::Uuid::now_v7().as_bytes());
            let new = path.with_extension("new");
            let mut file = fs::File::create(&new).with_context(|| new.display().to_string())?;
            writeln!(file, "{duid}")?;
            file.sync_all()?;
            fs::rename(&new, &path).with_context(|| path.display().to_string())?;
            fs::File::open(data_dir)?.sync_all()?;
            Ok(duid)
        }
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn sighting(seen: dhcp6::Seen) -> Sighting {
    let alert = seen.what == dhcp6::What::Alert;
    if alert {
        tracing::warn!(from = %seen.from, "DHCPv6: {}", seen.detail);
    }
    // Only a boot program's exchange is a step of an installation; the live and the installed
    // system ask for addresses too.
    let boots = seen.firmware != "OS";
    let served = matches!(seen.what, dhcp6::What::Advertised | dhcp6::What::Replied);
    Sighting {
        kind: if alert { Kind::Alert } else { Kind::Dhcp },
        blade: seen.blade.clone(),
        mac: seen.mac,
        phase: (boots && served).then_some(Phase::Dhcp),
        text: text(&seen),
        detail: json!({
            "ip": seen.ip, "firmware": seen.firmware, "boot_file": seen.boot_file,
            "relay": seen.relay, "relay_agent": seen.relay_port, "duid": seen.duid,
            "from": seen.from, "rule": seen.rule,
        }),
    }
}

fn text(seen: &dhcp6::Seen) -> String {
    let what = match seen.what {
        dhcp6::What::Advertised => "DHCPv6 ADVERTISE",
        dhcp6::What::Replied => "DHCPv6 REPLY",
        dhcp6::What::Released => "DHCPv6 RELEASE",
        dhcp6::What::Declined => "DHCPv6 DECLINE",
        dhcp6::What::Informed => "DHCPv6 INFORMATION-REQUEST → REPLY",
        dhcp6::What::Refused => "DHCPv6 refused",
        dhcp6::What::Ignored => "DHCPv6 not answered",
        dhcp6::What::Alert | dhcp6::What::Cleared => return seen.detail.clone(),
    };
    let parts = [
        Some(what.to_owned()),
        seen.ip.map(|ip| ip.to_string()),
        Some(seen.firmware.to_owned()),
        (!seen.detail.is_empty()).then(|| seen.detail.clone()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}
