//! A blade whose firmware boots by PXE over IPv6 alone, in a network where nothing else answers.

use std::time::Duration;

use crate::road::site::Site;

const BLADE: &str = "r1-c1-b01";

#[tokio::test(flavor = "multi_thread")]
async fn a_uefi_blade_boots_over_ipv6_alone() {
    let options = ["--blades", "1", "--ipv6", "--firmware", "r1-c1-b01=uefi-pxe6"];
    let site = Site::up("pxe6", &options).await;
    // No IPv4 address, no answer by DHCPv4: iPXE would take its script from there else.
    let gone = ["--", "ip", "address", "delete", "10.12.0.1/16", "dev", "br0"];
    assert!(site.lab.command("exec", &gone).status().unwrap().success());
    let cluster = site.cluster("one", "simple", "simple = [\"r1-c1-b01\"]");
    site.apply(&[&cluster]).await;
    site.post("clusters/one/deploy", serde_json::json!({})).await;
    // The installed system reports by IPv6 too; its health is asked by IPv4, which is gone.
    site.until(Duration::from_secs(900), "the installed system is up", |site| async move {
        let blade = site.blade(BLADE).await;
        assert_ne!(blade["class"], "failed", "{}", blade["reason"]);
        blade["phase"] == "up" || blade["phase"] == "joining"
    })
    .await;
    let console = site.console(BLADE);
    assert!(console.contains("Start PXE over IPv6"), "{console}");
    assert!(!console.contains("Start PXE over IPv4"), "{console}");
    let events = site.events().await;
    let told = |text: &str| {
        events.iter().any(|event| event["text"].as_str().is_some_and(|line| line.contains(text)))
    };
    for step in [
        "DHCPv6 REPLY · fd00:12::1:1 · UEFI x64 · boots tftp://[fd00:12::1]/snponly.efi",
        "snponly.efi sent",
        "DHCPv6 REPLY · fd00:12::1:1 · iPXE · boots http://[fd00:12::1]/boot/",
        "kernel fetched",
    ] {
        assert!(told(step), "{step}: {events:#?}");
    }

    // Once more, network first as ever: it is told to boot from its disk.
    let before = site.events().await.len();
    site.power(BLADE, "cycle").await;
    site.until(Duration::from_secs(900), "its own system is up again", |site| async move {
        let console = site.console(BLADE);
        console.rsplit_once("power cycled").is_some_and(|(_, since)| since.contains("login: "))
    })
    .await;
    let events = site.events().await.split_off(before);
    let told =
        |event: &serde_json::Value| event["text"].to_string().contains("boots from its disk");
    assert!(events.iter().any(told), "{events:#?}");
}
