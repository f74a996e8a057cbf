//! A member of a live etcd (CASES.md C38).

use serde_json::json;

use crate::boot_http::{B01, B02, B03, Bench};

fn comes_up(bench: &Bench, from: &str) {
    let pass = bench.pass(from);
    assert_eq!(pass.finishes(bench).status, 200);
    assert_eq!(pass.says(bench, &pass.report(1, "up", "ok")), 200);
}

#[tokio::test]
async fn a_started_member_of_a_live_etcd_is_not_reinstalled_by_itself() {
    let bench = Bench::deployed("voter").await;
    let etcd =
        bench.cable.etcd(&[B01, B02, B03].map(|ip| format!("small-{}", ip.replace('.', "-"))));
    comes_up(&bench, B01);
    comes_up(&bench, B02);
    bench.until_ready(&["r1-c1-b01", "r1-c1-b02"], super::PATIENCE).await;
    let (status, answer) = bench.ask("blades/r1-c1-b03/reinstall", json!({})).await;
    assert_eq!(status, 200, "it never was a member that ran: {answer}");

    for blade in ["r1-c1-b01", "r1-c1-b02"] {
        let (status, answer) = bench.ask(&format!("blades/{blade}/reinstall"), json!({})).await;
        let error = answer["error"].as_str().unwrap();
        assert_eq!(status, 409, "{error}");
        assert!(error.starts_with("E_ETCD_MEMBER_LIVE: "), "{error}");
        assert!(error.contains("old identity"), "why: {error}");
        assert!(error.contains("firstlight deploy demo"), "what to do: {error}");
        assert_eq!(bench.attempts(blade).await.len(), 1, "nothing has begun");
    }
    drop(etcd);
    bench.post("clusters/demo/deploy", json!({})).await;
    for blade in ["r1-c1-b01", "r1-c1-b02"] {
        assert_eq!(bench.attempts(blade).await.len(), 2, "all anew is what an operator may do");
        let (status, answer) = bench.ask(&format!("blades/{blade}/reinstall"), json!({})).await;
        assert_eq!(status, 200, "{answer}");
    }
}
