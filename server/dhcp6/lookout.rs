//! Looks out for other DHCPv6 servers: asks the wire every minute, and hears which server clients
//! take addresses from.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use nix::net::if_::if_nametoindex;

use super::{
    Complaint, Desk, Listener,
    net::Lookout,
    now,
    reply::{eui64, identify},
    seen::{Seen, What},
    wire::{Message, Request, ServerMessage, question},
};
use crate::{
    blade::{Hostname, Mac, Millis},
    boot::watch::{ClientName, Heard, News, Notice, ServerName, Victim, Watch},
    inventory::{Duid, Snapshot},
};

impl Listener {
    /// Sends the question; the answers come to `heard_server`.
    pub(super) async fn ask_for_servers(&self) {
        let interface = self.interface.load_full();
        // No blade is served there by IPv6, and no server would be in its way.
        if interface.addresses.is_empty() {
            return;
        }
        let now = self.desk.steady();
        let gone = {
            let mut state = self.desk.state();
            state.watch.asking(&self.name, false, now);
            state.watch.sweep(now)
        };
        gone.into_iter().for_each(|news| self.desk.tell_news(news));
        if let Err(error) = self.lookout.ask(&question(xid()), interface.index).await {
            let text = format!("asking for other DHCPv6 servers failed: {error}");
            self.complain(Complaint::Send, text);
        }
    }

    /// A server answers us, or a DHCPv6 client of this machine.
    pub(super) fn heard_server(&self, packet: &[u8], from: Ipv6Addr) {
        let Some(message) = ServerMessage::parse(packet) else { return };
        if message.server_id == self.desk.options.duid {
            return;
        }
        let now = self.desk.steady();
        let news = self.desk.state().watch.heard(heard(&self.name, &message, from), now);
        news.into_iter().for_each(|news| self.desk.tell_news(news));
    }

    /// A client that takes or keeps an address of another server says so to all (RFC 8415
    /// §§18.2.2, 18.2.4).
    pub(super) fn heard_choice(&self, request: &Request<'_>, from: Ipv6Addr, snapshot: &Snapshot) {
        let takes = matches!(request.message, Message::Request | Message::Renew);
        let ours = self.desk.options.duid.octets();
        let server = request.server_id.filter(|id| takes && *id != ours).and_then(Duid::new);
        let Some(server) = server else { return };
        let (blade, mac) = identify(snapshot, request, from);
        let client = match (mac, &request.client_id) {
            (Some(mac), _) => ClientName::Mac(mac),
            (None, Some(duid)) => ClientName::Duid(duid.clone()),
            (None, None) => return,
        };
        let ip = request.ias.iter().flat_map(|ia| &ia.addresses).next();
        let port = request.relays.last().and_then(|relay| relay.interface_id).map(hex::encode);
        let name = blade.map(|blade| blade.name.clone());
        let victim = Victim { name, ip: ip.map(|ip| (*ip).into()), port };
        let (server, now) = (ServerName::V6(server), self.desk.steady());
        let news = self.desk.state().watch.took(&self.name, &server, client, victim, now);
        news.into_iter().for_each(|news| self.desk.tell_news(news));
    }
}

/// Asks once, for `check` while no daemon serves: what it would tell after `patience`.
pub async fn look_around(interfaces: &[String], patience: Duration) -> Vec<Notice> {
    let mut watch = Watch::v6(Millis::MAX / 4);
    let mut failed = Vec::new();
    for name in interfaces {
        if let Err(error) = look_on(name, &mut watch, patience).await {
            let text = format!("{name}: other DHCPv6 servers could not be looked for: {error}");
            failed.push(Notice { warning: true, text });
        }
    }
    let mut notices = watch.notices(0);
    notices.extend(failed);
    notices
}

async fn look_on(name: &str, watch: &mut Watch, patience: Duration) -> io::Result<()> {
    let lookout = Lookout::open(name)?;
    lookout.ask(&question(xid()), if_nametoindex(name)?).await?;
    watch.asking(name, false, 0);
    let mut buffer = vec![0; 65_536];
    let hear = async {
        while let Ok((packet, from)) = lookout.hear(&mut buffer).await {
            let message = ServerMessage::parse(packet);
            message.map(|message| watch.heard(heard(name, &message, from), 0));
        }
    };
    // It ends by the clock: there is no last answer.
    let _ = tokio::time::timeout(patience, hear).await;
    Ok(())
}

fn heard<'a>(interface: &'a str, message: &ServerMessage, from: Ipv6Addr) -> Heard<'a> {
    Heard {
        interface,
        server: ServerName::V6(message.server_id.clone()),
        from: from.into(),
        mac: eui64(from).or(message.server_id.mac()),
        relay: None,
        offered: message.address.map(Into::into),
        boots: message.boots,
    }
}

/// Another number for each question (RFC 8415 §16.1).
fn xid() -> [u8; 3] {
    let number = RandomState::new().hash_one(0).to_be_bytes();
    [number[0], number[1], number[2]]
}

impl Desk {
    fn tell_news(&self, news: News) {
        let (what, found, detail) = match news {
            News::Appeared(found) => (What::Alert, found.clone(), found.words()),
            News::Gone(found) => {
                let (server, interface) = (found.name(), &found.interface);
                let text = format!("the other DHCPv6 server {server} on {interface} is gone");
                tracing::info!("DHCPv6: {text}");
                (What::Cleared, found.clone(), text)
            }
        };
        // At a blade that suffers people look first.
        let suffers = found.victims.iter().find(|(_, victim)| victim.name.is_some());
        let blade: Option<Hostname> = suffers.and_then(|(_, victim)| victim.name.clone());
        let mac: Option<Mac> = suffers.and_then(|(client, _)| client.mac()).or(found.mac);
        let ServerName::V6(duid) = found.server else { return };
        let from = match found.from {
            Some(IpAddr::V6(from)) => from,
            _ => Ipv6Addr::UNSPECIFIED,
        };
        (self.options.seen)(Seen {
            at: now(),
            blade,
            mac,
            duid: Some(duid),
            from,
            what,
            ip: None,
            firmware: "",
            boot_file: None,
            rule: String::new(),
            relay: None,
            relay_port: None,
            detail,
        });
    }
}
