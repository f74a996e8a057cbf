//! Interfaces and sockets.

use std::{
    io::{self, IoSliceMut},
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::AsRawFd,
};

use ipnet::Ipv6Net;
use nix::{
    cmsg_space,
    ifaddrs::getifaddrs,
    libc::in6_pktinfo,
    net::if_::if_nametoindex,
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
        sockopt::{Ipv6RecvPacketInfo, RcvBufForce},
    },
};
use socket2::{Domain, Protocol, SockFilter, Type};
use tokio::{io::Interest, net::UdpSocket};

use super::{Options, reply::Interface};

pub const SERVER_PORT: u16 = 547;
pub const CLIENT_PORT: u16 = 546;
/// All_DHCP_Relay_Agents_and_Servers and All_DHCP_Servers (RFC 8415 §7.1).
const GROUPS: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2), Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3)];
/// Room for a few thousand clients that are switched on together.
const RECEIVE_BUFFER: usize = 16 << 20;

/// What the kernel knows about an interface now.
pub fn find(name: &str, options: &Options) -> io::Result<Interface> {
    let index = if_nametoindex(name).map_err(|_| {
        let text = format!(
            "interface {name}: there is no such interface; see `ip address` and boot.interfaces"
        );
        io::Error::new(io::ErrorKind::NotFound, text)
    })?;
    let mut addresses = Vec::new();
    for found in getifaddrs()?.filter(|found| found.interface_name == name) {
        let v6 = |address: Option<&SockaddrStorage>| Some(address?.as_sockaddr_in6()?.ip());
        let (ip, mask) = (v6(found.address.as_ref()), v6(found.netmask.as_ref()));
        if let (Some(ip), Some(mask)) = (ip, mask)
            && !ip.is_unicast_link_local()
            && let Ok(net) = Ipv6Net::with_netmask(ip, mask)
        {
            addresses.push(net);
        }
    }
    let (url, http_port) = (options.url.clone(), options.http_port);
    Ok(Interface { name: name.to_owned(), index, addresses, url, http_port })
}

/// A packet that came.
#[derive(Debug)]
pub struct Datagram {
    pub length: usize,
    pub from: SocketAddrV6,
    pub multicast: bool,
}

/// A UDP socket that hears one interface.
#[derive(Debug)]
pub struct Socket(UdpSocket);

impl Socket {
    pub fn open(interface: &Interface) -> io::Result<Socket> {
        let socket = open(&interface.name).map_err(|error| explain(&error, &interface.name))?;
        let socket = Socket(socket);
        // Without IPv6 on the interface nothing can be joined, yet.
        if let Err(error) = socket.join(interface.index) {
            tracing::warn!("DHCPv6: {}: {error}", interface.name);
        }
        Ok(socket)
    }

    /// Joins what is not joined yet.
    pub fn join(&self, index: u32) -> io::Result<()> {
        for group in GROUPS {
            match self.0.join_multicast_v6(&group, index) {
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    let text = format!("{group} cannot be joined: {error}; is IPv6 switched off?");
                    return Err(io::Error::new(error.kind(), text));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The next packet, cut to `buffer`.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        self.0.async_io(Interest::READABLE, || self.try_receive(buffer)).await
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        let mut space = cmsg_space!(in6_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let (fd, flags) = (self.0.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let message = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut space), flags)?;
        let from = message.address.as_ref().and_then(|from| from.as_sockaddr_in6());
        let from = from.ok_or_else(|| io::Error::other("packet without a sender"))?;
        let multicast = message.cmsgs()?.any(|control| match control {
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                Ipv6Addr::from(info.ipi6_addr.s6_addr).is_multicast()
            }
            _ => false,
        });
        Ok(Datagram { length: message.bytes, from: (*from).into(), multicast })
    }

    pub async fn send(&self, packet: &[u8], to: SocketAddrV6) -> io::Result<()> {
        self.0.send_to(packet, to).await.map(drop)
    }
}

/// Asks and hears other servers without having the client's port, which a DHCPv6 client of this
/// machine may have.
#[derive(Debug)]
pub struct Lookout {
    /// A raw socket, which recvfrom(2) and so tokio reads like one of UDP.
    answers: UdpSocket,
    questions: UdpSocket,
}

impl Lookout {
    pub fn open(name: &str) -> io::Result<Lookout> {
        let on_device = |kind| -> io::Result<socket2::Socket> {
            let socket = socket2::Socket::new(Domain::IPV6, kind, Some(Protocol::UDP))?;
            socket.set_nonblocking(true)?;
            socket.bind_device(Some(name.as_bytes()))?;
            Ok(socket)
        };
        let (answers, questions) = (on_device(Type::RAW)?, on_device(Type::DGRAM)?);
        answers.attach_filter(&udp_to(CLIENT_PORT))?;
        // Our own server is not asked.
        questions.set_multicast_loop_v6(false)?;
        let tokio = |socket: socket2::Socket| UdpSocket::from_std(socket.into());
        Ok(Lookout { answers: tokio(answers)?, questions: tokio(questions)? })
    }

    pub async fn ask(&self, packet: &[u8], index: u32) -> io::Result<()> {
        let to = SocketAddrV6::new(GROUPS[0], SERVER_PORT, 0, index);
        self.questions.send_to(packet, to).await.map(drop)
    }

    /// The next message to a client on this machine, read into `buffer`. May be cancelled at any
    /// time.
    pub async fn hear<'a>(&self, buffer: &'a mut [u8]) -> io::Result<(&'a [u8], Ipv6Addr)> {
        let (length, from) = self.answers.recv_from(buffer).await?;
        let from = if let SocketAddr::V6(from) = from { *from.ip() } else { Ipv6Addr::UNSPECIFIED };
        // RFC 3542 §3: the packet behind the IPv6 header, so the header of UDP is here.
        Ok((buffer.get(UDP_HEADER..length).unwrap_or_default(), from))
    }
}

const UDP_HEADER: usize = 8;

/// Classic BPF at the header of UDP: this destination port.
fn udp_to(port: u16) -> [SockFilter; 4] {
    const LDH_ABS: u16 = 0x28;
    const JEQ: u16 = 0x15;
    const RET: u16 = 0x06;
    [
        SockFilter::new(LDH_ABS, 0, 0, 2),
        SockFilter::new(JEQ, 0, 1, u32::from(port)),
        SockFilter::new(RET, 0, 0, u32::MAX),
        SockFilter::new(RET, 0, 0, 0),
    ]
}

fn open(name: &str) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_only_v6(true)?;
    // Bound to the device first, so several interfaces do not need SO_REUSEADDR, which would
    // hide another DHCPv6 server on the port.
    socket.bind_device(Some(name.as_bytes()))?;
    setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
    if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    socket.bind(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, SERVER_PORT, 0, 0).into())?;
    UdpSocket::from_std(socket.into())
}

fn explain(error: &io::Error, name: &str) -> io::Error {
    let help = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "the daemon needs CAP_NET_RAW and CAP_NET_BIND_SERVICE (or root)"
        }
        io::ErrorKind::AddrInUse => {
            "another DHCPv6 server has UDP port 547 (`ss -lunp sport = 547` shows it); stop it, or \
             take the IPv6 [[subnet]] out of the configuration"
        }
        _ => "DHCPv6 cannot be served there; is IPv6 switched off in the kernel?",
    };
    io::Error::new(error.kind(), format!("interface {name}: {error}: {help}"))
}
