//! Asks the wire whether an address is in use before it is offered (RFC 2131 §2.2).

use std::{io, net::Ipv4Addr, os::fd::AsRawFd, time::Duration};

use nix::sys::socket::{LinkAddr, bind};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, time::timeout};

use super::{net::register, reply::Interface};
use crate::blade::Mac;

/// A host on the same wire answers in well under a millisecond; a client waits a second or
/// more for its OFFER.
const PATIENCE: Duration = Duration::from_millis(200);
const ETH_P_ARP: u16 = 0x0806;

/// Who uses `ip` on this wire, if anybody answers.
pub async fn holder(
    ip: Ipv4Addr,
    from: Ipv4Addr,
    interface: &Interface,
    link: &LinkAddr,
) -> io::Result<Option<Mac>> {
    // A socket of its own for each question: no ARP traffic is read while nobody asks.
    let protocol = Protocol::from(i32::from(ETH_P_ARP.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    bind(socket.as_raw_fd(), link)?;
    let socket = register(socket, Interest::READABLE | Interest::WRITABLE)?;
    let frame = question(interface.mac, from, ip);
    socket.async_io(Interest::WRITABLE, |socket| socket.send(&frame)).await?;
    let answer = async {
        let mut buffer = [0; 128];
        loop {
            let read = |socket: &Socket| Ok(nix::unistd::read(socket, &mut buffer)?);
            let length = socket.async_io(Interest::READABLE, read).await?;
            if let Some(mac) = answered(&buffer[..length], ip).filter(|mac| *mac != interface.mac) {
                return Ok(mac);
            }
        }
    };
    timeout(PATIENCE, answer).await.ok().transpose()
}

/// RFC 826: who has `ip`?
fn question(mac: Mac, from: Ipv4Addr, ip: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac.0);
    frame.extend(ETH_P_ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(from.octets());
    frame.extend([0; 6]);
    frame.extend(ip.octets());
    frame
}

/// The sender of a reply, or of an announcement, that says `ip` is its own.
fn answered(frame: &[u8], ip: Ipv4Addr) -> Option<Mac> {
    let arp = frame.get(14..42)?;
    let ethernet = arp[..6] == [0, 1, 8, 0, 6, 4];
    let mac = Mac(arp[8..14].try_into().ok()?);
    (ethernet && arp[14..18] == ip.octets() && !mac.is_unusable()).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_says_that_the_address_is_its_own_holds_it() {
        let (ip, mac) = (Ipv4Addr::new(10, 0, 0, 9), Mac([2, 0, 0, 0, 0, 9]));
        let asking = question(Mac([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 1), ip);
        assert_eq!(answered(&asking, ip), None, "who asks for it does not hold it");
        let announcing = question(mac, ip, ip);
        assert_eq!(answered(&announcing, ip), Some(mac));
        for length in 0..42 {
            assert_eq!(answered(&announcing[..length], ip), None);
        }
    }
}
