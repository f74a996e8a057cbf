//! Every way to boot that the handbook's table has, each taken by a blade whose firmware really
//! takes it: from power-on to the live system and, once for each form of "boot from your disk" on each
//! board, to the installed system and home at each later start. Needs root, `make images-arm64 loaders`.

mod beside;
pub mod way;

use way::{BLADE, LONG, Row, Way};

#[tokio::test]
async fn bios_boots_by_undionly_from_a_rom_that_is_not_ipxe() {
    let row = Row { name: "bios", firmware: "bios", foreign_rom: true, ..Row::default() };
    let way = Way::of(row).await;
    way.deploy().await;
    way.until_live().await;
    way.was_sent("tftp", "undionly.kpxe sent").await;
    way.comes_home().await;
}

#[tokio::test]
async fn bios_boots_by_the_ipxe_of_its_rom() {
    let way = Way::of(Row { name: "rom", firmware: "bios", ..Row::default() }).await;
    way.deploy().await;
    way.until_live().await;
    way.no_tftp_was_asked().await;
}

/// The choice is made at pxelinux's menu, which the daemon writes as it does iPXE's.
#[tokio::test]
async fn bios_boots_by_pxelinux_and_its_menu() {
    let row = Row {
        name: "pxelinux",
        firmware: "bios",
        keys: "loader = \"pxelinux.0\"",
        config: "[menu]\ndefault = \"simple\"\ntimeout = 3\n[menu.parameters]\nssh_keys = [\"KEY\"]\n",
        ..Row::default()
    };
    let way = Way::of(row).await;
    way.site.apply(&[]).await;
    way.site.power(BLADE, "on").await;
    way.until_live().await;
    way.was_sent("tftp", "pxelinux.0 sent").await;
    way.comes_home().await;
}

#[tokio::test]
async fn uefi_x64_boots_by_pxe_and_snponly() {
    let way = Way::of(Row { name: "uefi", firmware: "uefi", ..Row::default() }).await;
    way.deploy().await;
    way.until_live().await;
    way.was_sent("tftp", "snponly.efi sent").await;
    way.comes_home().await;
}

#[tokio::test]
async fn uefi_x64_boots_by_pxe_and_the_loader_that_its_rule_names() {
    let keys = "loader = \"ipxe.efi\"";
    let way = Way::of(Row { name: "rule", firmware: "uefi", keys, ..Row::default() }).await;
    way.deploy().await;
    way.until_live().await;
    way.was_sent("tftp", "ipxe.efi sent").await;
    way.was_not_sent("snponly.efi").await;
}

#[tokio::test]
async fn uefi_x64_boots_by_http_without_any_tftp() {
    let way = Way::of(Row { name: "http", firmware: "uefi-http", ..Row::default() }).await;
    way.deploy().await;
    way.until_live().await;
    way.comes_home().await;
    way.no_tftp_was_asked().await;
}

#[tokio::test]
async fn uefi_x64_with_secure_boot_boots_by_tftp_through_shim_and_grub() {
    let way = Way::of(Row { name: "secure", firmware: "uefi-secure", ..Row::default() }).await;
    way.deploy().await;
    way.until_live().await;
    way.was_sent("tftp", "shimx64.efi sent").await;
    way.was_sent("tftp", "grubx64.efi sent").await;
    way.secure_boot_was_on();
    way.comes_home().await;
}

#[tokio::test]
async fn uefi_x64_with_secure_boot_boots_by_http_without_any_tftp() {
    let way =
        Way::of(Row { name: "sechttp", firmware: "uefi-secure-http", ..Row::default() }).await;
    way.deploy().await;
    way.until_live().await;
    way.secure_boot_was_on();
    way.no_tftp_was_asked().await;
}

/// What an operator sees who did not say that Secure Boot is on, and what then helps.
#[tokio::test]
async fn uefi_x64_with_secure_boot_refuses_ipxe_and_the_page_says_what_to_do() {
    let row = Row {
        name: "refused",
        firmware: "uefi-secure",
        config: "give_up = 3600\n[deadlines]\nbootfile = 30\n",
        ..Row::default()
    };
    let lab = Way::rack(&row);
    let inventory = lab.file("inventory.toml");
    let told = std::fs::read_to_string(&inventory).unwrap();
    assert!(told.contains("secure_boot = true\n"), "{told}");
    std::fs::write(&inventory, told.replace("secure_boot = true\n", "")).unwrap();
    let way = Way::serve(row, lab).await;
    way.deploy().await;
    way.site
        .until(LONG, "the blade is stalled", |site| async move {
            site.blade(BLADE).await["class"] == "stalled"
        })
        .await;
    way.was_sent("tftp", "snponly.efi sent").await;
    let console = way.site.console(BLADE);
    assert!(console.contains("Access Denied"), "{console}");
    let reason = way.site.blade(BLADE).await["reason"].to_string();
    assert!(reason.contains("secure_boot = true"), "{reason}");

    std::fs::write(way.site.lab.file("inventory.toml"), told).unwrap();
    way.site.apply(&[]).await;
    way.site.power(BLADE, "cycle").await;
    way.until_live().await;
    way.was_sent("tftp", "shimx64.efi sent").await;
}

#[tokio::test]
async fn uefi_arm64_boots_by_pxe() {
    let way = Way::of(Row { name: "arm64", firmware: "arm64", ..Row::default() }).await;
    way.deploy().await;
    let blade = way.until_live().await;
    assert_eq!(blade["arch"], "arm64", "{blade:#}");
    way.was_sent("tftp", "ipxe-arm64.efi sent").await;
    way.comes_home().await;
}

#[tokio::test]
async fn uefi_arm64_boots_by_http_without_any_tftp() {
    let way = Way::of(Row { name: "arm64http", firmware: "arm64-http", ..Row::default() }).await;
    way.deploy().await;
    way.until_live().await;
    way.no_tftp_was_asked().await;
}

#[tokio::test]
async fn uefi_arm64_with_secure_boot_boots_by_tftp_through_shim_and_grub() {
    let way = Way::of(Row { name: "armsec", firmware: "arm64-secure", ..Row::default() }).await;
    way.deploy().await;
    way.until_live().await;
    way.was_sent("tftp", "shimaa64.efi sent").await;
    way.was_sent("tftp", "grubaa64.efi sent").await;
    way.secure_boot_was_on();
}

#[tokio::test]
async fn uefi_arm64_with_secure_boot_boots_by_http_without_any_tftp() {
    let row = Row { name: "armsechttp", firmware: "arm64-secure-http", ..Row::default() };
    let way = Way::of(row).await;
    way.deploy().await;
    way.until_live().await;
    way.secure_boot_was_on();
    way.comes_home().await;
    way.no_tftp_was_asked().await;
}
