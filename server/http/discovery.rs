//! The boot listener's part for machines that are not in the inventory: the live system that
//! looks at them, their report, and the question whether they may go on.

use std::net::SocketAddr;

use axum::{
    body::Bytes,
    extract::{ConnectInfo, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    App, Shared,
    boot::base_url,
    install::consoles,
    internal,
    orders::{self, Asked},
    refusal::{Refusal, ipv4, token_of},
};
use crate::{
    blade::{Arch, Mac},
    boot::{Files, Order},
    images::Kind,
    inventory::Machine,
    journal::Discovery,
    topology,
};

/// The console menu's entry that looks at a machine.
pub const ENTRY: &str = "inventory";
/// The same, where the boot program says that it runs on arm64.
const ENTRY_ARM64: &str = "inventory-arm64";
/// Seconds that the menu of an unknown blade waits for a person.
pub const UNKNOWN_WAITS: u32 = 5;

/// The entry meant by what iPXE adds to a choice about itself.
pub fn entry_for(query: &str) -> &'static str {
    if query.split('&').any(|pair| pair == "arch=arm64") { ENTRY_ARM64 } else { ENTRY }
}

/// The architecture to look at, if this choice asks for a look. GRUB and pxelinux do not say
/// theirs; they get the one there is an image for.
pub fn asked(app: &App, choice: &str) -> Option<Arch> {
    match choice {
        ENTRY if live_system(app, Arch::Amd64).is_none() => Some(Arch::Arm64),
        ENTRY => Some(Arch::Amd64),
        ENTRY_ARM64 => Some(Arch::Arm64),
        _ => None,
    }
}

/// Paths of kernel and initrd of a boot image for this architecture.
fn live_system(app: &App, arch: Arch) -> Option<(String, String)> {
    app.images.list().iter().find_map(|image| {
        let path = |kind| {
            let artifact = image.artifact(kind, arch)?;
            Some(format!("/images/sha256/{}", artifact.sha256))
        };
        Some((path(Kind::Kernel)?, path(Kind::Initrd)?))
    })
}

/// True if there is a live system to look at machines with.
pub fn possible(app: &App) -> bool {
    [Arch::Amd64, Arch::Arm64].iter().any(|arch| live_system(app, *arch).is_some())
}

/// What an unknown blade is given, for the journal.
pub fn told(app: &App) -> &'static str {
    if possible(app) {
        "not in the inventory: the console menu, then a look at its hardware"
    } else {
        "not in the inventory: the console menu; to look at its hardware, import a boot image"
    }
}

/// Boots the live system to look at this machine. The caller has seen that the asking address
/// belongs to it.
pub fn order(app: &App, asked: &Asked<'_>, arch: Arch) -> String {
    let Some((kernel, initrd)) = live_system(app, arch) else {
        let why = format!("no boot image for {arch} to look at this machine with; import one");
        return orders::written(&Order::Wait { why: &why }, asked);
    };
    let (base, token) = (asked.base, app.key.machine_token(asked.mac));
    let cmdline = format!(
        "{} cloud-config-url={base}/config/{ENTRY}/pxe.yml?token={token} BOOTIF=01-{}",
        consoles(arch),
        asked.mac.hyphenated()
    );
    let files = Files { base, kernel: &kernel, initrd: &initrd, cmdline: &cmdline };
    orders::written(&Order::Install { title: "looking at this machine", files }, asked)
}

/// The machine that a request comes from: its token's MAC, if the asking address is its own.
async fn admit(
    app: &App,
    peer: SocketAddr,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Mac, Refusal> {
    let token = token_of(headers, query).and_then(|token| app.key.machine(token));
    let mac = token.ok_or(Refusal::Unknown)?;
    let snapshot = app.snapshot.load_full();
    let reserved = snapshot.by_address(peer.ip()).is_some_and(|blade| blade.macs.contains(&mac));
    if reserved || orders::may_choose(app, peer, mac).await {
        Ok(mac)
    } else {
        Err(Refusal::Foreign)
    }
}

/// The live system's document: the script that looks, with its token.
pub async fn document(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let mac = match admit(&app, peer, &headers, query.as_deref()).await {
        Ok(mac) => mac,
        Err(refusal) => return refusal.into_response(),
    };
    let base = base_url(&app, peer, &headers);
    let token = app.key.machine_token(mac);
    let body = topology::inventory_yml(&base, &token, mac, &app.scripts.inventory);
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

/// A machine's report: 200 only once it is on disk.
pub async fn report(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mac = match admit(&app, peer, &headers, None).await {
        Ok(mac) => mac,
        Err(refusal) => return refusal.into_response(),
    };
    let machine = match Machine::read(&body) {
        Ok(machine) => machine,
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    };
    let blade = app.snapshot.load().by_mac(mac).map(|blade| blade.name.clone());
    match app.journal.discovered(mac, blade, ipv4(peer), machine).await {
        Ok(Discovery::Accepted) => "taken\n".into_response(),
        Ok(Discovery::TooSoon) => {
            let later = [(header::RETRY_AFTER, "4")];
            (StatusCode::TOO_MANY_REQUESTS, later, "it reported a moment ago\n").into_response()
        }
        Err(error) => internal(&error).into_response(),
    }
}

/// May this machine go on? `wait`, or `go` and the name it has now. 404: report again.
pub async fn may_go_on(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let mac = match admit(&app, peer, &headers, None).await {
        Ok(mac) => mac,
        Err(refusal) => return refusal.into_response(),
    };
    if let Some(blade) = app.snapshot.load().by_mac(mac) {
        return format!("go {}\n", blade.name).into_response();
    }
    match app.journal.still_waits(mac).await {
        Ok(Some(())) => "wait\n".into_response(),
        Ok(None) => Refusal::Unknown.into_response(),
        Err(error) => internal(&error).into_response(),
    }
}
