//! Downloads: RFC 9110 as boot programs, live systems and hostile clients use it.

use sha2::{Digest, Sha256};

use super::{B01, Bench};
use crate::road::small::octets;

fn path(length: usize) -> String {
    format!("/images/sha256/{}", hex::encode(Sha256::digest(octets(length))))
}

/// The kernel of the small boot image.
const SIZE: usize = 100_000;

fn range(bench: &Bench, range: &str) -> super::Reply {
    bench.cable.get_with(B01, &path(SIZE), &format!("Range: {range}\r\n"))
}

#[tokio::test]
async fn get_delivers_the_file_exactly_rfc9110_9_3_1() {
    let bench = Bench::up("get").await;
    let reply = bench.cable.get(B01, &path(SIZE));
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-length"), Some("100000"));
    assert_eq!(reply.body, octets(SIZE));
}

/// EDK2's HttpBootDxe sizes its buffer with it (UEFI 2.10 §24.7).
#[tokio::test]
async fn head_is_get_without_the_body_rfc9110_9_3_2() {
    let bench = Bench::up("head").await;
    let (get, head) = (bench.cable.get(B01, &path(SIZE)), bench.cable.head(B01, &path(SIZE)));
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["content-length", "content-type", "etag", "accept-ranges"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    let script = "HEAD /boot/52-54-00-00-01-01.ipxe HTTP/1.1\r\nHost: 10.12.0.1\r\n\r\n";
    let mut line = bench.cable.connect(B01);
    line.send(script.as_bytes());
    let head = line.reply_to(script).unwrap();
    line.send(script.replace("HEAD", "GET").as_bytes());
    let get = line.reply_to("GET").unwrap();
    assert_eq!((get.status, get.body.starts_with(b"#!ipxe")), (200, true), "in step after HEAD");
    assert_eq!(head.header("content-length"), get.header("content-length"));
}

#[tokio::test]
async fn a_missing_file_is_404_for_get_and_head_rfc9110_15_5_5() {
    let bench = Bench::up("missing").await;
    let none = format!("/images/sha256/{}", "0".repeat(64));
    for path in [&none[..], "/images/sha256/../../firstlight.toml", "/nothing", "/", "/boot/x.ipxe"]
    {
        assert_eq!(bench.cable.get(B01, path).status, 404, "{path}");
        assert_eq!(bench.cable.head(B01, path).status, 404, "{path}");
    }
}

#[tokio::test]
async fn one_range_is_206_with_the_right_octets_rfc9110_14_1_2() {
    let bench = Bench::up("range").await;
    let whole = octets(SIZE);
    for (asked, first, last) in [
        ("bytes=100-299", 100, 299),
        ("bytes=0-0", 0, 0),
        ("bytes=-100", SIZE - 100, SIZE - 1),
        ("bytes=99000-999999999", 99_000, SIZE - 1),
        ("bytes=99999-", SIZE - 1, SIZE - 1),
        ("bytes=-5000000", 0, SIZE - 1),
        ("bytes=5-99999999999999999999999999", 5, SIZE - 1),
    ] {
        let reply = range(&bench, asked);
        assert_eq!(reply.status, 206, "{asked}");
        let told = format!("bytes {first}-{last}/{SIZE}");
        assert_eq!(reply.header("content-range"), Some(&told[..]), "{asked}");
        assert_eq!(reply.body, whole[first..=last], "{asked}");
    }
}

#[tokio::test]
async fn a_range_past_the_end_is_416_with_the_size_rfc9110_15_5_17() {
    let bench = Bench::up("past").await;
    for asked in ["bytes=100000-", "bytes=100000-100001", "bytes=-0", "bytes=99999999999999999999-"]
    {
        let reply = range(&bench, asked);
        assert_eq!(reply.status, 416, "{asked}");
        assert_eq!(reply.header("content-range"), Some("bytes */100000"), "{asked}");
        assert!(reply.body.is_empty());
    }
}

#[tokio::test]
async fn malformed_ranges_and_other_units_give_the_whole_rfc9110_14_2() {
    let bench = Bench::up("malformed").await;
    for asked in [
        "bytes=5-2",
        "bytes=a-b",
        "bytes",
        "bytes=",
        "bytes=-",
        "lines=1-2",
        "bytes=--5",
        "bytes=1-2-3",
        "\u{7f}",
        "bytes=0x1-0x2",
    ] {
        let reply = range(&bench, asked);
        assert!(
            (reply.status, reply.body.len()) == (200, SIZE) || reply.status == 400,
            "{asked}: {} {}",
            reply.status,
            reply.body.len()
        );
    }
    assert_eq!(range(&bench, "bytes=0-0").status, 206, "the server lives");
}

#[tokio::test]
async fn many_overlapping_ranges_do_not_multiply_the_octets_rfc9110_14_6() {
    let bench = Bench::up("overlap").await;
    let reply = range(&bench, &format!("bytes={}0-", "0-,".repeat(1000)));
    assert!(reply.body.len() <= SIZE, "{} octets", reply.body.len());
    let two = range(&bench, "bytes=0-9,20-29");
    assert_eq!((two.status, two.body.len()), (200, SIZE));
}

#[tokio::test]
async fn a_strong_validator_is_sent_and_stable_rfc9110_8_8() {
    let bench = Bench::up("etag").await;
    let (one, two) = (bench.cable.get(B01, &path(SIZE)), bench.cable.get(B01, &path(SIZE)));
    let etag = one.header("etag").unwrap();
    assert!(etag.starts_with('"'), "{etag} is weak");
    assert_eq!(one.header("etag"), two.header("etag"));
    assert_ne!(bench.cable.get(B01, &path(5_000)).header("etag"), Some(etag));
}

#[tokio::test]
async fn if_none_match_gives_304_without_body_rfc9110_13_1_2() {
    let bench = Bench::up("inm").await;
    let etag = bench.cable.get(B01, &path(SIZE)).header("etag").unwrap().to_owned();
    for (value, status) in
        [(&etag[..], 304), ("*", 304), ("\"x\"", 200), (&format!("\"x\", W/{etag}")[..], 304)]
    {
        let header = format!("If-None-Match: {value}\r\n");
        // Another request on the same connection: a body after 304 would be taken for its answer.
        let mut line = bench.cable.connect(B01);
        let ask = |header: &str| {
            format!("GET {} HTTP/1.1\r\nHost: 10.12.0.1\r\n{header}\r\n", path(SIZE))
        };
        line.send(ask(&header).as_bytes());
        let reply = line.reply_to("GET").unwrap();
        assert_eq!(reply.status, status, "{value}");
        assert_eq!(reply.header("etag"), Some(&etag[..]));
        line.send(ask("").as_bytes());
        assert_eq!(line.reply_to("GET").unwrap().body.len(), SIZE);
    }
}

#[tokio::test]
async fn an_ill_formed_date_is_ignored_rfc9110_13_1_3() {
    let bench = Bench::up("ims").await;
    for date in ["yesterday", "Sun, 06 Nov 1994 08:49:37 GMT", ""] {
        let header = format!("If-Modified-Since: {date}\r\n");
        assert_eq!(bench.cable.get_with(B01, &path(SIZE), &header).status, 200, "{date}");
    }
}

#[tokio::test]
async fn a_stale_if_range_gives_the_whole_file_rfc9110_13_1_5() {
    let bench = Bench::up("ifrange").await;
    let etag = bench.cable.get(B01, &path(SIZE)).header("etag").unwrap().to_owned();
    let ask = |validator: &str| {
        let headers = format!("Range: bytes=5-9\r\nIf-Range: {validator}\r\n");
        bench.cable.get_with(B01, &path(SIZE), &headers)
    };
    assert_eq!((ask(&etag).status, ask(&etag).body), (206, octets(SIZE)[5..=9].to_vec()));
    for stale in ["\"old\"", &format!("W/{etag}"), "Sun, 06 Nov 1994 08:49:37 GMT"] {
        assert_eq!((ask(stale).status, ask(stale).body.len()), (200, SIZE), "{stale}");
    }
}

#[tokio::test]
async fn a_download_cut_in_the_middle_and_resumed_is_exact_rfc9110_14() {
    let bench = Bench::up("resume").await;
    let request = format!("GET {} HTTP/1.1\r\nHost: 10.12.0.1\r\n\r\n", path(3_000_000));
    let mut line = bench.cable.connect(B01);
    line.send(request.as_bytes());
    while !line.text_line().unwrap().is_empty() {}
    let mut got = line.read(1_500_000);
    drop(line);
    let rest = bench.cable.get_with(B01, &path(3_000_000), "Range: bytes=1500000-\r\n");
    assert_eq!(rest.status, 206);
    got.extend(rest.body);
    assert!(got == octets(3_000_000));
}

#[tokio::test]
async fn nothing_writes_to_a_file_and_405_names_what_may_be_done_rfc9110_15_5_6() {
    let bench = Bench::up("methods").await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "CONNECT"] {
        let request = format!(
            "{method} {} HTTP/1.1\r\nHost: 10.12.0.1\r\nContent-Length: 4\r\n\r\nevil",
            path(SIZE)
        );
        let reply = bench.cable.ask(B01, &request);
        assert!((400..=501).contains(&reply.status), "{method}: {}", reply.status);
        if reply.status == 405 {
            let allow = reply.header("allow").unwrap_or_default();
            assert!(allow.contains("GET") && allow.contains("HEAD"), "{method}: Allow {allow:?}");
        }
    }
    assert!(bench.cable.get(B01, &path(SIZE)).body == octets(SIZE));
}

#[tokio::test]
async fn twentyfour_downloads_at_once_are_all_exact() {
    let bench = Bench::up("two-dozen").await;
    let whole = octets(3_000_000);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| assert!(bench.cable.get(B01, &path(3_000_000)).body == whole));
        }
    });
}
