//! Random octets to every port that blades reach.

use std::time::{Duration, Instant};

use crate::{
    boot_http::{B01, Bench, SCRIPT},
    dhcp_wire::{dora, pxe, read},
};

#[tokio::test]
async fn garbage_on_every_port_costs_little_memory_and_nobody_an_answer() {
    let bench = Bench::deployed("garbage").await;
    bench.throw_garbage(0);
    let (before, begin) = (bench.memory_kib(), Instant::now());
    for round in 1.. {
        bench.throw_garbage(round);
        if begin.elapsed() > Duration::from_secs(8) {
            break;
        }
    }
    let grown = bench.memory_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "grown by {grown} KiB");
    assert!(!bench.log().contains("panicked"), "{}", bench.log());

    let mac = [0x52, 0x54, 0, 0, 1, 1];
    let (_, ack) = dora(&bench.cable.port(), mac, &pxe(dhcproto::v4::Architecture::X86_Bios));
    assert_eq!(read(&ack).yiaddr().to_string(), B01);
    assert!(bench.cable.get(B01, SCRIPT).text().contains("token="));
    let tftp = bench.cable.udp(B01);
    tftp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    tftp.send_to(b"\0\x01no-such-file\0octet\0", "10.12.0.1:69").unwrap();
    let mut answer = [0; 600];
    let (length, _) = tftp.recv_from(&mut answer).unwrap();
    assert!(length > 4 && answer.starts_with(&[0, 5, 0, 1]), "ERROR 1: RFC 1350 §5");
}
