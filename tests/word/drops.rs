//! What cannot be read is counted and told once.

use crate::boot_http::{B02, Bench, STRANGER};

const SUBNET6: &str = "[[subnet]]\ncidr = \"fd00:12::/64\"\n";

#[tokio::test]
async fn packets_that_cannot_be_read_are_in_the_metrics_by_cause_and_in_the_log_once() {
    let site = crate::road::site::Site::small("drops", SUBNET6, None).await;
    let bench = Bench::on(site);
    let throw = |from: &str, packet: &[u8]| {
        bench.cable.udp(from).send_to(packet, "10.12.0.1:69").unwrap();
    };
    throw(STRANGER, b"\0\x09");
    throw(STRANGER, b"\0\x09");
    throw(STRANGER, b"\0\x01no-end");
    throw(B02, b"\0\x09");
    bench.cable.to_dhcp6_servers(&[1, 2]);

    let counts = [
        "firstlight_tftp_dropped_total{cause=\"unknown opcode\"} 3",
        "firstlight_tftp_dropped_total{cause=\"file name without its NUL\"} 1",
        "firstlight_dhcp6_dropped_total{cause=\"shorter than a DHCPv6 header\"} 1",
    ];
    let counted = |site: crate::road::site::Site| async move {
        let (_, text) = site.page("/metrics").await;
        counts.iter().all(|line| text.lines().any(|told| told == *line))
    };
    bench.until(super::PATIENCE, "all are counted", counted).await;

    // The last that was sent is told after all the others.
    let last = format!("packet of {B02} dropped: unknown opcode");
    let told = |site: crate::road::site::Site| {
        let last = last.clone();
        async move { site.log().contains(&last) }
    };
    bench.until(super::PATIENCE, "the log has the last", told).await;
    let log = bench.log();
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!(lines(&format!("packet of {STRANGER} dropped: unknown opcode")), 1, "{log}");
    assert_eq!(lines(&format!("packet of {STRANGER} dropped: file name")), 1, "{log}");
}
