//! Other DHCP servers on the served networks: what is known of each, what people are told, and
//! when it is over. Pure.

use std::{collections::BTreeMap, net::Ipv4Addr};

use super::wire::ServerMessage;
use crate::blade::{Mac, Millis};

/// Servers and victims that are remembered; who makes up more of them is counted with the last.
const MOST_SERVERS: usize = 64;
const MOST_VICTIMS: usize = 32;
/// A server that does not answer us, but whose address clients name, is believed so long.
const HEARSAY_MS: Millis = 600_000;

/// A server that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    pub interface: String,
    /// How it names itself (option 54).
    pub server: Ipv4Addr,
    /// Who sent its frames on this wire: itself, or the router that stands before it.
    pub mac: Option<Mac>,
    pub relay: Option<Ipv4Addr>,
    /// It gives addresses, not boot items alone.
    pub gives_addresses: bool,
    /// It says what to boot.
    pub boots: bool,
    pub offered: Option<Ipv4Addr>,
    pub since: Millis,
    pub last: Millis,
    /// It answered, not only clients named it.
    heard: bool,
    pub victims: BTreeMap<Mac, Victim>,
}

/// Who took an address of a foreign server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    /// The blade's name, where it is one of ours.
    pub name: Option<String>,
    pub ip: Option<Ipv4Addr>,
    /// Switch port, by the words of a relay.
    pub port: Option<String>,
}

/// A reply of a server as it came over the wire.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    pub interface: &'a str,
    pub sender: Mac,
    pub from: Ipv4Addr,
    pub message: &'a ServerMessage,
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

/// All that is known.
#[derive(Debug)]
pub struct Watch {
    /// Another server is to give the addresses (proxy mode).
    expected: bool,
    /// Time between two questions.
    every: Millis,
    servers: BTreeMap<(String, Ipv4Addr), Foreign>,
    /// Since when each interface is asked; and if this machine itself has a DHCP server.
    asked: BTreeMap<String, (Millis, bool)>,
}

impl Watch {
    pub fn new(expected: bool, every: Millis) -> Watch {
        Watch { expected, every, servers: BTreeMap::new(), asked: BTreeMap::new() }
    }

    /// A question is sent; `local`: another program of this machine has port 67.
    pub fn asking(&mut self, interface: &str, local: bool, now: Millis) {
        self.asked.entry(interface.to_owned()).or_insert((now, local)).1 = local;
    }

    /// A server answered us, or a client within hearing.
    pub fn heard(&mut self, heard: Heard<'_>, now: Millis) -> Option<News> {
        let message = heard.message;
        let server = message.server_id.unwrap_or(heard.from);
        let (entry, new) = self.entry(heard.interface, server, now)?;
        entry.heard = true;
        entry.mac = Some(heard.sender);
        entry.relay = message.relay.or(entry.relay);
        entry.gives_addresses |= message.yiaddr.is_some();
        entry.boots |= message.boots;
        entry.offered = message.yiaddr.or(entry.offered);
        self.news(heard.interface, server, new)
    }

    /// A client takes an address from a server that is not us.
    pub fn took(
        &mut self,
        interface: &str,
        server: Ipv4Addr,
        mac: Mac,
        victim: Victim,
        now: Millis,
    ) -> Option<News> {
        let (entry, new) = self.entry(interface, server, now)?;
        entry.gives_addresses = true;
        if entry.victims.len() < MOST_VICTIMS || entry.victims.contains_key(&mac) {
            entry.victims.insert(mac, victim);
        }
        self.news(interface, server, new)
    }

    fn entry(
        &mut self,
        interface: &str,
        server: Ipv4Addr,
        now: Millis,
    ) -> Option<(&mut Foreign, bool)> {
        let key = (interface.to_owned(), server);
        let new = !self.servers.contains_key(&key);
        if new && self.servers.len() >= MOST_SERVERS {
            return None;
        }
        let entry = self.servers.entry(key).or_insert_with(|| Foreign {
            interface: interface.to_owned(),
            server,
            mac: None,
            relay: None,
            gives_addresses: false,
            boots: false,
            offered: None,
            since: now,
            last: now,
            heard: false,
            victims: BTreeMap::new(),
        });
        entry.last = now;
        Some((entry, new))
    }

    fn news(&self, interface: &str, server: Ipv4Addr, new: bool) -> Option<News> {
        let found = self.servers.get(&(interface.to_owned(), server))?;
        (new && self.is_trouble(found)).then(|| News::Appeared(found.clone()))
    }

    /// In proxy mode a server of addresses is what we need; one that only says what to boot is
    /// our rival.
    fn is_trouble(&self, found: &Foreign) -> bool {
        !self.expected || !found.gives_addresses
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
            found.since += jump;
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
        let mut notices: Vec<Notice> =
            self.trouble().map(|found| Notice { warning: true, text: found.words() }).collect();
        for (interface, (since, local)) in &self.asked {
            let mut here = self.servers.values().filter(|found| found.interface == *interface);
            if !self.expected {
                if here.next().is_none() {
                    let text = format!("{interface}: no other DHCP server answers");
                    notices.push(Notice { warning: false, text });
                }
                continue;
            }
            let givers: Vec<&Foreign> = here.filter(|found| found.gives_addresses).collect();
            notices.extend(givers.iter().map(|found| found.as_expected()));
            if givers.is_empty() && *local {
                let text = format!(
                    "{interface}: another program of this machine has UDP port 67; it is taken \
                     for the DHCP server that gives the addresses"
                );
                notices.push(Notice { warning: false, text });
            } else if givers.is_empty() && now - since > ANSWER_MS {
                let text = format!(
                    "{interface}: dhcp.mode is \"proxy\", and no DHCP server answers: blades get \
                     no address. Start that server, or set dhcp.mode = \"server\""
                );
                notices.push(Notice { warning: true, text });
            }
        }
        notices
    }
}

/// A server that asks the wire about an address before it offers it needs a few seconds.
const ANSWER_MS: Millis = 5_000;

impl Foreign {
    /// What, where, who suffers, what to do.
    pub fn words(&self) -> String {
        let kind = if self.gives_addresses { "DHCP server" } else { "PXE (proxy DHCP) server" };
        let mac = self.mac.map_or(String::new(), |mac| match self.relay {
            Some(relay) => format!(", behind relay {relay} ({mac})"),
            None => format!(" ({mac})"),
        });
        let does = match (self.offered, self.boots) {
            (Some(ip), true) => format!("; it offered {ip} and a boot file"),
            (Some(ip), false) => format!("; it offered {ip}"),
            (None, _) => String::new(),
        };
        let advice = if self.gives_addresses {
            "blades that listen to it do not boot from here. Switch it off on this network, or let \
             it give the addresses and set dhcp.mode = \"proxy\""
        } else {
            "blades may boot what it says. Switch it off on this network"
        };
        let (server, interface) = (self.server, &self.interface);
        let victims = self.victims_words();
        format!("another {kind}: {server}{mac} answers on {interface}{does}{victims}; {advice}")
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

    fn as_expected(&self) -> Notice {
        let (server, interface) = (self.server, &self.interface);
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

fn victim_words((mac, victim): (&Mac, &Victim)) -> String {
    let name = victim.name.as_ref().map_or(mac.to_string(), |name| format!("{name} {mac}"));
    let ip = victim.ip.map_or(String::new(), |ip| format!(" ({ip})"));
    let port = victim.port.as_ref().map_or(String::new(), |port| format!(" at {port}"));
    format!("{name}{ip}{port}")
}

#[cfg(test)]
mod tests;
