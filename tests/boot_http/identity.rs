//! Who is given what (CASES.md C29–C31): only the blade at its address, with the token of its
//! newest attempt, for its own role; everybody else learns nothing.

use std::fs;

use serde_json::json;

use super::{B01, B02, B03, Bench, SCRIPT, STRANGER};

const DOCUMENTS: [&str; 7] = [
    "pxe.yml",
    "pxe.sh",
    "config.yml",
    "config.ign",
    "meta-data",
    "network-config",
    "no-such-document",
];

#[tokio::test]
async fn a_blade_gets_every_document_of_its_role_with_its_token() {
    let bench = Bench::deployed("documents").await;
    let pass = bench.pass(B01);
    for name in &DOCUMENTS[..6] {
        let reply = pass.config(&bench, name);
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
    }
    assert_eq!(pass.config(&bench, "no-such-document").status, 404);
    let bearer = format!("Authorization: bearer {}\r\n", pass.token);
    let reply = bench.cable.get_with(B01, "/config/small-cluster/config.yml", &bearer);
    assert_eq!(reply.status, 200, "the scheme's case does not matter (RFC 9110 §11.1)");
}

#[tokio::test]
async fn the_token_of_another_blade_is_403_a_malformed_one_404() {
    let bench = Bench::deployed("foreign").await;
    let pass = bench.pass(B01);
    let mut forged = pass.token.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });
    for name in DOCUMENTS {
        let path = |token: &str| format!("/config/small-cluster/{name}?token={token}");
        for from in [B02, STRANGER] {
            assert_eq!(bench.cable.get(from, &path(&pass.token)).status, 403, "{name} {from}");
        }
        for bad in ["", "x", "%00", &forged, &pass.token[1..], &pass.token.repeat(3)] {
            for from in [B01, B02, STRANGER] {
                assert_eq!(bench.cable.get(from, &path(bad)).status, 404, "{name} {bad}");
            }
        }
        assert_eq!(bench.cable.get(B01, &format!("/config/small-cluster/{name}")).status, 404);
    }
    let report = pass.report(1, "live", "ok").to_string();
    for (from, token, status) in
        [(B02, &pass.token, 403), (STRANGER, &pass.token, 403), (B01, &forged, 404)]
    {
        let said = bench.cable.post(from, &pass.events(), token, &report);
        assert_eq!(said.status, status);
        let body = json!({ "attempt": pass.attempt }).to_string();
        assert_eq!(bench.cable.post(from, "/notify/finish", token, &body).status, status);
    }
    let other = bench.pass(B02);
    let crossed = bench.cable.post(B01, &other.events(), &pass.token, &report);
    assert_eq!(crossed.status, 403, "one's own token, another's attempt");
    assert_eq!(bench.lines("report", "").await, 0);
}

#[tokio::test]
async fn the_token_of_an_attempt_that_is_over_is_410_and_its_reports_409() {
    let bench = Bench::deployed("over").await;
    let superseded = bench.pass(B01);
    bench.post("blades/r1-c1-b01/reinstall", json!({})).await;
    let failed = bench.pass(B02);
    let mut report = failed.report(1, "preflight", "fail");
    report["code"] = json!("E_DISK_NONE");
    assert_eq!(failed.says(&bench, &report), 200);
    for (pass, why) in [(superseded, "superseded"), (failed, "failed")] {
        for name in &DOCUMENTS[..6] {
            assert_eq!(pass.config(&bench, name).status, 410, "{why}: {name}");
        }
        let report = pass.report(7, "write", "start");
        assert_eq!(pass.says(&bench, &report), 409, "{why}");
        assert_eq!(pass.finishes(&bench).status, 409, "{why}");
    }
    let script = bench.cable.get(B02, "/boot/52-54-00-00-01-02.ipxe").text();
    assert!(script.contains("E_DISK_NONE") && !script.contains("token="), "{script}");
}

#[tokio::test]
async fn a_role_that_is_not_the_blades_own_is_404_like_one_that_does_not_exist() {
    let bench = Bench::deployed("role").await;
    let pass = bench.pass(B01);
    let mut answers = Vec::new();
    for role in ["production-central", "simple", "no-such-role", "%2e%2e", "small-cluster%00"] {
        let path = format!("/config/{role}/config.yml?token={}", pass.token);
        answers.push(bench.cable.get(B01, &path));
    }
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (404, &answers[0].body));
    }
}

#[tokio::test]
async fn refusals_say_nothing_about_what_exists() {
    let bench = Bench::deployed("hints").await;
    let pass = bench.pass(B01);
    let known = bench.cable.get(STRANGER, SCRIPT);
    assert_eq!(known.status, 404, "a script is for the blade's own address alone");
    let real = format!("/config/small-cluster/config.yml?token={}", pass.token);
    let refused =
        [known, bench.cable.get(STRANGER, &real), bench.cable.get(B01, "/config/small-cluster/x")];
    for reply in refused {
        let told = format!("{:?}{}", reply.headers, reply.text());
        for hint in ["r1-c1", "demo", "10.12.1", "attempt", "52:54", "52-54", "firstlight"] {
            assert!(!told.contains(hint), "{hint} in {told}");
        }
        assert!(reply.body.len() < 20, "{told}");
    }
}

#[tokio::test]
async fn nobody_chooses_at_the_console_of_another_blade() {
    let bench = Bench::up("chooser").await;
    bench.apply(&[]).await;
    let choice = format!("{SCRIPT}?choice=simple");
    for from in [B02, STRANGER] {
        assert_eq!(bench.cable.get(from, &choice).status, 404);
    }
    // Nor does one that does not exist choose anything.
    for from in [B01, STRANGER] {
        let reply = bench.cable.get(from, "/boot/02-00-00-00-00-99.ipxe?choice=simple");
        assert!(reply.text().contains("no address from here"), "{}", reply.text());
    }
    assert_eq!(bench.lines("menu", "").await, 0);
    assert_eq!(bench.cable.get(B01, &choice).status, 200);
    assert_eq!(bench.lines("menu", "simple chosen").await, 1);
}

#[tokio::test]
async fn a_mac_is_understood_as_ipxe_writes_it() {
    let bench = Bench::deployed("mac").await;
    for mac in [
        "52-54-00-00-01-01",
        "52%3A54%3A00%3A00%3A01%3A01",
        "52%3a54%3a00%3a00%3a01%3a01",
        "52:54:00:00:01:01",
    ] {
        let reply = bench.cable.get(B01, &format!("/boot/{mac}.ipxe"));
        assert_eq!(reply.status, 200, "{mac}");
        assert!(reply.text().contains("token="), "{mac}: {}", reply.text());
    }
}

#[tokio::test]
async fn documents_hold_no_secret_but_the_token_and_nobody_else_sees_that() {
    let mut bench = Bench::deployed("secrets").await;
    let passes = [B01, B02, B03].map(|from| bench.pass(from));
    for pass in &passes {
        for name in &DOCUMENTS[..6] {
            let text = pass.config(&bench, name).text();
            for secret in ["PRIVATE KEY", "certificateKey", "$6$", "$y$", "password:"] {
                assert!(!text.contains(secret), "{secret} in {name}");
            }
            for other in passes.iter().filter(|other| other.from != pass.from) {
                assert!(!text.contains(&other.token), "{name} holds the token of {}", other.from);
            }
        }
        // A clumsy installer that tells everything it knows.
        let mut report = pass.report(1, "live", "fail");
        for key in ["msg", "code", "log_tail"] {
            report[key] = json!(format!("cmdline token={}", pass.token));
        }
        report["hello"] = json!({ "cmdline": format!("token={}", pass.token) });
        report["host_keys"] = json!([pass.token]);
        assert_eq!(pass.says(&bench, &report), 200);
    }
    let mut shown = String::new();
    for path in [
        "/",
        "/clusters/demo",
        "/clusters/demo/plan",
        "/blades/r1-c1-b01",
        "/events",
        "/api/v1/blades/r1-c1-b01",
        "/api/v1/blades/r1-c1-b01/render",
        "/api/v1/attempts",
        "/api/v1/events?after=0&limit=5000",
        "/api/v1/overview",
        "/api/v1/backup",
        "/api/v1/clusters/demo",
        "/api/v1/export",
        "/api/v1/blades/r1-c1-b01/render?format=coreos",
        "/api/v1/blades/r1-c1-b01/render?format=ignition",
    ] {
        let (status, text) = bench.page(path).await;
        assert!(status == 200 || !path.starts_with("/api"), "{path}: {status}");
        shown += &text;
    }
    assert!(shown.contains("[token]"), "it was said, and taken out");
    bench.site.kill_and_restart().await;
    for file in ["data/firstlight.sqlite", "data/firstlight.sqlite-wal", "daemon.log"] {
        shown += &String::from_utf8_lossy(&fs::read(bench.lab.file(file)).unwrap_or_default());
    }
    for pass in &passes {
        assert!(!shown.contains(&pass.token), "the token of {} is shown", pass.from);
    }
}
