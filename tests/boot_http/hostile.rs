//! Clients that never finish, ask for too much or read nothing: only they suffer.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{B01, B02, Bench, SCRIPT, STRANGER};
use crate::road::small::octets;

#[tokio::test]
async fn an_unfinished_header_is_closed() {
    let bench = Bench::up("loris").await;
    let mut lines: Vec<_> = (0..100).map(|_| bench.cable.connect(STRANGER)).collect();
    for line in &mut lines {
        line.send(b"GET / HTTP/1.1\r\nHost: 10.12.0.1\r\nX-");
    }
    assert_eq!(bench.cable.get(B01, SCRIPT).status, 200, "others are served meanwhile");
    for line in &mut lines {
        assert!(line.ends());
    }
}

#[tokio::test]
async fn an_unfinished_body_is_closed() {
    let bench = Bench::deployed("body").await;
    let pass = bench.pass(B01);
    let mut line = bench.cable.connect(B01);
    let head = format!(
        "POST /notify/finish HTTP/1.1\r\nHost: 10.12.0.1\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 100\r\n\r\n{{",
        pass.token
    );
    line.send(head.as_bytes());
    assert_eq!(line.reply_to("POST").unwrap().status, 408);
    assert!(line.ends());
}

#[tokio::test]
async fn a_megabyte_of_headers_is_refused() {
    let bench = Bench::up("headers").await;
    let mut line = bench.cable.connect(STRANGER);
    line.send(b"GET / HTTP/1.1\r\nHost: 10.12.0.1\r\n");
    let much = format!("X: {}\r\n", "a".repeat(1000)).repeat(1000);
    let taken = line.try_send(much.as_bytes());
    let answer = line.reply_to("GET").map(|reply| reply.status);
    assert!(matches!(answer, None | Some(431)), "{answer:?}, all taken: {taken}");
    let mut line = bench.cable.connect(STRANGER);
    line.try_send(format!("GET /{} HTTP/1.1\r\n", "a".repeat(1 << 20)).as_bytes());
    let answer = line.reply_to("GET").map(|reply| reply.status);
    assert!(matches!(answer, None | Some(414 | 431)), "{answer:?}");
    assert_eq!(bench.cable.get(B01, SCRIPT).status, 200);
}

#[tokio::test]
async fn a_client_that_reads_nothing_costs_no_memory_and_holds_up_nobody() {
    let bench = Bench::up("deaf").await;
    let image = format!("/images/sha256/{}", hex::encode(Sha256::digest(octets(3_000_000))));
    let ask = format!("GET {image} HTTP/1.1\r\nHost: 10.12.0.1\r\n\r\n");
    bench.cable.get(B01, &image);
    let before = bench.memory_kib();
    let mut lines = Vec::new();
    for _ in 0..100 {
        let mut line = bench.cable.connect_with(STRANGER, Some(4096));
        line.send(ask.repeat(10).as_bytes());
        lines.push(line);
    }
    assert_eq!(bench.cable.get(B01, &image).body.len(), 3_000_000);
    let grown = bench.memory_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "grown by {grown} KiB");
}

#[tokio::test]
async fn one_address_cannot_take_every_connection() {
    let bench = Bench::up("greedy").await;
    let mut lines: Vec<_> = (0..300).map(|_| bench.cable.connect(STRANGER)).collect();
    assert_eq!(bench.cable.get(B02, "/boot/52-54-00-00-01-02.ipxe").status, 200);
    assert!(lines.last_mut().unwrap().ends(), "one too many");
    drop(lines);
    let served = |_| async {
        let mut line = bench.cable.connect(STRANGER);
        let request = "GET /nothing HTTP/1.1\r\nHost: 10.12.0.1\r\n\r\n";
        line.try_send(request.as_bytes()) && line.reply_to(request).is_some()
    };
    bench.until(Duration::from_secs(30), "it is served again", served).await;
}

#[tokio::test]
async fn names_with_every_trick_lead_nowhere() {
    let bench = Bench::up("traversal").await;
    for path in [
        "/images/sha256/..%2f..%2f..%2ffirstlight.toml",
        "/images/sha256/%2e%2e/%2e%2e/keys/boot.key",
        "/images/../keys/boot.key",
        "//etc/passwd",
        "/boot/..%2f..%2fetc%2fpasswd.ipxe",
        "/boot/%00.ipxe",
        "/boot/%ff%fe.ipxe",
        "/config/small-cluster/..%2fpxe.yml",
        "/images/sha256/%",
    ] {
        let reply = bench.cable.get(B01, path);
        assert!(matches!(reply.status, 400 | 404), "{path}: {}", reply.status);
        assert!(!reply.text().contains("root:"), "{path}");
    }
}
