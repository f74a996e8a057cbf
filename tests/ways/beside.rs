//! Blades that get their address from somebody else's DHCP server and the rest from the daemon.

use std::fs;

use super::way::{Row, Way};
use crate::dhcp_wire::others::Other;

/// A rack in which dnsmasq gives the addresses, on the daemon's own machine.
async fn beside_dnsmasq(row: Row) -> (Way, Other) {
    let lab = Way::rack(&row);
    let config = lab.file("firstlight.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, text.replace("mode = \"server\"", "mode = \"proxy\"")).unwrap();
    let namespace = format!("fl-{}", lab.name);
    let dnsmasq = Other::dnsmasq(&namespace, "br0", "10.12.7.1,10.12.7.50,255.255.0.0,10m");
    (Way::serve(row, lab).await, dnsmasq)
}

/// The whole road, with the other server's address until the blade's own system has its static one.
async fn all_the_way(row: Row, loader: Option<&str>) {
    let (way, dnsmasq) = beside_dnsmasq(row).await;
    way.deploy().await;
    way.until_live().await;
    if let Some(loader) = loader {
        way.was_sent("tftp", &format!("{loader} sent")).await;
    }
    way.comes_home().await;
    let log = dnsmasq.log();
    assert!(log.contains("DHCPACK(br0) 10.12.7."), "{log}");
}

#[tokio::test]
async fn a_bios_blade_boots_beside_dnsmasq() {
    all_the_way(Row { name: "pbios", firmware: "bios", ..Row::default() }, None).await;
}

#[tokio::test]
async fn a_uefi_blade_boots_beside_dnsmasq() {
    all_the_way(Row { name: "puefi", firmware: "uefi", ..Row::default() }, Some("snponly.efi"))
        .await;
}
