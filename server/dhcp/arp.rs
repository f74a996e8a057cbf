//! Asks the wire whether an address is in use before it is offered (RFC 2131 §2.2).

use std::{
    collections::HashMap,
    io,
    net::Ipv4Addr,
    os::fd::AsRawFd,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use nix::sys::socket::{LinkAddr, bind};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::oneshot,
    time::timeout,
};

use super::net::register;
use crate::blade::Mac;

/// A host on the same wire answers in well under a millisecond; a client waits a second or
/// more for its OFFER.
const PATIENCE: Duration = Duration::from_millis(200);
const ETH_P_ARP: u16 = 0x0806;

/// One socket for all questions: closing a packet socket blocks for milliseconds
/// (`synchronize_net` of the kernel), too long for one socket a question.
#[derive(Debug)]
pub struct Asker {
    socket: AsyncFd<Socket>,
    mac: Mac,
    waiting: Mutex<HashMap<Ipv4Addr, oneshot::Sender<Mac>>>,
}

impl Asker {
    pub fn open(link: &LinkAddr) -> io::Result<Asker> {
        let protocol = Protocol::from(i32::from(ETH_P_ARP.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        bind(socket.as_raw_fd(), link)?;
        let socket = register(socket, Interest::READABLE | Interest::WRITABLE)?;
        let mac = link.addr().map(Mac).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Asker { socket, mac, waiting: Mutex::default() })
    }

    /// Who uses `ip` on this wire, if anybody answers while somebody `listen`s.
    pub async fn holder(&self, ip: Ipv4Addr, from: Ipv4Addr) -> io::Result<Option<Mac>> {
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(ip, sender);
        let frame = question(self.mac, from, ip);
        let sent = self.socket.async_io(Interest::WRITABLE, |socket| socket.send(&frame)).await;
        let answer = match sent {
            Ok(_) => timeout(PATIENCE, answer).await,
            Err(error) => {
                self.forget(ip);
                return Err(error);
            }
        };
        self.forget(ip);
        Ok(answer.ok().and_then(Result::ok))
    }

    /// Reads one ARP packet and wakes who waits for it. May be cancelled at any time.
    pub async fn listen(&self) -> io::Result<()> {
        let mut buffer = [0; 128];
        let read = |socket: &Socket| Ok(nix::unistd::read(socket, &mut buffer)?);
        let length = self.socket.async_io(Interest::READABLE, read).await?;
        if let Some((ip, mac)) = holds(&buffer[..length])
            && mac != self.mac
            && let Some(asker) =
                self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&ip)
        {
            // Who asked may have stopped waiting.
            let _ = asker.send(mac);
        }
        Ok(())
    }

    fn forget(&self, ip: Ipv4Addr) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&ip);
    }
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

/// Which address the sender says is its own.
fn holds(frame: &[u8]) -> Option<(Ipv4Addr, Mac)> {
    let arp = frame.get(14..42)?;
    let ethernet = arp[..6] == [0, 1, 8, 0, 6, 4];
    let mac = Mac(arp[8..14].try_into().ok()?);
    let ip = Ipv4Addr::from(<[u8; 4]>::try_from(&arp[14..18]).ok()?);
    (ethernet && !mac.is_unusable()).then_some((ip, mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_says_whose_the_address_is_and_a_broken_one_nothing() {
        let (ip, mac) = (Ipv4Addr::new(10, 0, 0, 9), Mac([2, 0, 0, 0, 0, 9]));
        let announcing = question(mac, ip, ip);
        assert_eq!(holds(&announcing), Some((ip, mac)));
        for length in 0..42 {
            assert_eq!(holds(&announcing[..length]), None);
        }
    }
}
