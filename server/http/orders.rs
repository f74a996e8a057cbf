//! What a blade that boots from the network is told, whatever program asks for it: iPXE its
//! script by HTTP, GRUB and pxelinux their configurations by TFTP or HTTP.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{App, Shared, discovery, install, refusal::ipv4};
use crate::{
    blade::{Kind, Mac, Phase},
    boot::{self, Name, Order, Pxelinux, Reader, Whose},
    config::{DhcpMode, Unknown},
    db::{self, DbError},
    inventory::{Blade, Intent, Snapshot},
    journal::{self, Sighting},
};

/// One question of a boot program.
pub struct Asked<'a> {
    pub mac: Mac,
    /// Base of every address told to this blade.
    pub base: &'a str,
    pub reader: Reader,
}

/// The base of every address told to a blade that asked on our address `local` without naming us.
pub fn base_at(app: &App, local: IpAddr) -> String {
    let port = app.journal.config().boot.http.port();
    boot::base_url(app.boot_url.as_deref(), local, port)
}

/// Waits until what packets told is in the snapshot, where addresses are learned from them: a
/// blade asks for its script milliseconds after another server gave it an address, which may have
/// been another blade's.
pub async fn learned(app: &App, peer: SocketAddr) -> Result<(), DbError> {
    if !app.snapshot.load().learns {
        return Ok(());
    }
    let settled = app.journal.settle().await;
    // While nothing can be written, what is known stands.
    if app.snapshot.load().by_address(peer.ip()).is_some() { Ok(()) } else { settled }
}

/// The configuration that a program asks for by name, `None` if there is none of this name for
/// this client: nobody asks for another blade.
pub async fn document(
    app: &Shared,
    peer: SocketAddr,
    name: &str,
    base: &str,
    only_look: bool,
) -> Option<String> {
    let named = boot::name(name);
    // GRUB and pxelinux ask by TFTP once: told that there is nothing, they stop at a prompt.
    learned(app, peer).await.inspect_err(|error| tracing::error!("{error}")).ok()?;
    let snapshot = app.snapshot.load_full();
    let (whose, choice, round) = match named {
        Name::Grub(round) => (Whose::Any, None, Some(round)),
        Name::GrubChoice(id) => (Whose::Any, Some(id), Some(0)),
        Name::Pxelinux(whose) => (whose, None, None),
        Name::PxelinuxChoice(id) => (Whose::Any, Some(id), None),
        Name::Image(_) | Name::Other(_) => return None,
    };
    let mac = asker(app, &snapshot, peer, whose).await?;
    let reader = match round {
        Some(round) => Reader::Grub(round),
        None => Reader::Pxelinux(pxelinux(app, &snapshot, mac)),
    };
    let asked = Asked { mac, base, reader };
    match choice {
        _ if only_look => Some(decide(app, &snapshot, &asked).0),
        Some(choice) => Some(chosen(app, peer, &asked, choice).await),
        None => ask(app, &asked).await.inspect_err(|error| tracing::error!("{error}")).ok(),
    }
}

/// Whose configuration is asked for: that of the machine at this address, known or with a lease.
async fn asker(app: &App, snapshot: &Snapshot, peer: SocketAddr, whose: Whose) -> Option<Mac> {
    let known = snapshot.by_address(peer.ip());
    match (whose, known) {
        (Whose::Ip(ip), _) if ipv4(peer) != Some(ip) => None,
        (Whose::Mac(mac), Some(blade)) => blade.macs.contains(&mac).then_some(mac),
        (_, Some(blade)) => blade.macs.first().copied(),
        (Whose::Mac(mac), None) => match leased(app, peer).await {
            Some(of) => (of == mac).then_some(mac),
            // A blade that is known has another address than this one.
            None => snapshot.by_mac(mac).is_none().then_some(mac),
        },
        (_, None) => leased(app, peer).await,
    }
}

/// Nobody asks, or chooses, for a blade but the blade itself.
pub async fn asks_for_itself(app: &App, snapshot: &Snapshot, peer: SocketAddr, mac: Mac) -> bool {
    let Some(blade) = snapshot.by_mac(mac) else { return true };
    blade_at(app, snapshot, peer).await.is_some_and(|at| at.name == blade.name)
}

fn pxelinux(app: &App, snapshot: &Snapshot, mac: Mac) -> Pxelinux {
    let (blade, rules) = (snapshot.by_mac(mac), &snapshot.boot_rules);
    // It does not say which pxelinux it is: it is the one that it was told to load.
    let loaded = boot::bios_loader(&boot::Asking { mac, blade, rules, base: "" });
    let http = boot::loader(loaded).program == boot::Program::Pxelinux { http: true };
    let menu = app.journal.config().menu.pxelinux.clone();
    Pxelinux { config: format!("pxelinux.cfg/01-{}", mac.hyphenated()), http, menu }
}

/// The order for a blade that asks in earnest: it is a sign of life, and one of a restart where
/// the live system has reported before.
pub async fn ask(app: &App, asked: &Asked<'_>) -> Result<String, DbError> {
    let mut snapshot = app.snapshot.load_full();
    let running = snapshot.by_mac(asked.mac).and_then(|blade| match &blade.intent {
        Intent::Install(attempt) if attempt.standing.phase >= Phase::Live => Some(attempt.id),
        _ => None,
    });
    if let Some(attempt) = running {
        app.journal.restarted(attempt).await?;
        snapshot = app.snapshot.load_full();
    }
    Ok(answer(app, &snapshot, asked))
}

/// The text for a blade as it stands now, with a line for the journal.
fn answer(app: &App, snapshot: &Snapshot, asked: &Asked<'_>) -> String {
    let blade = snapshot.by_mac(asked.mac);
    let (script, told) = decide(app, snapshot, asked);
    // An installing blade's question is a sign of life each time.
    let installs = blade.is_some_and(|blade| matches!(blade.intent, Intent::Install(_)));
    if !app.told.is_news(asked.mac, &told, std::time::Instant::now()) && !installs {
        return script;
    }
    app.journal.saw(Sighting {
        kind: Kind::Http,
        blade: blade.map(|blade| blade.name.clone()),
        mac: Some(asked.mac),
        phase: Some(Phase::Script),
        text: format!("boot script: {told}"),
        detail: serde_json::Value::Null,
    });
    script
}

/// The text, and what it is in a line for people.
pub fn decide(app: &App, snapshot: &Snapshot, asked: &Asked<'_>) -> (String, String) {
    let hold = |why: &str| (written(&Order::Wait { why }, asked), format!("wait: {why}"));
    match snapshot.by_mac(asked.mac).map(|blade| (blade, &blade.intent)) {
        Some((_, Intent::Local)) => {
            let title = "installed; booting from disk";
            (written(&Order::Local { title }, asked), "boot from disk".to_owned())
        }
        Some((_, Intent::Wait(why))) => hold(why),
        Some((blade, Intent::Install(attempt))) => {
            let plan = install::plan(app, snapshot, blade, attempt.id, attempt.number, asked.base);
            match plan.and_then(|plan| plan.order(blade, &asked.reader)) {
                Ok(script) => (script, format!("install, attempt {}", attempt.number)),
                Err(why) => hold(&why),
            }
        }
        None if app.journal.config().dhcp.unknown == Unknown::Discover => {
            (menu(app, asked, true), discovery::told(app).to_owned())
        }
        None | Some((_, Intent::Menu)) => (menu(app, asked, false), "console menu".to_owned()),
    }
}

/// An order as this program reads it; what cannot be said is told in the log, and the blade goes
/// on from its disk.
pub fn written(order: &Order<'_>, asked: &Asked<'_>) -> String {
    order.text(&asked.reader).unwrap_or_else(|error| {
        tracing::error!(mac = %asked.mac, "no boot script: {error}");
        let title = "the server has no script for this blade; its log says why";
        Order::Local { title }.text(&asked.reader).unwrap_or_default()
    })
}

/// The console menu; of an unknown blade, whose hardware is looked at unless somebody chooses.
fn menu(app: &App, asked: &Asked<'_>, unknown: bool) -> String {
    let config = &app.journal.config().menu;
    let entries = app.catalogue.entries().iter();
    let mut entries: Vec<(&str, &str)> =
        entries.map(|entry| (entry.id.as_str(), entry.title_en.as_str())).collect();
    let (mut default, mut seconds) = (config.default.as_str(), config.timeout.0);
    if discovery::possible(app) {
        entries.push((discovery::ENTRY, "Report the hardware, an operator decides"));
        if unknown {
            (default, seconds) = (discovery::ENTRY, discovery::UNKNOWN_WAITS);
        }
    }
    entries.push(("local-boot", "Boot from the disk"));
    let order = Order::Menu {
        title: &app.journal.config().site,
        entries: &entries,
        default,
        timeout: std::time::Duration::from_secs(seconds.into()),
    };
    written(&order, asked)
}

/// Records a choice made at the console, and goes on where that is enough to install. It is known
/// that the blade asks for itself.
pub async fn chosen(app: &Arc<App>, peer: SocketAddr, asked: &Asked<'_>, choice: &str) -> String {
    let snapshot = app.snapshot.load_full();
    let hold = |why: &str| written(&Order::Wait { why }, asked);
    let entry = app.catalogue.entries().iter().find(|entry| entry.id == choice);
    let blade = snapshot.by_mac(asked.mac);
    let name = blade.map(|blade| blade.name.clone());
    if blade.is_none() && !may_choose(app, peer, asked.mac).await {
        return hold("this blade has no address from here");
    }
    if let Some(arch) = discovery::asked(app, choice) {
        return discovery::order(app, asked, arch);
    }
    if entry.is_none() && choice != "local-boot" {
        return hold("there is no such menu entry");
    }
    if let Err(error) = app.journal.choose(asked.mac, name.clone(), choice.to_owned()).await {
        tracing::error!("{error}");
        return hold("the server cannot record the choice now");
    }
    match (choice, entry, blade) {
        ("local-boot", ..) => written(&Order::Local { title: "booting from disk" }, asked),
        (_, Some(entry), Some(blade)) if entry.available => adopted(app, blade, entry, asked).await,
        _ => hold("choice recorded; waiting for an operator"),
    }
}

async fn adopted(
    app: &Arc<App>,
    blade: &Blade,
    entry: &crate::topology::MenuEntry,
    asked: &Asked<'_>,
) -> String {
    match super::console::adopt(app, blade, entry).await {
        Ok(()) => answer(app, &app.snapshot.load_full(), asked),
        Err(why) => written(&Order::Wait { why: &why }, asked),
    }
}

/// True if an unknown blade holds the lease of the address it asks from, so that made-up MACs
/// leave no choices behind. Where another server gives the addresses, nobody can tell.
pub async fn may_choose(app: &App, peer: SocketAddr, mac: Mac) -> bool {
    app.journal.config().dhcp.mode != DhcpMode::Server || leased(app, peer).await == Some(mac)
}

/// The blade that asks from here: at its address, or at that of its lease, where it was racked
/// while its boot program ran, which asks for no other.
pub async fn blade_at<'a>(
    app: &App,
    snapshot: &'a Snapshot,
    peer: SocketAddr,
) -> Option<&'a Blade> {
    match snapshot.by_address(peer.ip()) {
        None => snapshot.by_mac(leased(app, peer).await?),
        known => known,
    }
}

/// Who holds the lease of this address.
async fn leased(app: &App, peer: SocketAddr) -> Option<Mac> {
    let ip = ipv4(peer)?;
    let read = async {
        let mut tx = app.journal.db().read().await?;
        db::lease_holder(&mut tx, ip, journal::now()).await
    };
    read.await.inspect_err(|error| tracing::error!("{error}")).ok().flatten()
}
