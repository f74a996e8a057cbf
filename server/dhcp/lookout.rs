//! Looks out for other DHCP servers: asks the wire every minute, and hears what servers say to
//! others.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use super::{
    Complaint, Desk,
    listener::Listener,
    net::{self, Lookout, Sockets, frame::Udp},
    reply::Interface,
    seen::{Seen, What},
    wire::{Message, Request, ServerMessage, question},
};
use crate::{
    blade::{Mac, Millis},
    boot::watch::{ClientName, Heard, News, Notice, ServerName, Victim, Watch},
    config::DhcpMode,
    inventory::Snapshot,
};

impl Listener {
    /// Sends the question; the answers come to `hear_servers`, ours not among them.
    pub(super) async fn ask_for_servers(&self, sockets: &Sockets, interface: &Interface) {
        let now = self.desk.now();
        let local = self.desk.options.mode == DhcpMode::Proxy && port_67_is_taken();
        let gone = {
            let mut state = self.desk.state();
            state.watch.asking(&interface.name, local, now);
            state.watch.sweep(now)
        };
        gone.into_iter().for_each(|news| self.desk.tell_news(news, now));
        let packet = question(interface.mac, xid());
        if let Err(error) = sockets.ask_servers(interface.mac, &packet).await {
            let text = format!("asking {} for other DHCP servers failed: {error}", interface.name);
            self.complain(Complaint::Send, text);
        }
    }

    /// A packet to port 68: a server speaks, to us or to a client within hearing.
    pub(super) fn heard_server(&self, packet: &Udp<'_>, interface: &Interface) {
        let Some(message) = ServerMessage::parse(packet.payload) else { return };
        let server = message.server_id.unwrap_or(*packet.from.ip());
        if interface.own.contains(&server) || interface.own.contains(packet.from.ip()) {
            return;
        }
        let now = self.desk.now();
        let snapshot = self.desk.options.snapshot.load_full();
        let news = {
            let mut state = self.desk.state();
            let news = state.watch.heard(heard(&interface.name, packet, &message), now);
            let taken = message.client.filter(|mac| message.acks && *mac != interface.mac);
            taken
                .filter(|_| self.desk.options.mode == DhcpMode::Server)
                .and_then(|mac| {
                    let victim = victim(&snapshot, mac, message.yiaddr, None);
                    let (server, client) = (ServerName::V4(server), ClientName::Mac(mac));
                    state.watch.took(&interface.name, &server, client, victim, now)
                })
                .or(news)
        };
        news.into_iter().for_each(|news| self.desk.tell_news(news, now));
    }

    /// A client that takes an address from another server says so to all (RFC 2131 §3.1(3)).
    pub(super) fn heard_choice(&self, request: &Request<'_>, interface: &Interface, now: Millis) {
        let relay = request.relay();
        let chosen = request.server_id.filter(|id| {
            let ours = interface.own.contains(id) || relay.server_id == Some(*id);
            let special = id.is_unspecified() || id.is_broadcast() || id.is_multicast();
            request.message == Message::Request && !ours && !special
        });
        let Some(server) = chosen else { return };
        let snapshot = self.desk.options.snapshot.load();
        let victim = victim(&snapshot, request.mac, request.requested, relay.place());
        let (server, client) = (ServerName::V4(server), ClientName::Mac(request.mac));
        let news = self.desk.state().watch.took(&interface.name, &server, client, victim, now);
        news.into_iter().for_each(|news| self.desk.tell_news(news, now));
    }
}

/// Asks once, for `check` while no daemon serves: what it would tell after `patience`. An
/// interface that cannot be asked hides nothing of the others.
pub async fn look_around(interfaces: &[String], mode: DhcpMode, patience: Duration) -> Vec<Notice> {
    // Time begins with the question.
    let mut watch = Watch::v4(mode == DhcpMode::Proxy, Millis::MAX / 4);
    let mut failed = Vec::new();
    for name in interfaces {
        if let Err(error) = look_on(name, &mut watch, mode, patience).await {
            let text = format!("{name}: other DHCP servers could not be looked for: {error}");
            failed.push(Notice { warning: true, text });
        }
    }
    let mut notices = watch.notices(Millis::MAX / 4);
    notices.extend(failed);
    notices
}

async fn look_on(
    name: &str,
    watch: &mut Watch,
    mode: DhcpMode,
    patience: Duration,
) -> io::Result<()> {
    let (interface, link) = net::find(name, None, 80)?;
    let lookout = Lookout::open(&link)?;
    lookout.broadcast(interface.mac, &question(interface.mac, xid())).await?;
    watch.asking(name, mode == DhcpMode::Proxy && port_67_is_taken(), 0);
    let mut buffer = vec![0; 65_536];
    let hear = async {
        while let Ok(packet) = lookout.answers.hear(&mut buffer).await {
            let Some(packet) = packet else { continue };
            let Some(message) = ServerMessage::parse(packet.payload) else { continue };
            watch.heard(heard(name, &packet, &message), 0);
        }
    };
    // It ends by the clock: there is no last answer.
    let _ = tokio::time::timeout(patience, hear).await;
    Ok(())
}

/// Another number for each question (RFC 2131 §4.4.1).
fn xid() -> [u8; 4] {
    let number = RandomState::new().hash_one(0).to_be_bytes();
    [number[0], number[1], number[2], number[3]]
}

fn heard<'a>(interface: &'a str, packet: &Udp<'_>, message: &ServerMessage) -> Heard<'a> {
    let from = *packet.from.ip();
    Heard {
        interface,
        server: ServerName::V4(message.server_id.unwrap_or(from)),
        from: from.into(),
        mac: Some(packet.sender),
        relay: message.relay.map(Into::into),
        offered: message.yiaddr.map(Into::into),
        boots: message.boots,
    }
}

fn victim(snapshot: &Snapshot, mac: Mac, ip: Option<Ipv4Addr>, port: Option<String>) -> Victim {
    let name = snapshot.by_mac(mac).map(|blade| blade.name.clone());
    Victim { name, ip: ip.map(Into::into), port }
}

impl Desk {
    fn tell_news(&self, news: News, now: Millis) {
        let (what, found, detail) = match news {
            News::Appeared(found) => (What::Alert, found.clone(), found.words()),
            News::Gone(found) => {
                let (server, interface) = (&found.server, &found.interface);
                let text = format!("the other DHCP server {server} on {interface} is gone");
                tracing::info!("DHCP: {text}");
                (What::Cleared, found.clone(), text)
            }
        };
        // At a blade that suffers people look first.
        let suffers = found.victims.keys().find_map(ClientName::mac);
        let mac = suffers.or(found.mac).unwrap_or(Mac([0; 6]));
        let mut seen = Seen::about(mac, what, now, detail);
        let v4 = |ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None };
        seen.relay = found.relay.and_then(v4);
        if let ServerName::V4(server) = found.server {
            seen.ip = Some(server);
        }
        self.tell([seen]);
    }
}

/// True if some program of this machine has UDP port 67. In proxy mode that is not us. The file
/// is of this thread's network namespace.
fn port_67_is_taken() -> bool {
    let table = std::fs::read_to_string("/proc/thread-self/net/udp").unwrap_or_default();
    table
        .lines()
        .skip(1)
        .any(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(":0043")))
}
