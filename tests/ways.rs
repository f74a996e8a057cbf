//! Every way to boot that the handbook's table has, each taken by a blade whose firmware really
//! takes it: from power-on to the live system's report, and where the way home is its own, on to
//! the installed system. Needs root, `make images live-arm64 loaders`.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::{
    lab::Lab,
    road::{
        site::{Site, built, image},
        small,
    },
};

const BLADE: &str = "r1-c1-b01";
/// Enough for the slowest machine that anybody would wait for; conditions end the waiting.
const LONG: Duration = Duration::from_secs(900);

/// With the boot programs of every firmware, as an operator has after importing them, and
/// with an image for `arch`: of arm64 the live system alone, which is quick to build.
async fn up_with_loaders(name: &str, options: &[&str], extra: &str, arch: &str) -> Site {
    let lab = Lab::up(name, options);
    let image = match arch {
        "arm64" => small::live_image(&lab.file("bundle"), &built("live/arm64", "make live-arm64")),
        _ => image(),
    };
    let (from, to) = (built("loaders", "make loaders"), lab.file("data/loaders"));
    fs::create_dir_all(&to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    Site::serve(lab, &image, extra, None).await
}

/// A row of the table, with a blade and a daemon that knows it.
struct Way {
    name: &'static str,
    site: Site,
}

impl Way {
    /// One blade of the given firmware, with `keys` added to what the rack's inventory says of it.
    async fn of(name: &'static str, firmware: &str, keys: &str) -> Way {
        Way::with(name, firmware, keys, "").await
    }

    async fn with(name: &'static str, firmware: &str, keys: &str, extra: &str) -> Way {
        let arch = if firmware.starts_with("arm64") { "arm64" } else { "amd64" };
        let firmware = format!("{BLADE}={firmware}");
        let options = ["--blades", "1", "--firmware", &firmware];
        let site = up_with_loaders(name, &options, extra, arch).await;
        let inventory = site.lab.file("inventory.toml");
        let text = fs::read_to_string(&inventory).unwrap();
        fs::write(inventory, format!("{text}{keys}\n")).unwrap();
        Way { name, site }
    }

    /// The blade is given a role and powered on.
    async fn deploy(&self) {
        let cluster = self.site.cluster("dev", "simple", &format!(r#"simple = ["{BLADE}"]"#));
        self.site.apply(&[&cluster]).await;
        self.site.post("clusters/dev/deploy", json!({})).await;
    }

    /// The live system runs and says what machine it is on.
    async fn until_live(&self) -> Value {
        let reported =
            |site: Site| async move { found(&site, "report", "live done").await.is_some() };
        self.site.until(LONG, "the live system reports", reported).await;
        self.times().await;
        self.site.blade(BLADE).await
    }

    /// Installed, restarted by itself, and on its own disk.
    async fn until_up(&self) {
        self.site.until_ready(&[BLADE], LONG).await;
        let events = self.site.events().await;
        let home = events.iter().any(|event| event["phase"] == "up");
        assert!(home, "its own system has reported: {events:#?}");
        self.times().await;
    }

    /// Seconds from power-on, for the handbook; nothing depends on them.
    async fn times(&self) {
        let at = |event: Option<Value>| event.and_then(|event| event["at"].as_i64());
        let Some(on) = at(found(&self.site, "power", "").await) else { return };
        let since = |event| at(event).map_or(0.0, |at| (at - on) as f64 / 1000.0);
        println!(
            "way {}: asked after {:.1} s, live after {:.1} s, up after {:.1} s",
            self.name,
            since(found(&self.site, "dhcp", "").await),
            since(found(&self.site, "report", "live done").await),
            since(found(&self.site, "report", "up done").await),
        );
    }

    /// What was sent to the blade by TFTP and by HTTP, in order.
    async fn sent(&self, kind: &str) -> Vec<String> {
        let events = self.site.events().await;
        let ours = events.iter().filter(|event| event["kind"] == kind && event["blade"] == BLADE);
        ours.map(|event| event["text"].as_str().unwrap_or_default().to_owned()).collect()
    }

    async fn was_sent(&self, kind: &str, words: &str) {
        let sent = self.sent(kind).await;
        assert!(sent.iter().any(|text| text.contains(words)), "{kind} {words}: {sent:#?}");
    }

    /// As the kernel saw it: it is locked down then, which it says on the console.
    fn secure_boot_was_on(&self) {
        let console = self.site.console(BLADE);
        assert!(console.contains("Secure Boot is on"), "{console}");
    }

    async fn no_tftp_was_asked(&self) {
        assert_eq!(self.sent("tftp").await, Vec::<String>::new());
    }
}

/// The first event of that kind whose text has these words.
async fn found(site: &Site, kind: &str, words: &str) -> Option<Value> {
    let events = site.events().await;
    let text = |event: &Value| event["text"].as_str().unwrap_or_default().contains(words);
    events.into_iter().find(|event| event["kind"] == kind && text(event))
}

#[tokio::test]
async fn bios_boots_by_the_ipxe_of_its_rom() {
    let way = Way::of("bios", "bios", "").await;
    way.deploy().await;
    way.until_live().await;
    way.no_tftp_was_asked().await;
}

#[tokio::test]
async fn uefi_x64_boots_by_pxe_and_snponly() {
    let way = Way::of("uefi", "uefi", "").await;
    way.deploy().await;
    way.until_live().await;
    way.was_sent("tftp", "snponly.efi sent").await;
}

#[tokio::test]
async fn uefi_x64_boots_by_pxe_and_the_loader_that_its_rule_names() {
    let way = Way::of("override", "uefi", "loader = \"ipxe.efi\"").await;
    way.deploy().await;
    way.until_live().await;
    way.was_sent("tftp", "ipxe.efi sent").await;
}

#[tokio::test]
async fn uefi_x64_boots_by_http_without_any_tftp_and_comes_home() {
    let way = Way::of("http", "uefi-http", "").await;
    way.deploy().await;
    way.until_live().await;
    way.until_up().await;
    way.no_tftp_was_asked().await;
}

#[tokio::test]
async fn uefi_arm64_boots_by_pxe() {
    let way = Way::of("arm64", "arm64", "").await;
    way.deploy().await;
    let blade = way.until_live().await;
    assert_eq!(blade["arch"], "arm64", "{blade:#}");
    way.was_sent("tftp", "ipxe-arm64.efi sent").await;
}

#[tokio::test]
async fn uefi_arm64_boots_by_http_without_any_tftp() {
    let way = Way::of("arm64http", "arm64-http", "").await;
    way.deploy().await;
    way.until_live().await;
    way.no_tftp_was_asked().await;
}

#[tokio::test]
async fn uefi_x64_with_secure_boot_boots_by_tftp_through_shim_and_grub_and_comes_home() {
    let way = Way::of("secure", "uefi-secure", "").await;
    way.deploy().await;
    way.until_live().await;
    way.was_sent("tftp", "shimx64.efi sent").await;
    way.was_sent("tftp", "grubx64.efi sent").await;
    way.secure_boot_was_on();
    way.until_up().await;
}

#[tokio::test]
async fn uefi_x64_with_secure_boot_boots_by_http_without_any_tftp() {
    let way = Way::of("securehttp", "uefi-secure-http", "").await;
    way.deploy().await;
    way.until_live().await;
    way.no_tftp_was_asked().await;
    way.secure_boot_was_on();
}

#[tokio::test]
async fn uefi_arm64_with_secure_boot_boots_by_tftp_through_shim_and_grub() {
    let way = Way::of("armsecure", "arm64-secure", "").await;
    way.deploy().await;
    way.until_live().await;
    way.was_sent("tftp", "shimaa64.efi sent").await;
    way.was_sent("tftp", "grubaa64.efi sent").await;
    way.secure_boot_was_on();
}

#[tokio::test]
async fn uefi_arm64_with_secure_boot_boots_by_http_without_any_tftp() {
    let way = Way::of("armsechttp", "arm64-secure-http", "").await;
    way.deploy().await;
    way.until_live().await;
    way.no_tftp_was_asked().await;
    way.secure_boot_was_on();
}

/// The choice is made at pxelinux's menu, which the daemon writes as it does iPXE's.
#[tokio::test]
async fn bios_boots_by_pxelinux_and_its_menu_and_comes_home() {
    let menu =
        "[menu]\ndefault = \"simple\"\ntimeout = 3\n[menu.parameters]\nssh_keys = [\"KEY\"]\n";
    let way = Way::with("pxelinux", "bios", "loader = \"pxelinux.0\"", menu).await;
    way.site.apply(&[]).await;
    way.site.power(BLADE, "on").await;
    way.until_live().await;
    way.was_sent("tftp", "pxelinux.0 sent").await;
    way.until_up().await;
}
