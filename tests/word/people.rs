//! The page's own door: other sites' pages stay out, live events have no gap, and the inventory
//! is changed whole or not at all.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;

use crate::boot_http::{B01, Bench};

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let bench = Bench::up("csrf").await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = |name: &'static str, value: &'static str| {
        let url = format!("{}/api/v1/apply", bench.site.url());
        let files = json!({ "files": [["a.toml", "[[rack]]\nname = \"evil\"\n"]] });
        client.post(url).header(name, value).json(&files).send()
    };
    for (name, value) in [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", "https://127.0.0.1"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Host", "evil.example"),
        ("Host", "localhost.evil.example"),
    ] {
        assert_eq!(ask(name, value).await.unwrap().status(), 403, "{name}: {value}");
    }
    // DNS rebinding reads, too.
    let export = client.get(format!("{}/api/v1/export", bench.site.url()));
    assert_eq!(export.header("Host", "evil.example").send().await.unwrap().status(), 403);
    assert!(!bench.page("/api/v1/export").await.1.contains("evil"));
    assert_eq!(ask("Sec-Fetch-Site", "same-origin").await.unwrap().status(), 200);
}

/// Lines of a stream of events, from after `last` on.
fn follow(bench: &Bench, last: i64) -> impl Iterator<Item = i64> + use<> {
    let address = bench.site.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\
         Last-Event-ID: {last}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::new(stream)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("id: ").and_then(|id| id.parse().ok()))
}

#[tokio::test]
async fn live_events_resume_without_gap_or_repeat_though_the_daemon_is_killed() {
    let mut bench = Bench::deployed("sse").await;
    let pass = bench.pass(B01);
    let mut seen = Vec::new();
    let mut seq = 0;
    for _ in 0..4 {
        let mut live = follow(&bench, seen.last().copied().unwrap_or(0));
        for _ in 0..20 {
            seq += 1;
            assert_eq!(pass.says(&bench, &pass.report(seq, "write", "progress")), 200);
        }
        // Some of it is read, some is on its way when the daemon is killed.
        seen.extend(live.by_ref().take(10));
        bench.site.kill_and_restart().await;
        seen.extend(live);
    }
    let known: Vec<i64> =
        bench.events().await.iter().map(|event| event["id"].as_i64().unwrap()).collect();
    let rest = known.len() - seen.len();
    seen.extend(follow(&bench, seen.last().copied().unwrap()).take(rest));
    assert_eq!(seen, known);
}

#[tokio::test]
async fn what_is_exported_and_applied_again_changes_nothing() {
    let bench = Bench::deployed("export").await;
    let (status, text) = bench.page("/api/v1/export").await;
    assert_eq!(status, 200);
    for prune in [false, true] {
        let request = json!({ "files": [["export.toml", text]], "prune": prune });
        let applied = bench.post("apply", request).await;
        assert_eq!(applied["changes"], json!([]), "prune: {prune}");
        assert_eq!(applied["written"], false);
    }
    assert_eq!(bench.page("/api/v1/export").await.1, text);
}

#[tokio::test]
async fn an_inventory_is_applied_whole_or_not_at_all_with_each_mistake_in_its_place() {
    let bench = Bench::deployed("whole").await;
    let before = (bench.page("/api/v1/export").await.1, bench.lines("inventory", "").await);
    let good = "[[blade]]\nname = \"fine\"\nip = \"10.12.6.1\"\nmacs = [\"52:54:00:00:06:01\"]\n";
    let outside =
        "\n[[blade]]\nname = \"lost\"\nip = \"192.0.2.1\"\nmacs = [\"52:54:00:00:06:02\"]\n";
    let role =
        "[[cluster]]\nname = \"c\"\ntopology = \"simple\"\nroles = { simple = [\"ghost\"] }\n";
    let no_toml = "[[blade]]\nname = \n";
    let unknown = "[[blade]]\nname = \"x\"\ncolour = \"red\"\n";
    for (files, told) in [
        (vec![("good.toml", good), ("outside.toml", outside)], vec!["outside.toml:4:6: "]),
        (
            vec![("role.toml", role), ("outside.toml", outside)],
            vec!["outside.toml:4:6: ", "role.toml:4:21: "],
        ),
        (vec![("good.toml", good), ("no.toml", no_toml)], vec!["no.toml:2:"]),
        (vec![("unknown.toml", unknown)], vec!["unknown.toml:3:", "colour"]),
    ] {
        let (status, answer) = bench.ask("apply", json!({ "files": files })).await;
        assert_eq!(status, 422, "{answer}");
        for words in told {
            assert!(answer["error"].as_str().unwrap().contains(words), "{words}: {answer}");
        }
    }
    let after = (bench.page("/api/v1/export").await.1, bench.lines("inventory", "").await);
    assert_eq!(after, before);
}
