//! Interfaces, sockets, frames.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::AsRawFd,
};

use etherparse::PacketBuilder;
use ipnet::Ipv4Net;
use nix::{
    ifaddrs::getifaddrs,
    net::if_::if_nametoindex,
    sys::socket::{LinkAddr, SockaddrStorage, setsockopt, sockopt::RcvBufForce},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UdpSocket,
};

use super::{
    Options, arp,
    reply::{Answer, Interface, To},
};
use crate::blade::Mac;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Room for a few thousand clients that are switched on together.
const RECEIVE_BUFFER: usize = 16 << 20;

/// What the kernel knows about an interface. By netlink, not /sys, which shows another network
/// namespace if the daemon was started in one.
pub fn find(name: &str, options: &Options) -> io::Result<(Interface, LinkAddr)> {
    let fail = |what: &str| {
        let text = format!("interface {name}: {what}; see `ip address` and boot.interfaces");
        io::Error::new(io::ErrorKind::NotFound, text)
    };
    let index = if_nametoindex(name).map_err(|_| fail("there is no such interface"))?;
    let (mut link, mut addresses, mut own) = (None, Vec::new(), Vec::new());
    for found in getifaddrs()? {
        let Some(address) = found.address else { continue };
        // Addresses with a label are reported as `eth0:label`.
        let ours = found.interface_name.split(':').next() == Some(name);
        if let (true, Some(packet)) = (ours, address.as_link_addr()) {
            link = Some(*packet);
        }
        if let Some(ip) = ipv4(Some(&address)) {
            own.push(ip);
            let mask = ipv4(found.netmask.as_ref()).unwrap_or(Ipv4Addr::BROADCAST);
            if ours && let Ok(net) = Ipv4Net::with_netmask(ip, mask) {
                addresses.push(net);
            }
        }
    }
    let link = link.ok_or_else(|| fail("it has no link address"))?;
    let mac = link.addr().map(Mac).ok_or_else(|| fail("it is no Ethernet interface"))?;
    let interface = Interface {
        name: name.to_owned(),
        index,
        mac,
        addresses,
        own,
        url: options.url.clone(),
        http_port: options.http_port,
    };
    Ok((interface, link))
}

fn ipv4(address: Option<&SockaddrStorage>) -> Option<Ipv4Addr> {
    address?.as_sockaddr_in().map(|address| address.ip())
}

/// A UDP socket that hears one interface, and a raw one that sends to clients that do not
/// answer ARP yet. Raw frames for all clients: unicast by UDP would fill the kernel's
/// neighbour table (1,024 entries) when a room is switched on.
#[derive(Debug)]
pub struct Sockets {
    pub udp: UdpSocket,
    raw: AsyncFd<Socket>,
    pub arp: arp::Asker,
}

impl Sockets {
    pub fn open(name: &str, link: &LinkAddr) -> io::Result<Sockets> {
        let udp = udp(name).map_err(|error| explain(error, name))?;
        let raw = raw(link).map_err(|error| explain(error, name))?;
        let arp = arp::Asker::open(link).map_err(|error| explain(error, name))?;
        Ok(Sockets { udp, raw, arp })
    }

    pub async fn send(&self, interface: &Interface, answer: &Answer) -> io::Result<()> {
        let (ip, mac) = match answer.to {
            To::Broadcast => (Ipv4Addr::BROADCAST, Mac([0xff; 6])),
            To::Client(ip, mac) => (ip, mac),
            To::Routed(ip) => {
                let to = SocketAddrV4::new(ip, CLIENT_PORT);
                return self.udp.send_to(&answer.packet, to).await.map(|_| ());
            }
            To::Relay(ip) => {
                let to = SocketAddrV4::new(ip, SERVER_PORT);
                return self.udp.send_to(&answer.packet, to).await.map(|_| ());
            }
        };
        let builder = PacketBuilder::ethernet2(interface.mac.0, mac.0)
            .ipv4(answer.from.octets(), ip.octets(), 64)
            .udp(SERVER_PORT, CLIENT_PORT);
        let mut frame = Vec::with_capacity(builder.size(answer.packet.len()));
        builder.write(&mut frame, &answer.packet).map_err(io::Error::other)?;
        self.raw.async_io(Interest::WRITABLE, |socket| socket.send(&frame)).await.map(|_| ())
    }
}

fn udp(name: &str) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_broadcast(true)?;
    // Bound to the device first, so several interfaces do not need SO_REUSEADDR, which would
    // hide another DHCP server on the port.
    socket.bind_device(Some(name.as_bytes()))?;
    if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT).into())?;
    UdpSocket::from_std(socket.into())
}

fn raw(link: &LinkAddr) -> io::Result<AsyncFd<Socket>> {
    // Protocol 0: it receives nothing.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    socket.set_nonblocking(true)?;
    nix::sys::socket::bind(socket.as_raw_fd(), link)?;
    register(socket, Interest::WRITABLE)
}

pub fn register(socket: Socket, interest: Interest) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: `Socket` owns its descriptor: `as_raw_fd` is the same open one until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

fn explain(error: io::Error, name: &str) -> io::Error {
    let help = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "the daemon needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_NET_BIND_SERVICE (or root)"
        }
        io::ErrorKind::AddrInUse => {
            "another DHCP server has UDP port 67 (`ss -lunp sport = 67` shows it); stop it, or \
             set dhcp.mode"
        }
        _ => "DHCP cannot be served there",
    };
    io::Error::new(error.kind(), format!("interface {name}: {error}: {help}"))
}
