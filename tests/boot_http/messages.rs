//! Messages: RFC 9112 where a client, a proxy or an attacker bends it.

use super::{B01, Bench, SCRIPT};

fn status(bench: &Bench, request: &str) -> u16 {
    bench.cable.ask(B01, request).status
}

#[tokio::test]
async fn http_1_1_without_host_is_400_rfc9112_3_2() {
    let bench = Bench::up("nohost").await;
    assert_eq!(status(&bench, &format!("GET {SCRIPT} HTTP/1.1\r\n\r\n")), 400);
}

#[tokio::test]
async fn two_hosts_are_400_rfc9112_3_2() {
    let bench = Bench::up("hosts").await;
    for second in ["10.12.0.1", "evil.example"] {
        let request = format!("GET {SCRIPT} HTTP/1.1\r\nHost: 10.12.0.1\r\nHost: {second}\r\n\r\n");
        assert_eq!(status(&bench, &request), 400);
    }
}

#[tokio::test]
async fn white_space_before_the_colon_is_400_rfc9112_5_1() {
    let bench = Bench::up("colon").await;
    let request = format!("GET {SCRIPT} HTTP/1.1\r\nHost: 10.12.0.1\r\nX-Y : z\r\n\r\n");
    assert_eq!(status(&bench, &request), 400);
}

#[tokio::test]
async fn content_length_beside_transfer_encoding_smuggles_nothing_rfc9112_6_1() {
    let bench = Bench::up("smuggle").await;
    for (one, two) in [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
    ] {
        let request = format!(
            "POST /notify/finish HTTP/1.1\r\nHost: 10.12.0.1\r\n{one}\r\n{two}\r\n\r\n\
             0\r\n\r\nGET {SCRIPT} HTTP/1.1\r\nHost: 10.12.0.1\r\n\r\n"
        );
        let mut line = bench.cable.connect(B01);
        line.send(request.as_bytes());
        let first = line.reply_to("POST").unwrap();
        assert!((400..500).contains(&first.status), "{}", first.status);
        assert!(line.reply_to("GET").is_none(), "the second request must not be answered");
    }
}

#[tokio::test]
async fn two_lengths_or_a_bad_one_are_400_rfc9112_6_3() {
    let bench = Bench::up("lengths").await;
    for lengths in [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 5",
        "Content-Length: -1",
        "Content-Length: +4",
        "Content-Length: 4x",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, identity",
    ] {
        let request =
            format!("POST /notify/finish HTTP/1.1\r\nHost: 10.12.0.1\r\n{lengths}\r\n\r\nevil");
        assert_eq!(status(&bench, &request), 400, "{lengths}");
    }
}

#[tokio::test]
async fn the_absolute_form_is_accepted_rfc9112_3_2_2() {
    let bench = Bench::up("absolute").await;
    let request = format!("GET http://10.12.0.1{SCRIPT} HTTP/1.1\r\nHost: 10.12.0.1\r\n\r\n");
    let reply = bench.cable.ask(B01, &request);
    assert_eq!((reply.status, reply.body.starts_with(b"#!ipxe")), (200, true));
}

#[tokio::test]
async fn requests_on_one_connection_are_answered_in_order_rfc9112_9_3() {
    let bench = Bench::up("pipeline").await;
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: 10.12.0.1\r\n\r\n");
    let paths = [SCRIPT, "/nothing", SCRIPT];
    let mut line = bench.cable.connect(B01);
    for path in paths {
        line.send(ask(path).as_bytes());
        assert_eq!(line.reply_to("GET").unwrap().status, if path == SCRIPT { 200 } else { 404 });
    }
    line.send(paths.map(ask).concat().as_bytes());
    for status in [200, 404, 200] {
        assert_eq!(line.reply_to("GET").unwrap().status, status);
    }
}

/// Old ROMs and GRUB.
#[tokio::test]
async fn http_1_0_without_host_works_and_closes_rfc9110_2_5() {
    let bench = Bench::up("http10").await;
    let mut line = bench.cable.connect(B01);
    line.send(format!("GET {SCRIPT} HTTP/1.0\r\n\r\n").as_bytes());
    let reply = line.reply_to("GET").unwrap();
    assert_eq!((reply.status, reply.body.starts_with(b"#!ipxe")), (200, true));
    assert!(reply.text().contains("http://10.12.0.1:80/boot/"), "where it asked: {}", reply.text());
    assert!(line.ends());
}

#[tokio::test]
async fn expect_100_continue_does_not_hang_rfc9110_10_1_1() {
    let bench = Bench::deployed("continue").await;
    let pass = bench.pass(B01);
    let body = format!("{{\"attempt\":\"{}\"}}", pass.attempt);
    let head = |token: &str, length: usize| {
        format!(
            "POST /notify/finish HTTP/1.1\r\nHost: 10.12.0.1\r\nExpect: 100-continue\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut line = bench.cable.connect(B01);
    line.send(head(&pass.token, body.len()).as_bytes());
    assert_eq!(line.reply_to("POST").unwrap().status, 100);
    line.send(body.as_bytes());
    assert_eq!(line.reply_to("POST").unwrap().status, 200);
    // Refused before the body is sent, or asked for it: either way there is an answer.
    let mut line = bench.cable.connect(B01);
    line.send(head(&pass.token, 1_000_000).as_bytes());
    assert!(line.reply_to("POST").is_some());
}
