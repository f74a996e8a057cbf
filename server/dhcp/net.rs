//! Interfaces, sockets, frames.

mod ear;
pub mod frame;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    os::fd::AsRawFd,
};

pub use ear::Ear;
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
    arp,
    reply::{Answer, Interface, To},
    wire::{Arrival, BOOT_SERVER_PORT, CLIENT_PORT, SERVER_PORT},
};
use crate::{blade::Mac, config::DhcpMode};

/// Room for a few thousand clients that are switched on together.
const RECEIVE_BUFFER: usize = 16 << 20;

/// What the kernel knows about an interface. By netlink, not /sys, which shows another network
/// namespace if the daemon was started in one.
pub fn find(name: &str, url: Option<&str>, http_port: u16) -> io::Result<(Interface, LinkAddr)> {
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
        url: url.map(str::to_owned),
        http_port,
    };
    Ok((interface, link))
}

fn ipv4(address: Option<&SockaddrStorage>) -> Option<Ipv4Addr> {
    address?.as_sockaddr_in().map(|address| address.ip())
}

/// What one interface is served with. Answers leave as frames and packets of our own making:
/// to clients that do not answer ARP yet, and because UDP would fill the kernel's neighbour
/// table (1,024 entries) when a room is switched on.
#[derive(Debug)]
pub struct Sockets {
    requests: Requests,
    /// Port 4011, in proxy mode.
    boot_server: Option<UdpSocket>,
    /// What servers say to clients: no UDP socket, whose port a DHCP client of this machine has.
    lookout: Lookout,
    routed: AsyncFd<Socket>,
    pub arp: arp::Asker,
}

/// How requests to port 67 are heard.
#[derive(Debug)]
enum Requests {
    Udp(UdpSocket),
    /// In proxy mode the port may be another server's on this machine: two UDP sockets on it
    /// would take the unicast packets from each other.
    Wire(Ear),
}

impl Sockets {
    pub fn open(name: &str, link: &LinkAddr, mode: DhcpMode) -> io::Result<Sockets> {
        let told = |error| explain(error, name);
        let proxy = mode == DhcpMode::Proxy;
        Ok(Sockets {
            requests: match proxy {
                true => Requests::Wire(Ear::open(link, SERVER_PORT).map_err(told)?),
                false => Requests::Udp(udp(name, SERVER_PORT).map_err(told)?),
            },
            boot_server: match proxy {
                true => Some(udp(name, BOOT_SERVER_PORT).map_err(|e| explain_4011(e, name))?),
                false => None,
            },
            lookout: Lookout::open(link).map_err(told)?,
            routed: routed(name).map_err(told)?,
            arp: arp::Asker::open(link).map_err(told)?,
        })
    }

    /// The next request to port 67. May be cancelled at any time.
    pub async fn hear(&self, buffer: &mut [u8]) -> io::Result<(usize, Arrival)> {
        match &self.requests {
            Requests::Udp(udp) => from_udp(udp, buffer, SERVER_PORT).await,
            Requests::Wire(ear) => loop {
                let Some(packet) = ear.hear(buffer).await? else { continue };
                let arrival = Arrival { from: packet.from, port: SERVER_PORT };
                let (start, length) = (packet.payload.as_ptr().addr(), packet.payload.len());
                let start = start - buffer.as_ptr().addr();
                buffer.copy_within(start..start + length, 0);
                return Ok((length, arrival));
            },
        }
    }

    /// The next request to port 4011; waits for ever where that is not ours.
    pub async fn hear_boot_server(&self, buffer: &mut [u8]) -> io::Result<(usize, Arrival)> {
        match &self.boot_server {
            Some(udp) => from_udp(udp, buffer, BOOT_SERVER_PORT).await,
            None => std::future::pending().await,
        }
    }

    /// The next message of a server to a client. May be cancelled at any time.
    pub async fn hear_servers<'a>(
        &self,
        buffer: &'a mut [u8],
    ) -> io::Result<Option<frame::Udp<'a>>> {
        self.lookout.answers.hear(buffer).await
    }

    pub async fn send(&self, interface: &Interface, answer: &Answer) -> io::Result<()> {
        let Answer { packet, from, to, to_port } = answer;
        let too_large = || io::Error::other("the answer fits no packet");
        let (ip, mac) = match *to {
            To::Broadcast => (Ipv4Addr::BROADCAST, Mac([0xff; 6])),
            To::Client(ip, mac) => (ip, mac),
            To::Routed(ip) | To::Relay(ip) => {
                let to = SocketAddrV4::new(ip, *to_port);
                let packet = frame::routed(*from, to, packet).ok_or_else(too_large)?;
                let send = |socket: &Socket| socket.send_to(&packet, &to.into());
                return self.routed.async_io(Interest::WRITABLE, send).await.map(|_| ());
            }
        };
        let to = (mac, SocketAddrV4::new(ip, *to_port));
        let frame = frame::build((interface.mac, *from), to, packet).ok_or_else(too_large)?;
        let raw = &self.lookout.raw;
        raw.async_io(Interest::WRITABLE, |socket| socket.send(&frame)).await.map(|_| ())
    }

    /// Asks all servers on the wire.
    pub async fn ask_servers(&self, mac: Mac, packet: &[u8]) -> io::Result<()> {
        self.lookout.broadcast(mac, packet).await
    }
}

async fn from_udp(udp: &UdpSocket, buffer: &mut [u8], port: u16) -> io::Result<(usize, Arrival)> {
    let (length, from) = udp.recv_from(buffer).await?;
    let from = match from {
        SocketAddr::V4(from) => from,
        SocketAddr::V6(from) => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, from.port()),
    };
    Ok((length, Arrival { from, port }))
}

fn udp(name: &str, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_broadcast(true)?;
    // Bound to the device first, so several interfaces do not need SO_REUSEADDR, which would
    // hide another DHCP server on the port.
    socket.bind_device(Some(name.as_bytes()))?;
    if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
    UdpSocket::from_std(socket.into())
}

/// Sends and hears for one question, without serving.
#[derive(Debug)]
pub struct Lookout {
    pub answers: Ear,
    raw: AsyncFd<Socket>,
}

impl Lookout {
    pub fn open(link: &LinkAddr) -> io::Result<Lookout> {
        Ok(Lookout { answers: Ear::open(link, CLIENT_PORT)?, raw: raw(link)? })
    }

    pub async fn broadcast(&self, mac: Mac, packet: &[u8]) -> io::Result<()> {
        let from = (mac, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT));
        let to = (Mac([0xff; 6]), SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT));
        let frame = frame::build(from, to, packet).ok_or(io::ErrorKind::InvalidInput)?;
        self.raw.async_io(Interest::WRITABLE, |socket| socket.send(&frame)).await.map(|_| ())
    }
}

fn raw(link: &LinkAddr) -> io::Result<AsyncFd<Socket>> {
    // Protocol 0: it receives nothing.
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
    socket.set_nonblocking(true)?;
    nix::sys::socket::bind(socket.as_raw_fd(), link)?;
    register(socket, Interest::WRITABLE)
}

/// Sends whole IPv4 packets that the kernel routes: so the source port is ours to choose, also
/// where another program has it. It receives nothing (raw(7): IPPROTO_RAW is send only).
fn routed(name: &str) -> io::Result<AsyncFd<Socket>> {
    const IPPROTO_RAW: i32 = 255;
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(name.as_bytes()))?;
    register(socket, Interest::WRITABLE)
}

pub fn register(socket: Socket, interest: Interest) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: `Socket` owns its descriptor: `as_raw_fd` is the same open one until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

fn explain_4011(error: io::Error, name: &str) -> io::Error {
    if error.kind() != io::ErrorKind::AddrInUse {
        return explain(error, name);
    }
    let text = format!(
        "interface {name}: another PXE server has UDP port 4011 (`ss -lunp sport = 4011` shows \
         it); two of them cannot serve one network: stop it, or switch off its PXE service"
    );
    io::Error::new(error.kind(), text)
}

fn explain(error: io::Error, name: &str) -> io::Error {
    let help = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "the daemon needs CAP_NET_RAW, CAP_NET_ADMIN and CAP_NET_BIND_SERVICE (or root)"
        }
        io::ErrorKind::AddrInUse => {
            "another DHCP server has UDP port 67 (`ss -lunp sport = 67` shows it); stop it, or \
             let it give the addresses and set dhcp.mode = \"proxy\""
        }
        _ => "DHCP cannot be served there",
    };
    io::Error::new(error.kind(), format!("interface {name}: {error}: {help}"))
}
