//! A machine on the blades' wire, with their addresses, that speaks HTTP octet by octet.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::{B01, B02, B03, STRANGER};
use crate::{
    dhcp_wire::net::{Port, enter},
    lab::Lab,
};

/// A namespace of its own at the rack's bridge; gone when dropped.
pub struct Cable {
    namespace: String,
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
}

/// The daemon as a URL names it.
fn host_for(ipv6: bool) -> &'static str {
    if ipv6 { "[fd00:12::1]" } else { "10.12.0.1" }
}

impl Cable {
    pub fn plug(lab: &Lab) -> Cable {
        let (rack, namespace) = (format!("fl-{}", lab.name), format!("fl-{}-far", lab.name));
        ip(&format!("netns add {namespace}"));
        let cable = Cable { namespace };
        let far = &cable.namespace;
        ip(&format!("-n {rack} link add near type veth peer name cli netns {far}"));
        ip(&format!("-n {rack} link set near master br0 up"));
        for address in [B01, B02, B03, STRANGER] {
            ip(&format!("-n {far} address add {address}/16 dev cli"));
        }
        ip(&format!("-n {far} link set cli up"));
        cable
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// One more address, as DHCP gave it.
    pub fn take(&self, address: &str) {
        ip(&format!("-n {} address add {address}/16 dev cli", self.namespace));
    }

    /// The same of IPv6, with the link-local address of b01's card. The kernel would test them.
    pub fn take6(&self, address: &str) {
        for address in [address, "fe80::5054:ff:fe00:101"] {
            ip(&format!("-n {} address add {address}/64 dev cli nodad", self.namespace));
        }
    }

    /// Asks DHCPv6 servers as b01's firmware does; the answer.
    pub fn dhcp6(&self, message: &[u8]) -> Vec<u8> {
        self.inside(|| {
            let link = nix::net::if_::if_nametoindex("cli").unwrap();
            let at = |ip: &str, port| SocketAddrV6::new(ip.parse().unwrap(), port, 0, link);
            let socket = UdpSocket::bind(at("fe80::5054:ff:fe00:101", 546)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            socket.send_to(message, at("ff02::1:2", 547)).unwrap();
            let mut answer = vec![0; 2048];
            let length = socket.recv(&mut answer).expect("an answer");
            answer[..length].to_vec()
        })
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                enter(&self.namespace);
                work()
            });
            worker.join().unwrap()
        })
    }

    /// A raw Ethernet port on the wire.
    pub fn port(&self) -> Port {
        self.inside(|| Port::open().unwrap())
    }

    pub fn udp(&self, from: &str) -> UdpSocket {
        self.inside(|| UdpSocket::bind((from, 0)).unwrap())
    }

    /// Sends a packet to all DHCPv6 servers of the wire (RFC 8415 §7.1).
    pub fn to_dhcp6_servers(&self, packet: &[u8]) {
        ip(&format!("-n {} address add fe80::99/64 dev cli nodad", self.namespace));
        self.inside(|| {
            let socket = std::net::UdpSocket::bind("[::]:546").unwrap();
            let scope = nix::net::if_::if_nametoindex("cli").unwrap();
            let servers = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
            socket.send_to(packet, std::net::SocketAddrV6::new(servers, 547, 0, scope)).unwrap();
        });
    }

    pub fn connect(&self, from: &str) -> Line {
        self.connect_with(from, None)
    }

    /// `window`: octets that the receiving side holds, for clients that read nothing.
    pub fn connect_with(&self, from: &str, window: Option<usize>) -> Line {
        let from = SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0);
        let server: SocketAddr = format!("{}:80", host_for(from.is_ipv6())).parse().unwrap();
        let domain = Domain::for_address(from);
        let socket = self.inside(|| Socket::new(domain, Type::STREAM, None).unwrap());
        if let Some(window) = window {
            socket.set_recv_buffer_size(window).unwrap();
        }
        socket.bind(&from.into()).unwrap();
        socket.connect(&server.into()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
        Line(BufReader::new(TcpStream::from(socket)))
    }

    /// One request on a connection of its own.
    pub fn ask(&self, from: &str, request: &str) -> Reply {
        let mut line = self.connect(from);
        line.send(request.as_bytes());
        line.reply_to(request).expect("an answer")
    }

    pub fn get(&self, from: &str, path: &str) -> Reply {
        self.get_with(from, path, "")
    }

    /// `headers`: whole lines, each with its CR LF.
    pub fn get_with(&self, from: &str, path: &str, headers: &str) -> Reply {
        let host = host_for(from.contains(':'));
        self.ask(from, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"))
    }

    pub fn head(&self, from: &str, path: &str) -> Reply {
        self.ask(from, &format!("HEAD {path} HTTP/1.1\r\nHost: 10.12.0.1\r\n\r\n"))
    }

    pub fn post(&self, from: &str, path: &str, token: &str, body: &str) -> Reply {
        self.ask(
            from,
            &format!(
                "POST {path} HTTP/1.1\r\nHost: 10.12.0.1\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.namespace]).status();
    }
}

/// Something that answers as a healthy etcd does, on every address of the wire.
pub struct Etcd(Arc<AtomicBool>);

impl Cable {
    pub fn etcd(&self, members: &[String]) -> Etcd {
        let listener = self.inside(|| TcpListener::bind("0.0.0.0:2379").unwrap());
        listener.set_nonblocking(true).unwrap();
        let names: Vec<_> = members.iter().map(|name| json!({ "name": name })).collect();
        let list = json!({ "members": names }).to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => drop(health(stream, &list)),
                    Err(_) => thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        Etcd(stop)
    }
}

fn health(mut stream: TcpStream, list: &str) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut request = [0; 4096];
    let length = stream.read(&mut request)?;
    let healthy = request[..length].starts_with(b"GET /health");
    let body = if healthy { "{\"health\":\"true\"}" } else { list };
    let length = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection.
pub struct Line(BufReader<TcpStream>);

impl Line {
    pub fn send(&mut self, octets: &[u8]) {
        self.0.get_mut().write_all(octets).unwrap();
    }

    /// False if the other side would not take it all.
    pub fn try_send(&mut self, octets: &[u8]) -> bool {
        self.0.get_mut().write_all(octets).is_ok()
    }

    /// The next answer; `None` if the connection ends instead.
    pub fn reply_to(&mut self, request: &str) -> Option<Reply> {
        self.reply(request.starts_with("HEAD "))
    }

    fn reply(&mut self, without_body: bool) -> Option<Reply> {
        let status = self.text_line()?;
        let status: u16 = status.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let line = self.text_line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        let length = reply.header("content-length").and_then(|length| length.parse().ok());
        if !without_body && status >= 200 && status != 304 {
            reply.body = vec![0; length.unwrap_or_default()];
            self.0.read_exact(&mut reply.body).ok()?;
        }
        Some(reply)
    }

    /// A line without its CR LF; `None` at the end of the connection.
    pub fn text_line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.0.read_line(&mut line).ok()?;
        (count > 0).then(|| line.trim_end().to_owned())
    }

    pub fn read(&mut self, length: usize) -> Vec<u8> {
        let mut octets = vec![0; length];
        self.0.read_exact(&mut octets).unwrap();
        octets
    }

    /// All until the connection ends, or breaks.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.0.get_ref().set_read_timeout(Some(Duration::from_secs(5)));
        let _ = self.0.read_to_end(&mut rest);
        rest
    }

    /// True when the server has ended the connection, whatever came before.
    pub fn ends(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
