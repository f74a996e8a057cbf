//! Blades whose firmware boots over IPv6, in a network where nothing answers IPv4: iPXE would take
//! its script from there else.

use crate::ways::way::{BLADE, LONG, Row, Way};

#[tokio::test(flavor = "multi_thread")]
async fn a_uefi_blade_boots_over_ipv6_alone() {
    let way = installed(Row { name: "pxe6", firmware: "uefi-pxe6", ..Row::default() }).await;
    let console = way.site.console(BLADE);
    assert!(console.contains("Start PXE over IPv6"), "{console}");
    assert!(!console.contains("Start PXE over IPv4"), "{console}");
    let loader = "DHCPv6 REPLY · fd00:12::1:1 · UEFI x64 · boots tftp://[fd00:12::1]/snponly.efi";
    way.was_sent("dhcp", loader).await;
    way.was_sent("tftp", "snponly.efi sent").await;
    way.boots_from_its_disk().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uefi_blade_boots_by_http_over_ipv6_alone() {
    let way = installed(Row { name: "http6", firmware: "uefi-http", ..Row::default() }).await;
    let console = way.site.console(BLADE);
    assert!(console.contains("URI: http://[fd00:12::1]/loaders/snponly.efi"), "{console}");
    way.no_tftp_was_asked().await;
    way.boots_from_its_disk().await;
    // Firmware was told the URL of nothing, and went on at once.
    let console = way.site.console(BLADE);
    let (_, since) = console.rsplit_once("power cycled").unwrap();
    assert!(since.contains("URI: http://[fd00:12::1]/loaders/local-boot"), "{since}");
}

async fn installed(row: Row) -> Way {
    let way = Way::of(Row { ipv6_alone: true, ..row }).await;
    way.deploy().await;
    // The installed system reports by IPv6 too; its health is asked by IPv4, which is gone.
    way.site
        .until(LONG, "the installed system is up", |site| async move {
            let blade = site.blade(BLADE).await;
            assert_ne!(blade["class"], "failed", "{}", blade["reason"]);
            blade["phase"] == "up" || blade["phase"] == "joining"
        })
        .await;
    let script = "DHCPv6 REPLY · fd00:12::1:1 · iPXE · boots http://[fd00:12::1]/boot/";
    way.was_sent("dhcp", script).await;
    way.was_sent("http", "kernel fetched").await;
    way
}
