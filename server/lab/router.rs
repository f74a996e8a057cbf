//! A router that is none: answers router solicitations, so that firmware stops
//! waiting for one.
//!
//! iPXE's autoconfiguration ends only when DHCP *and* IPv6 have: without a
//! router advertisement each network boot waits for its solicitations to time
//! out, about fifteen seconds more. An advertisement of lifetime 0 and without
//! prefix (RFC 4861 §4.2) says "no router, no address here". In a lab with IPv6 it
//! says what a router of a managed network says: ask DHCPv6.
use std::io::{self, Read};
use std::net::{Ipv6Addr, SocketAddrV6};

use ipnet::Ipv6Net;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const SOLICITATION: u8 = 133;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Answers on `interface` of the network namespace that the caller is in,
/// until dropped or a socket error.
pub async fn advertise(interface: &str, prefix: Option<Ipv6Net>) -> io::Result<()> {
    let advertisement = advertisement(prefix);
    let index = nix::net::if_::if_nametoindex(interface)?;
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    // RFC 4861 §6.1.2: with any other hop limit the advertisement is ignored.
    socket.set_multicast_hops_v6(255)?;
    socket.set_multicast_if_v6(index)?;
    socket.set_multicast_loop_v6(false)?;
    socket.join_multicast_v6(&ALL_ROUTERS, index)?;
    socket.set_nonblocking(true)?;
    // SAFETY: the AsyncFd owns the socket, so its descriptor is open and the
    // same for as long as it is registered.
    let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
    let everyone = SocketAddrV6::new(ALL_NODES, 0, 0, index).into();
    let mut packet = [0; 64];
    loop {
        let read = |mut socket: &Socket| socket.read(&mut packet);
        let length = socket.async_io(Interest::READABLE, read).await?;
        if packet[..length].first() != Some(&SOLICITATION) {
            continue;
        }
        // A full queue loses this one; the firmware asks again.
        if let Err(error) = socket.get_ref().send_to(&advertisement, &everyone) {
            tracing::warn!(%error, "router advertisement not sent");
        }
    }
}

fn advertisement(prefix: Option<Ipv6Net>) -> Vec<u8> {
    // Type, code, checksum (the kernel's), hop limit; flags, lifetime, timers: all zero.
    let mut packet = vec![134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let Some(prefix) = prefix else { return packet };
    // M and O: addresses and the rest by DHCPv6. A router for half an hour.
    packet[5] = 0xc0;
    packet[6..8].copy_from_slice(&1800_u16.to_be_bytes());
    // Prefix information (RFC 4861 §4.6.2): on link (L), but nobody makes addresses of it (no A):
    // a blade has the one that is reserved for it.
    packet.extend([3, 4, prefix.prefix_len(), 0x80]);
    packet.extend(86_400_u32.to_be_bytes());
    packet.extend(14_400_u32.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(prefix.network().octets());
    packet
}
