//! Hears UDP packets on the wire itself, without having their port: beside another server on
//! this machine (proxy mode), and beside a DHCP client of this machine (the watch).

use std::{io, os::fd::AsRawFd};

use nix::sys::socket::{LinkAddr, bind, setsockopt, sockopt::RcvBufForce};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    frame::{self, Udp},
    register,
};

const ETH_P_IP: u16 = 0x0800;
/// Frames the kernel keeps for us.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A packet socket that passes IPv4 UDP to one port of one interface. Bound to IPv4 and not to
/// all protocols: so it does not hear what this machine sends, nor the frames of VLANs that
/// have an interface of their own.
#[derive(Debug)]
pub struct Ear(AsyncFd<Socket>);

impl Ear {
    pub fn open(link: &LinkAddr, port: u16) -> io::Result<Ear> {
        let protocol = Protocol::from(i32::from(ETH_P_IP.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&udp_to(port))?;
        if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        bind(socket.as_raw_fd(), link)?;
        // What came before it was bound came from anywhere.
        let mut frame = [0; 64];
        while nix::unistd::read(&socket, &mut frame).is_ok() {}
        Ok(Ear(register(socket, Interest::READABLE)?))
    }

    /// The next packet, read into `buffer`. May be cancelled at any time.
    pub async fn hear<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Udp<'a>>> {
        let read = |socket: &Socket| Ok(nix::unistd::read(socket, &mut *buffer)?);
        let length = self.0.async_io(Interest::READABLE, read).await?;
        Ok(frame::udp(&buffer[..length]))
    }
}

/// Classic BPF: IPv4, UDP, not a later fragment, this destination port.
fn udp_to(port: u16) -> [SockFilter; 11] {
    const LDH_ABS: u16 = 0x28;
    const LDB_ABS: u16 = 0x30;
    const LDX_IP_LENGTH: u16 = 0xb1;
    const LDH_IND: u16 = 0x48;
    const JEQ: u16 = 0x15;
    const JSET: u16 = 0x45;
    const RET: u16 = 0x06;
    [
        SockFilter::new(LDH_ABS, 0, 0, 12),
        SockFilter::new(JEQ, 0, 8, u32::from(ETH_P_IP)),
        SockFilter::new(LDB_ABS, 0, 0, 23),
        SockFilter::new(JEQ, 0, 6, 17),
        SockFilter::new(LDH_ABS, 0, 0, 20),
        SockFilter::new(JSET, 4, 0, 0x1fff),
        SockFilter::new(LDX_IP_LENGTH, 0, 0, 14),
        SockFilter::new(LDH_IND, 0, 0, 16),
        SockFilter::new(JEQ, 0, 1, u32::from(port)),
        SockFilter::new(RET, 0, 0, u32::MAX),
        SockFilter::new(RET, 0, 0, 0),
    ]
}
