//! Two doors: what blades reach shows nothing of what people reach, and the other way round.

use super::{B01, Bench, STRANGER};

const PEOPLE: [&str; 24] = [
    "/",
    "/clusters",
    "/clusters/demo",
    "/blades/r1-c1-b01",
    "/events",
    "/images",
    "/topologies",
    "/healthz",
    "/readyz",
    "/metrics",
    "/static/style.css",
    "/api/v1",
    "/api/v1/overview",
    "/api/v1/blades",
    "/api/v1/racks",
    "/api/v1/clusters",
    "/api/v1/events?after=0",
    "/api/v1/export",
    "/api/v1/check",
    "/api/v1/backup",
    "/api/v1/images",
    "/api/v1/leases",
    "/api/v1/attempts",
    "/api/v1/openapi.json",
];

#[tokio::test]
async fn nothing_of_pages_and_api_is_reached_by_blades() {
    let bench = Bench::deployed("people").await;
    for path in PEOPLE {
        for from in [B01, STRANGER] {
            assert_eq!(bench.cable.get(from, path).status, 404, "{path}");
        }
    }
    for path in ["/api/v1/apply", "/api/v1/clusters/demo/deploy", "/api/v1/blades/r1-c1-b01/power"]
    {
        assert_eq!(bench.cable.post(B01, path, "x", "{}").status, 404, "{path}");
    }
    let other = bench.site.url().trim_start_matches("http://").to_owned();
    let host = format!("GET /api/v1/export HTTP/1.1\r\nHost: {other}\r\n\r\n");
    assert_eq!(bench.cable.ask(B01, &host).status, 404, "whatever it calls us");
    assert_eq!(bench.attempts("r1-c1-b01").await.len(), 1);
}

#[tokio::test]
async fn nothing_that_blades_fetch_is_reached_through_the_page() {
    let bench = Bench::deployed("blades").await;
    let pass = bench.pass(B01);
    for path in [
        "/boot/52-54-00-00-01-01.ipxe".to_owned(),
        format!("/config/small-cluster/pxe.yml?token={}", pass.token),
        format!("/config/small-cluster/config.yml?token={}", pass.token),
        format!("/images/sha256/{}", "0".repeat(64)),
        "/notify/finish".to_owned(),
        pass.events(),
    ] {
        let (status, text) = bench.page(&path).await;
        assert_eq!(status, 404, "{path}: {text:.200}");
    }
}
