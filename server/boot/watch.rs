//! Other DHCP and DHCPv6 servers on the served networks: what is known of each, what people are
//! told, and when it is over. Pure.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use crate::{
    blade::{Hostname, Mac, Millis},
    inventory::Duid,
};

/// Servers and victims that are remembered; who makes up more of them is counted with the last.
const MOST_SERVERS: usize = 64;
const MOST_VICTIMS: usize = 32;
/// A server that does not answer us, but whose address clients name, is believed so long.
const HEARSAY_MS: Millis = 600_000;

/// How a server names itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerName {
    /// Option 54 of DHCP (RFC 2132 §9.7).
    V4(Ipv4Addr),
    /// Option 2 of DHCPv6 (RFC 8415 §21.3).
    V6(Duid),
}

/// How a client names itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientName {
    Mac(Mac),
    /// Of a DHCPv6 client whose card is not known.
    Duid(Duid),
}

/// A server that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    pub interface: String,
    pub server: ServerName,
    /// Where its last answer came from.
    pub from: Option<IpAddr>,
    /// Who sent its frames on this wire: itself, or the router that stands before it.
    pub mac: Option<Mac>,
    pub relay: Option<IpAddr>,
    /// It gives addresses, not boot items alone.
    pub gives_addresses: bool,
    /// It says what to boot.
    pub boots: bool,
    pub offered: Option<IpAddr>,
    pub last: Millis,
    /// It answered, not only clients named it.
    heard: bool,
    pub victims: BTreeMap<ClientName, Victim>,
}

/// Who took an address of a foreign server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    /// The blade's name, where it is one of ours.
    pub name: Option<Hostname>,
    pub ip: Option<IpAddr>,
    /// Switch port, by the words of a relay.
    pub port: Option<String>,
}

/// A reply of a server as it came over the wire.
#[derive(Debug, Clone)]
pub struct Heard<'a> {
    pub interface: &'a str,
    pub server: ServerName,
    pub from: IpAddr,
    pub mac: Option<Mac>,
    pub relay: Option<IpAddr>,
    /// The address in it.
    pub offered: Option<IpAddr>,
    /// It names a boot file.
    pub boots: bool,
}

/// What is worth an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Appeared(Foreign),
    Gone(Foreign),
}

/// What `check` and the page say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub warning: bool,
    pub text: String,
}

/// All that is known of the servers of one protocol.
#[derive(Debug)]
pub struct Watch {
    /// For people.
    protocol: &'static str,
    /// Another server is to give the addresses (proxy mode).
    expected: bool,
    /// Time between two questions.
    every: Millis,
    servers: BTreeMap<(String, ServerName), Foreign>,
    /// Since when each interface is asked; and if this machine itself has a DHCP server.
    asked: BTreeMap<String, (Millis, bool)>,
}

impl Watch {
    /// Of DHCP; `expected`: another server is to give the addresses.
    pub fn v4(expected: bool, every: Millis) -> Watch {
        Watch::of("DHCP", expected, every)
    }

    /// Of DHCPv6.
    pub fn v6(every: Millis) -> Watch {
        Watch::of("DHCPv6", false, every)
    }

    fn of(protocol: &'static str, expected: bool, every: Millis) -> Watch {
        let (servers, asked) = (BTreeMap::new(), BTreeMap::new());
        Watch { protocol, expected, every, servers, asked }
    }

    /// A question is sent; `local`: another program of this machine has port 67.
    pub fn asking(&mut self, interface: &str, local: bool, now: Millis) {
        self.asked.entry(interface.to_owned()).or_insert((now, local)).1 = local;
    }

    /// A server answered us, or a client within hearing.
    pub fn heard(&mut self, heard: Heard<'_>, now: Millis) -> Option<News> {
        let known = self.trouble_at(heard.interface, &heard.server);
        let entry = self.entry(heard.interface, &heard.server, now)?;
        entry.heard = true;
        entry.from = Some(heard.from);
        entry.mac = heard.mac.or(entry.mac);
        entry.relay = heard.relay.or(entry.relay);
        entry.gives_addresses |= heard.offered.is_some();
        entry.boots |= heard.boots;
        entry.offered = heard.offered.or(entry.offered);
        self.news(heard.interface, &heard.server, known)
    }

    /// A client takes an address from a server that is not us.
    pub fn took(
        &mut self,
        interface: &str,
        server: &ServerName,
        client: ClientName,
        victim: Victim,
        now: Millis,
    ) -> Option<News> {
        let known = self.trouble_at(interface, server);
        let entry = self.entry(interface, server, now)?;
        entry.gives_addresses = true;
        if entry.victims.len() < MOST_VICTIMS || entry.victims.contains_key(&client) {
            entry.victims.insert(client, victim);
        }
        self.news(interface, server, known)
    }

    fn entry(&mut self, interface: &str, server: &ServerName, now: Millis) -> Option<&mut Foreign> {
        let key = (interface.to_owned(), server.clone());
        if !self.servers.contains_key(&key) && self.servers.len() >= MOST_SERVERS {
            return None;
        }
        let entry = self.servers.entry(key).or_insert_with(|| Foreign {
            interface: interface.to_owned(),
            server: server.clone(),
            from: None,
            mac: None,
            relay: None,
            gives_addresses: false,
            boots: false,
            offered: None,
            last: now,
            heard: false,
            victims: BTreeMap::new(),
        });
        entry.last = now;
        Some(entry)
    }

    fn at(&self, interface: &str, server: &ServerName) -> Option<&Foreign> {
        self.servers.get(&(interface.to_owned(), server.clone()))
    }

    fn trouble_at(&self, interface: &str, server: &ServerName) -> bool {
        self.at(interface, server).is_some_and(|found| self.is_trouble(found))
    }

    fn news(&self, interface: &str, server: &ServerName, known: bool) -> Option<News> {
        let found = self.at(interface, server)?;
        (!known && self.is_trouble(found)).then(|| News::Appeared(found.clone()))
    }

    /// In proxy mode a server of addresses is what we need; one that only says what to boot is
    /// our rival. Clients pass over a DHCPv6 server that has no address for them (RFC 8415
    /// §18.2.9).
    fn is_trouble(&self, found: &Foreign) -> bool {
        match found.server {
            ServerName::V4(_) => !self.expected || !found.gives_addresses,
            ServerName::V6(_) => found.gives_addresses || found.boots,
        }
    }

    /// Forgets servers that are no longer there: silent at three questions, or not named by a
    /// client for ten minutes.
    pub fn sweep(&mut self, now: Millis) -> Vec<News> {
        let every = self.every;
        let over = |found: &Foreign| {
            let patience = if found.heard { every * 3 } else { HEARSAY_MS.max(every * 3) };
            now - found.last > patience
        };
        let gone: Vec<Foreign> =
            self.servers.extract_if(.., |_, found| over(found)).map(|(_, found)| found).collect();
        gone.into_iter().filter(|found| self.is_trouble(found)).map(News::Gone).collect()
    }

    /// After the clock jumped.
    pub fn shift(&mut self, jump: Millis) {
        for found in self.servers.values_mut() {
            found.last += jump;
        }
        self.asked.values_mut().for_each(|(since, _)| *since += jump);
    }

    /// Servers that are in the way.
    pub fn trouble(&self) -> impl Iterator<Item = &Foreign> {
        self.servers.values().filter(|found| self.is_trouble(found))
    }

    /// For people, for each interface.
    pub fn notices(&self, now: Millis) -> Vec<Notice> {
        let warnings = self.trouble().map(|found| Notice { warning: true, text: found.words() });
        let mut notices: Vec<Notice> = warnings.collect();
        for (interface, (since, local)) in &self.asked {
            let here = self.servers.values().filter(|found| found.interface == *interface);
            let here: Vec<&Foreign> = here.collect();
            if self.expected {
                notices.extend(expected(interface, &here, *local, now - since));
            } else if here.is_empty() {
                let text = format!("{interface}: no other {} server answers", self.protocol);
                notices.push(Notice { warning: false, text });
            } else {
                let harmless = here.iter().filter(|found| !self.is_trouble(found));
                notices.extend(harmless.map(|found| found.as_harmless()));
            }
        }
        notices
    }
}

/// Where another server is to give the addresses: which do, or that none does.
fn expected(interface: &str, here: &[&Foreign], local: bool, asked_for: Millis) -> Vec<Notice> {
    let givers = here.iter().filter(|found| found.gives_addresses);
    let givers: Vec<Notice> = givers.map(|found| found.as_expected()).collect();
    if !givers.is_empty() {
        return givers;
    }
    let (warning, text) = if local {
        let text = format!(
            "{interface}: another program of this machine has UDP port 67; it is taken for the \
             DHCP server that gives the addresses"
        );
        (false, text)
    } else if asked_for > ANSWER_MS {
        let text = format!(
            "{interface}: dhcp.mode is \"proxy\", and no DHCP server answers: blades get no \
             address. Start that server, or set dhcp.mode = \"server\""
        );
        (true, text)
    } else {
        return Vec::new();
    };
    vec![Notice { warning, text }]
}

/// A server that asks the wire about an address before it offers it needs a few seconds.
const ANSWER_MS: Millis = 5_000;

impl Foreign {
    /// What, where, who suffers, what to do.
    pub fn words(&self) -> String {
        let kind = match (&self.server, self.gives_addresses) {
            (ServerName::V6(_), _) => "DHCPv6 server",
            (ServerName::V4(_), true) => "DHCP server",
            (ServerName::V4(_), false) => "PXE (proxy DHCP) server",
        };
        let does = match (self.offered, self.boots) {
            (Some(ip), true) => format!("; it offered {ip} and a boot file"),
            (Some(ip), false) => format!("; it offered {ip}"),
            (None, _) => String::new(),
        };
        let advice = match (&self.server, self.gives_addresses) {
            (ServerName::V4(_), true) => {
                "blades that listen to it do not boot from here. Switch it off on this network, \
                 or let it give the addresses and set dhcp.mode = \"proxy\""
            }
            (ServerName::V6(_), true) => {
                "blades that listen to it do not boot from here by IPv6. Switch it off on this \
                 network"
            }
            (_, false) => "blades may boot what it says. Switch it off on this network",
        };
        let (interface, victims) = (&self.interface, self.victims_words());
        let server = self.name();
        format!("another {kind}: {server} answers on {interface}{does}{victims}; {advice}")
    }

    /// By what it is found in the room.
    pub fn name(&self) -> String {
        let server = match (&self.server, self.from) {
            (ServerName::V4(ip), _) => ip.to_string(),
            (ServerName::V6(duid), Some(from)) => format!("{from} (DUID {duid})"),
            (ServerName::V6(duid), None) => format!("DUID {duid}"),
        };
        let mac = self.mac.map_or(String::new(), |mac| match self.relay {
            Some(relay) => format!(", behind relay {relay} ({mac})"),
            None => format!(" ({mac})"),
        });
        server + &mac
    }

    fn victims_words(&self) -> String {
        let mut victims: Vec<String> = self.victims.iter().take(5).map(victim_words).collect();
        if self.victims.len() > victims.len() {
            victims.push(format!("{} more", self.victims.len() - victims.len()));
        }
        match victims.is_empty() {
            true => String::new(),
            false => format!("; its address was taken by {}", victims.join(", ")),
        }
    }

    fn as_harmless(&self) -> Notice {
        let text = format!(
            "{}: {} answers by DHCPv6, and gives neither address nor boot file",
            self.interface,
            self.name()
        );
        Notice { warning: false, text }
    }

    fn as_expected(&self) -> Notice {
        let (server, interface) = (&self.server, &self.interface);
        let text = format!("{interface}: DHCP server {server} gives the addresses");
        match self.boots {
            true => Notice {
                warning: true,
                text: format!(
                    "{text}, and names a boot file too: blades may take that instead of ours. \
                     Remove its next-server and boot file settings"
                ),
            },
            false => Notice { warning: false, text },
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerName::V4(ip) => ip.fmt(f),
            ServerName::V6(duid) => duid.fmt(f),
        }
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientName::Mac(mac) => mac.fmt(f),
            ClientName::Duid(duid) => write!(f, "DUID {duid}"),
        }
    }
}

impl ClientName {
    pub fn mac(&self) -> Option<Mac> {
        match self {
            ClientName::Mac(mac) => Some(*mac),
            ClientName::Duid(duid) => duid.mac(),
        }
    }
}

fn victim_words((client, victim): (&ClientName, &Victim)) -> String {
    let name = victim.name.as_ref().map_or(client.to_string(), |name| format!("{name} {client}"));
    let ip = victim.ip.map_or(String::new(), |ip| format!(" ({ip})"));
    let port = victim.port.as_ref().map_or(String::new(), |port| format!(" at {port}"));
    format!("{name}{ip}{port}")
}

#[cfg(test)]
mod tests;
