//! ProxyDHCP (PXE 2.1 §2.2.3): what to boot, beside another server that gives the addresses.
//! Offers no address, keeps no lease, refuses nobody; who does not boot hears nothing.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{
    Decision, Exchange, To,
    answer::{ACK, OFFER, required},
};
use crate::{
    boot::{BootAnswer, Choice, Firmware, HTTP, PXE, local_boot_menu},
    dhcp::{
        seen::What,
        wire::{BOOT_SERVER_PORT, Message, Reply, ReplyOption, code},
    },
};

/// Option 43: PXE discovery control with bit 3 alone (PXE 2.1 table 2-1, tag 6): take the boot
/// file of this offer, without a menu, a prompt or a search for boot servers.
const TAKE_THE_FILE: [u8; 4] = [6, 1, 8, 255];
/// Tag 71 of option 43: the boot item that a client has chosen.
const BOOT_ITEM: u8 = 71;

impl Exchange<'_> {
    pub(super) fn proxy(&self) -> Decision {
        let boot_server = self.request.arrival.port == BOOT_SERVER_PORT;
        match self.request.message {
            Message::Discover if boot_server => Decision::default(),
            Message::Discover => self.proxy_offer(),
            Message::Request | Message::Inform if boot_server => self.boot_server(),
            // It is another server's, and still says which address the blade will ask from.
            Message::Request | Message::Inform => self.addressed(),
            Message::Decline | Message::Release => Decision::default(),
        }
    }

    fn proxy_offer(&self) -> Decision {
        let to = match self.request.giaddr {
            giaddr if giaddr.is_unspecified() => To::Broadcast,
            giaddr => To::Relay(giaddr),
        };
        self.boot_items(OFFER, to)
    }

    /// PXE 2.1 §2.2.3: a client that has its address asks for the boot file by unicast.
    fn boot_server(&self) -> Decision {
        if self.request.server_id.is_some_and(|id| !self.is_us(id)) {
            return self.ignore(None, "asks another boot server".to_owned());
        }
        let source = *self.request.arrival.from.ip();
        let ip = if source.is_unspecified() { self.request.ciaddr } else { source };
        let to = match ip {
            ip if ip.is_unspecified() => To::Broadcast,
            ip if self.on_link(ip) => To::Client(ip, self.request.mac),
            ip => To::Routed(ip),
        };
        let mut decision = self.boot_items(ACK, to);
        decision.seen.extend(self.addressed().seen);
        decision
    }

    /// An answer without an address: yiaddr stays 0 and there is no lease time.
    fn boot_items(&self, kind: u8, to: To) -> Decision {
        if !self.client.is_pxe() {
            return Decision::default();
        }
        if self.blade.is_none() && !self.snapshot.serve_unknown {
            return self.ignore(None, "not in the inventory".to_owned());
        }
        let server = match self.proxy_address() {
            Ok(server) => server,
            Err(why) => return self.ignore(None, why),
        };
        let Choice { answer: boot, rule } = self.boot(server);
        if let BootAnswer::None(why) = boot {
            return self.ignore(None, why.to_owned());
        }
        let file = boot.file().to_owned();
        let reply = Reply {
            flags: self.request.flags,
            ciaddr: (kind == ACK).then_some(self.request.ciaddr),
            yiaddr: None,
            // iPXE takes no proxy's file without a next server (dhcp_has_pxeopts), ROMs neither.
            siaddr: (!file.is_empty()).then_some(server),
            file: if boot.http_url().is_some() { String::new() } else { file.clone() },
            options: self.proxy_options(kind, server, &boot),
        };
        let what = if kind == OFFER { What::Offered } else { What::Acked };
        let mut seen = self.note(what, None, boot.line());
        seen.boot_file = (!file.is_empty()).then_some(file);
        seen.rule = rule;
        match reply.encode(self.request) {
            Some(packet) => Decision {
                answer: Some(self.answer(packet, server, to)),
                seen: vec![seen],
                ..Decision::default()
            },
            None => self.ignore(None, "what it wants echoed fits no packet".to_owned()),
        }
    }

    fn proxy_options(&self, kind: u8, server: Ipv4Addr, boot: &BootAnswer) -> Vec<ReplyOption> {
        let class = match self.client.vendor_class.starts_with(HTTP.as_bytes()) {
            true => HTTP,
            false => PXE,
        };
        let mut have = vec![
            required(code::MESSAGE_TYPE, [kind]),
            required(code::SERVER_ID, self.server_id(server).octets()),
            required(code::VENDOR_CLASS, class),
        ];
        // RFC 6842 §3 and RFC 4578 §2.3.
        for code in [code::CLIENT_ID, code::CLIENT_UUID] {
            have.extend(self.request.get(code).map(|value| required(code, value)));
        }
        let url = boot.http_url();
        have.extend(url.map(|url| required(code::BOOT_FILE, url)));
        let vendor = match boot {
            _ if url.is_some() => None,
            BootAnswer::Disk => Some(local_boot_menu()),
            _ if kind == ACK => self.chosen_item(),
            // BIOS ROMs and iPXE take the file of this offer at once. UEFI is told nothing: some
            // drop an offer with discovery control, while with a bare file EDK2 and its
            // descendants ask port 4011 (PxeBcDhcp4.c: PxeOfferTypeProxyBinl), the others take
            // the file.
            _ if self.is_bios() => Some(TAKE_THE_FILE.to_vec()),
            _ => None,
        };
        have.extend(vendor.map(|vendor| required(code::VENDOR, vendor)));
        have
    }

    fn is_bios(&self) -> bool {
        self.firmware == Firmware::Ipxe || self.client.archs.first().is_none_or(|arch| *arch == 0)
    }

    /// PXE 2.1 §2.4.4: the answer names the boot item that was asked for.
    fn chosen_item(&self) -> Option<Vec<u8>> {
        let vendor = self.request.get(code::VENDOR)?;
        let mut rest = &vendor[..];
        while let [tag, length, tail @ ..] = rest {
            let (value, tail) = tail.split_at_checked(usize::from(*length))?;
            if *tag == BOOT_ITEM {
                let mut item = vec![BOOT_ITEM, *length];
                item.extend_from_slice(value);
                item.push(255);
                return Some(item);
            }
            rest = tail;
        }
        None
    }

    /// Our address on the client's network, else any of the interface.
    fn proxy_address(&self) -> Result<Ipv4Addr, String> {
        let giaddr = self.request.giaddr;
        if !giaddr.is_unspecified() {
            let place = self.relayed_place(giaddr)?;
            // Where subnets are configured, relays of others get nothing.
            if !self.snapshot.subnets.is_empty() && self.snapshot.subnet_of(place).is_none() {
                return Err(format!("relay {giaddr}: {place} is in no subnet we serve"));
            }
        }
        let ciaddr = self.request.ciaddr;
        let mut near = self.via.addresses.iter().filter(|net| net.contains(&ciaddr));
        let address = near.next().or_else(|| self.via.addresses.first()).map(Ipv4Net::addr);
        address.ok_or_else(|| format!("{} has no address now", self.via.name))
    }

    /// Which address another server gave: by it a blade is known when it asks for its script.
    fn addressed(&self) -> Decision {
        let request = self.request;
        let ip = match request.ciaddr {
            ip if !ip.is_unspecified() => Some(ip),
            _ => request.requested,
        };
        let Some(ip) = ip.filter(|ip| self.may_be_a_clients(*ip)) else {
            return Decision::default();
        };
        // A stranger's address is of interest where it was a blade's before.
        if self.blade.is_none() && self.snapshot.by_ip(ip).is_none() {
            return Decision::default();
        }
        let server = request.server_id.map_or(String::new(), |id| format!(" from {id}"));
        let text = format!("takes {ip}{server}");
        Decision { seen: vec![self.note(What::Addressed, Some(ip), text)], ..Decision::default() }
    }

    fn may_be_a_clients(&self, ip: Ipv4Addr) -> bool {
        let special =
            ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() || ip.is_loopback();
        let reserved_for_another = self
            .snapshot
            .reserved_for(ip)
            .is_some_and(|blade| self.blade.is_none_or(|asking| asking.name != blade.name));
        !special && !reserved_for_another && !self.via.own.contains(&ip)
    }
}
