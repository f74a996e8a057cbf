//! UDP as TFTP needs it: the address a request was sent to (PKTINFO), answers
//! that come from it, and a window in one system call (UDP GSO).
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::transfer::Datagram;
use super::wire;

/// Linux before 6.9 takes no more segments in one send.
const GSO_SEGMENTS: usize = 64;
/// The longest UDP payload over IPv4.
const GSO_OCTETS: usize = 65_507;
/// Octets of requests the kernel keeps for us; each counts for about 1 KiB.
const REQUESTS: usize = 4 << 20;
/// A full send buffer empties within this, or the packet counts as lost.
const SEND_PATIENCE: Duration = Duration::from_millis(100);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// `0.0.0.0:69` with a device, or one of the server's own addresses.
    pub address: SocketAddr,
    /// Only packets that come in by this interface count (`SO_BINDTODEVICE`).
    pub device: Option<String>,
}

/// A request and the way it came.
pub struct Arrival {
    pub length: usize,
    pub client: SocketAddr,
    /// The address of ours it was sent to; `None` for broadcast and multicast.
    pub local: Option<IpAddr>,
}

/// The socket on the well-known port.
pub struct Listener {
    socket: UdpSocket,
    device: Option<String>,
    /// The kernel's number of that device when the socket was bound.
    index: u32,
    address: SocketAddr,
}

fn index_of(device: Option<&str>) -> u32 {
    device.and_then(|name| if_nametoindex(name).ok()).unwrap_or(0)
}

impl Listener {
    /// Binds, without waiting for anything.
    ///
    /// # Errors
    /// The system's, with address and device in the text.
    pub fn bind(listen: &Listen) -> io::Result<Self> {
        let told = |error: io::Error| {
            let device = listen.device.as_deref().unwrap_or("any interface");
            io::Error::new(error.kind(), format!("TFTP on {} ({device}): {error}", listen.address))
        };
        let socket = open(listen.address, listen.device.as_deref()).map_err(told)?;
        let want_pktinfo = match listen.address {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true),
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true),
        };
        want_pktinfo.map_err(|errno| told(errno.into()))?;
        // A rack that is switched on asks at once. Root gets all of it, others
        // what the system allows; with less, blades ask twice.
        if setsockopt(&socket, sockopt::RcvBufForce, &REQUESTS).is_err() {
            let _ = setsockopt(&socket, sockopt::RcvBuf, &REQUESTS);
        }
        let address = socket.local_addr().map_err(told)?;
        let index = index_of(listen.device.as_deref());
        Ok(Self { socket, device: listen.device.clone(), index, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// True if its device is there again as another one.
    pub fn is_left_behind(&self) -> bool {
        let now = index_of(self.device.as_deref());
        now != 0 && now != self.index
    }

    pub fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }

    /// The next packet, cut to `buffer`.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        self.socket.async_io(Interest::READABLE, || self.try_receive(buffer)).await
    }

    /// Answers from the address the client has written to. Lost if the send
    /// buffer is full: the client asks again.
    pub fn answer(&self, packet: &[u8], client: SocketAddr, local: IpAddr) -> io::Result<()> {
        let parts = [IoSlice::new(packet)];
        let sent = match local {
            IpAddr::V4(local) => {
                let info = in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: nix::libc::in_addr { s_addr: u32::from(local).to_be() },
                    ipi_addr: nix::libc::in_addr { s_addr: 0 },
                };
                self.send(&parts, &ControlMessage::Ipv4PacketInfo(&info), client)
            }
            IpAddr::V6(local) => {
                let info = in6_pktinfo {
                    ipi6_addr: nix::libc::in6_addr { s6_addr: local.octets() },
                    ipi6_ifindex: 0,
                };
                self.send(&parts, &ControlMessage::Ipv6PacketInfo(&info), client)
            }
        };
        sent.map(drop)
    }

    fn send(
        &self,
        parts: &[IoSlice<'_>],
        source: &ControlMessage<'_>,
        client: SocketAddr,
    ) -> io::Result<usize> {
        let to = SockaddrStorage::from(client);
        let fd = self.socket.as_raw_fd();
        Ok(sendmsg(fd, parts, std::slice::from_ref(source), MsgFlags::MSG_DONTWAIT, Some(&to))?)
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Arrival> {
        let mut space = cmsg_space!(in_pktinfo, in6_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let fd = self.socket.as_raw_fd();
        let message = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut space), flags)?;
        let client = message.address.as_ref().and_then(socket_address);
        let client = client.ok_or_else(|| io::Error::other("packet without a sender"))?;
        let local = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(unicast_v4(&info)),
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                Some((!address.is_multicast()).then_some(IpAddr::V6(address)))
            }
            _ => None,
        });
        Ok(Arrival { length: message.bytes, client, local: local.flatten() })
    }
}

/// The kernel puts one of our own addresses into `ipi_spec_dst`: it equals the
/// destination in the header only if the packet was sent to us alone.
fn unicast_v4(info: &in_pktinfo) -> Option<IpAddr> {
    let octets = info.ipi_addr.s_addr;
    (octets == info.ipi_spec_dst.s_addr).then(|| IpAddr::V4(Ipv4Addr::from(u32::from_be(octets))))
}

fn socket_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddr::V4(SocketAddrV4::new(v4.ip(), v4.port())));
    }
    storage.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()))
}

/// The socket of one transfer: its port is the transfer's TID (RFC 1350 §4).
pub struct Peer {
    socket: UdpSocket,
    client: SocketAddr,
    to: SockaddrStorage,
    /// Off once the kernel or the link has refused it.
    gso: bool,
}

impl Peer {
    /// A socket on `local`, on a free port of `ports` beginning the search at
    /// the `start`-th, or on any free port.
    ///
    /// # Errors
    /// The system's; `AddrInUse` if every port of the range is taken.
    pub fn bind(
        local: IpAddr,
        device: Option<&str>,
        client: SocketAddr,
        ports: Option<(&RangeInclusive<u16>, u64)>,
    ) -> io::Result<Self> {
        let socket = match ports {
            None => open(SocketAddr::new(local, 0), device)?,
            Some((range, start)) => open_in(local, device, range, start)?,
        };
        Ok(Self { socket, client, to: SockaddrStorage::from(client), gso: true })
    }

    /// The next packet from anyone.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(buffer).await
    }

    /// What has already arrived, asked of the kernel itself: the runtime may
    /// not have heard of it yet.
    pub fn receive_now(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (length, from) =
            nix::sys::socket::recvfrom::<SockaddrStorage>(self.socket.as_raw_fd(), buffer)?;
        let from = from.as_ref().and_then(socket_address);
        Ok((length, from.ok_or_else(|| io::Error::other("packet without a sender"))?))
    }

    pub fn is_client(&self, from: SocketAddr) -> bool {
        from.port() == self.client.port() && from.ip() == self.client.ip()
    }

    /// Tells a stranger that the transfer is not theirs (RFC 1350 §4).
    pub fn refuse(&self, stranger: SocketAddr) {
        let packet = wire::error(wire::Code::UnknownTid, "unknown transfer");
        // Lost or not: the stranger is no concern of this transfer.
        let _ = self.socket.try_send_to(&packet, stranger);
    }

    /// Sends and empties `outbox`. What the link does not take counts as lost.
    ///
    /// # Errors
    /// The first one met; the rest is sent all the same.
    pub async fn send(&mut self, outbox: &mut Vec<Datagram>) -> io::Result<()> {
        let mut result = Ok(());
        let mut rest = &outbox[..];
        while let Some(first) = rest.first() {
            let group = if self.gso { group_length(rest) } else { 1 };
            let (now, later) = rest.split_at(group);
            match self.send_group(now).await {
                Ok(()) => rest = later,
                // EIO: the link computes no checksums; EMSGSIZE, EINVAL: a
                // block is longer than the link's MTU. One by one works.
                Err(error) if group > 1 && refused_gso(&error) => self.gso = false,
                Err(error) => {
                    tracing::debug!(client = %self.client, %error, octets = length(first), "not sent");
                    result = result.and(Err(error));
                    rest = later;
                }
            }
        }
        outbox.clear();
        result
    }

    async fn send_group(&self, group: &[Datagram]) -> io::Result<()> {
        match self.socket.try_io(Interest::WRITABLE, || self.send_once(group)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let sent = self.socket.async_io(Interest::WRITABLE, || self.send_once(group));
                tokio::time::timeout(SEND_PATIENCE, sent).await.unwrap_or(Err(error))
            }
            other => other,
        }
    }

    fn send_once(&self, group: &[Datagram]) -> io::Result<()> {
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        if let [only] = group {
            let sent = match only {
                Datagram::Control(packet) => {
                    sendmsg(fd, &[IoSlice::new(packet)], &[], flags, Some(&self.to))
                }
                Datagram::Data { block, payload } => {
                    let head = wire::data_head(*block);
                    let parts = [IoSlice::new(&head), IoSlice::new(payload)];
                    sendmsg(fd, &parts, &[], flags, Some(&self.to))
                }
            };
            return Ok(sent.map(drop)?);
        }
        let heads: Vec<_> = group.iter().map(head).collect();
        let mut parts = Vec::with_capacity(group.len() * 2);
        for (head, datagram) in heads.iter().zip(group) {
            if let Datagram::Data { payload, .. } = datagram {
                parts.extend([IoSlice::new(head), IoSlice::new(payload)]);
            }
        }
        let segment = group.first().map_or(0, length) as u16;
        let control = [ControlMessage::UdpGsoSegments(&segment)];
        Ok(sendmsg(fd, &parts, &control, flags, Some(&self.to)).map(drop)?)
    }
}

/// How many datagrams at the front may leave as one: equal lengths, the last
/// one shorter at most.
fn group_length(datagrams: &[Datagram]) -> usize {
    let Some(first @ Datagram::Data { .. }) = datagrams.first() else { return 1 };
    let segment = length(first);
    let most = (GSO_OCTETS / segment).clamp(1, GSO_SEGMENTS);
    let is_data = |d: &&Datagram| matches!(d, Datagram::Data { .. });
    let equal = datagrams.iter().take(most).take_while(is_data);
    let equal = equal.take_while(|datagram| length(datagram) == segment).count();
    let tail = datagrams.get(equal).is_some_and(|d| is_data(&d) && length(d) < segment);
    if tail && equal < most { equal + 1 } else { equal }
}

fn head(datagram: &Datagram) -> [u8; 4] {
    match datagram {
        Datagram::Data { block, .. } => wire::data_head(*block),
        Datagram::Control(_) => [0; 4],
    }
}

fn length(datagram: &Datagram) -> usize {
    match datagram {
        Datagram::Control(packet) => packet.len(),
        Datagram::Data { payload, .. } => payload.len() + 4,
    }
}

fn refused_gso(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE | Errno::EOPNOTSUPP))
}

fn open_in(
    local: IpAddr,
    device: Option<&str>,
    range: &RangeInclusive<u16>,
    start: u64,
) -> io::Result<UdpSocket> {
    let count = u64::from(range.end().saturating_sub(*range.start())) + 1;
    for step in 0..count {
        let port = u64::from(*range.start()) + (start.wrapping_add(step)) % count;
        match open(SocketAddr::new(local, port as u16), device) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            other => return other,
        }
    }
    Err(io::Error::new(ErrorKind::AddrInUse, "every port of the transfer range is taken"))
}

fn open(address: SocketAddr, device: Option<&str>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}
