//! The boot listener's sockets: one for each IP version.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::config::Config;

/// Connections the kernel keeps until we take them: a room that is switched on at once.
const WAITING: i32 = 1024;

/// `0.0.0.0:80` is every address of the versions that are served, `[::]:80` is every address of
/// both, anything else is itself.
pub fn boot(config: &Config) -> anyhow::Result<Vec<TcpListener>> {
    let asked = config.boot.http;
    let wants_v6 = !config.subnets6.is_empty();
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, asked.port()));
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, asked.port()));
    let addresses = match asked.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() && wants_v6 => vec![v4, v6],
        IpAddr::V6(ip) if ip.is_unspecified() => vec![v4, v6],
        _ => vec![asked],
    };
    let mut listeners = Vec::new();
    for address in addresses {
        match listen(address) {
            Ok(listener) => listeners.push(listener),
            // A kernel without IPv6, at a site that has none.
            Err(error) if address.is_ipv6() && !wants_v6 && has_no_ipv6(&error) => {
                tracing::warn!("boot.http {asked}: this system has no IPv6; served is IPv4 only");
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("boot.http {address} cannot be listened on"));
            }
        }
    }
    Ok(listeners)
}

fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(nix::libc::EAFNOSUPPORT | nix::libc::EADDRNOTAVAIL | nix::libc::EPROTONOSUPPORT)
    )
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Each version has its own socket, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(WAITING)?;
    TcpListener::from_std(socket.into())
}
