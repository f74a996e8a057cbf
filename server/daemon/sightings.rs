//! Joins the packet services to the journal: what they saw becomes sightings of blades.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use arc_swap::ArcSwap;
use serde_json::json;

use crate::{
    blade::{Kind, Phase},
    boot::{self, Name},
    config::Config,
    db, dhcp, http,
    images::Kind as ArtifactKind,
    inventory::{Snapshot, Whereabouts},
    journal::{Journal, LeaseChange, Sighting},
    tftp,
};

/// How often the wire is asked for other servers of DHCP and DHCPv6.
pub const WATCH_EVERY: Duration = Duration::from_secs(60);

pub async fn bind_dhcp(config: &Config, journal: &Journal) -> anyhow::Result<dhcp::Server> {
    let mut tx = journal.db().read().await?;
    let leases = db::leases(&mut tx).await?;
    drop(tx);
    let (seen_by, commit_to, shift_in) = (journal.clone(), journal.clone(), journal.clone());
    let snapshot = journal.snapshot();
    let known = snapshot.clone();
    let options = dhcp::Options {
        mode: config.dhcp.mode,
        interfaces: config.boot.interfaces.clone(),
        url: config.boot.url.clone(),
        http_port: config.boot.http.port(),
        snapshot,
        leases,
        seen: Arc::new(move |seen| {
            let snapshot = known.load();
            locate(&seen_by, &snapshot, &seen);
            seen_by.saw(dhcp_sighting(&snapshot, seen));
        }),
        commit: Arc::new(move |leases| {
            let journal = commit_to.clone();
            Box::pin(async move {
                let changes = leases.into_iter().map(LeaseChange::Put).collect();
                journal.commit_leases(changes).await.map_err(|error| error.to_string())
            })
        }),
        shift: Arc::new(move |jump| {
            let journal = shift_in.clone();
            Box::pin(async move {
                let changes = vec![LeaseChange::Shift(jump)];
                journal.commit_leases(changes).await.map_err(|error| error.to_string())
            })
        }),
        watch_every: WATCH_EVERY,
    };
    dhcp::Server::bind(options).await.context("DHCP")
}

/// Notes where a blade is, when that is not known already.
fn locate(journal: &Journal, snapshot: &Snapshot, seen: &dhcp::Seen) {
    let given = matches!(seen.what, dhcp::What::Acked | dhcp::What::Addressed);
    if !given && !matches!(seen.what, dhcp::What::Offered | dhcp::What::Informed) {
        return;
    }
    let Some(blade) = snapshot.by_mac(seen.mac) else {
        if let (dhcp::What::Addressed, Some(ip)) = (seen.what, seen.ip) {
            journal.lost(ip, seen.mac);
        }
        return;
    };
    let before = snapshot.whereabouts(seen.mac);
    let ip = match seen.ip.filter(|_| given) {
        Some(ip) => (Some(ip) != blade.ip).then_some(ip),
        None => before.and_then(|before| before.ip),
    };
    // A renewal goes past the relay, straight to us, and says nothing about the place.
    let here = match before.filter(|_| seen.relay.is_none() && seen.what != dhcp::What::Offered) {
        Some(before) => Whereabouts { ip, ..before.clone() },
        None => Whereabouts { ip, relay: seen.relay, port: seen.switch_port.clone() },
    };
    let nothing = Whereabouts { ip: None, relay: None, port: None };
    if before.unwrap_or(&nothing) != &here {
        journal.located(seen.mac, here);
    }
}

fn dhcp_sighting(snapshot: &Snapshot, seen: dhcp::Seen) -> Sighting {
    let blade = snapshot.by_mac(seen.mac);
    let alert = seen.what == dhcp::What::Alert;
    if alert {
        tracing::warn!(mac = %seen.mac, "DHCP: {}", seen.detail);
    }
    // Only a boot program's exchange is a step of an installation; the live and the installed
    // system ask for addresses too.
    let boots = seen.firmware.is_some_and(|firmware| firmware != "OS");
    let served = matches!(seen.what, dhcp::What::Offered | dhcp::What::Acked);
    Sighting {
        kind: if alert { Kind::Alert } else { Kind::Dhcp },
        blade: blade.map(|blade| blade.name.clone()),
        mac: Some(seen.mac),
        phase: (boots && served).then_some(Phase::Dhcp),
        text: dhcp_text(&seen),
        detail: json!({
            "ip": seen.ip, "firmware": seen.firmware, "boot_file": seen.boot_file, "relay": seen.relay,
            "relay_agent": seen.relay_agent, "relay_name": seen.relay_name, "switch_port": seen.switch_port,
            "uuid": seen.uuid, "hostname": seen.hostname,
            "rule": seen.rule,
        }),
    }
}

fn dhcp_text(seen: &dhcp::Seen) -> String {
    let what = match seen.what {
        dhcp::What::Offered => "DISCOVER → OFFER",
        dhcp::What::Acked => "REQUEST → ACK",
        dhcp::What::Naked => "REQUEST → NAK",
        dhcp::What::Declined => "DECLINE",
        dhcp::What::Released => "RELEASE",
        dhcp::What::Informed => "INFORM → ACK",
        dhcp::What::Addressed => "another server's address",
        dhcp::What::Ignored => "not answered",
        dhcp::What::Alert | dhcp::What::Cleared => return seen.detail.clone(),
    };
    let parts = [
        Some(what.to_owned()),
        seen.ip.map(|ip| ip.to_string()),
        seen.firmware.map(str::to_owned),
        (!seen.detail.is_empty()).then(|| seen.detail.clone()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

pub async fn bind_tftp(
    config: &Config,
    app: &http::Shared,
    notices: Arc<tftp::Notices>,
) -> anyhow::Result<tftp::Server> {
    let v6 = !config.subnets6.is_empty();
    let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let any = &any[..if v6 { 2 } else { 1 }];
    let on = |name: &String| {
        let device = Some(name.clone());
        any.iter().map(move |ip| tftp::Listen {
            address: SocketAddr::new(*ip, 69),
            device: device.clone(),
        })
    };
    let listen: Vec<tftp::Listen> = config.boot.interfaces.iter().flat_map(on).collect();
    let journal = app.journal.clone();
    let open = open(app.clone());
    let (known, images) = (journal.snapshot(), app.images.clone());
    let on_event: tftp::OnEvent = Arc::new(move |event| {
        let kind = |sha256: &str| images.kind_of(sha256);
        if let Some(sighting) = tftp_sighting(&known, &event, &kind) {
            journal.saw(sighting);
        }
    });
    let options = tftp::Options {
        ports: config.boot.tftp_ports.map(|ports| ports.first..=ports.last),
        notices,
        ..tftp::Options::default()
    };
    tftp::bind(&listen, open, on_event, options).await.context("TFTP")
}

/// Finds what a name means: a configuration made for who asks, a file of a boot image, or a boot
/// program.
fn open(app: http::Shared) -> tftp::Open {
    let runtime = tokio::runtime::Handle::current();
    Arc::new(move |request: &tftp::Request| match boot::name(&request.name) {
        Name::Image(sha256) => app.images.open_blob(sha256).map_err(|error| {
            // Of an image that is listed: not the client's fault, and a person must know.
            if app.images.kind_of(sha256).is_some() {
                tracing::error!("boot image damaged: {error}; import it again");
            }
            tftp::OpenError::NotFound
        }),
        Name::Other(name) => {
            let found = app.loaders.find(name);
            found.map(|program| program.bytes).ok_or(tftp::OpenError::NotFound)
        }
        _ => {
            let base = http::base_at(&app, request.local);
            let made = http::boot_document(&app, request.client, &request.name, &base, false);
            let text = runtime.block_on(made).ok_or(tftp::OpenError::NotFound)?;
            Ok(text.into())
        }
    })
}

/// Which step of the road a file of this name is.
fn phase_of(name: &str, kind: &dyn Fn(&str) -> Option<ArtifactKind>) -> Option<Phase> {
    match boot::name(name) {
        Name::Image(sha256) => (kind(sha256)? == ArtifactKind::Kernel).then_some(Phase::Kernel),
        Name::Other(_) => Some(Phase::Bootfile),
        // The configuration itself has told the journal.
        _ => None,
    }
}

fn tftp_sighting(
    known: &ArcSwap<Snapshot>,
    event: &tftp::Event,
    kind: &dyn Fn(&str) -> Option<ArtifactKind>,
) -> Option<Sighting> {
    let name = &event.name;
    let text = match &event.what {
        tftp::What::Started { size, blksize, windowsize } => {
            format!("{name} begins: {size} bytes, block {blksize}, window {windowsize}")
        }
        tftp::What::Finished { bytes, elapsed } => {
            format!("{name} sent: {bytes} bytes in {:.2} s", elapsed.as_secs_f64())
        }
        tftp::What::Failed { reason, bytes } => {
            format!("{name} failed after {bytes} bytes: {reason}")
        }
        tftp::What::Refused(error) => format!("{name} refused: {error}"),
        // Progress is for the wire; a size probe is answered and says nothing.
        tftp::What::Progress { .. } | tftp::What::Probed => return None,
    };
    let snapshot = known.load();
    let blade = snapshot.by_address(event.client.ip());
    let served = matches!(event.what, tftp::What::Started { .. } | tftp::What::Finished { .. });
    Some(Sighting {
        kind: Kind::Tftp,
        blade: blade.map(|blade| blade.name.clone()),
        mac: None,
        phase: served.then(|| phase_of(name, kind)).flatten(),
        text,
        detail: json!({ "client": event.client.to_string() }),
    })
}
