//! A blade on its way: the rack, the daemon, and what is told of the road.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    lab::Lab,
    road::site::{Site, built, image},
};

pub const BLADE: &str = "r1-c1-b01";
/// Enough for the slowest machine that anybody would wait for; conditions end the waiting.
pub const LONG: Duration = Duration::from_secs(900);

/// What stands in a row of the table.
#[derive(Default)]
pub struct Row {
    pub name: &'static str,
    /// As `firstlight lab up --firmware` has it.
    pub firmware: &'static str,
    /// BIOS: a ROM that is not iPXE.
    pub foreign_rom: bool,
    /// Nothing in its network answers IPv4.
    pub ipv6_alone: bool,
    /// Added to what the rack's inventory says of the blade.
    pub keys: &'static str,
    /// Added to the daemon's configuration.
    pub config: &'static str,
}

/// A rack of one blade, and a daemon that knows it.
pub struct Way {
    name: &'static str,
    pub site: Site,
}

impl Way {
    pub async fn of(row: Row) -> Way {
        let lab = Way::rack(&row);
        Way::serve(row, lab).await
    }

    pub fn rack(row: &Row) -> Lab {
        let firmware = format!("{BLADE}={}", row.firmware);
        let rom = format!("{BLADE}=foreign");
        let mut options = vec!["--blades", "1", "--firmware", &firmware];
        if row.foreign_rom {
            options.extend(["--nic-rom", &rom]);
        }
        if row.ipv6_alone {
            options.push("--ipv6");
        }
        let lab = Lab::up(row.name, &options);
        let inventory = lab.file("inventory.toml");
        let text = fs::read_to_string(&inventory).unwrap();
        fs::write(inventory, format!("{text}{}\n", row.keys)).unwrap();
        lab
    }

    /// With the boot programs of every firmware, as an operator has after importing them.
    pub async fn serve(row: Row, lab: Lab) -> Way {
        if row.firmware.starts_with("arm64") {
            built("images/debian-12/arm64", "make images-arm64");
        }
        let (from, to) = (built("loaders", "make loaders"), lab.file("data/loaders"));
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        let site = Site::serve(lab, &image(), row.config, None).await;
        if row.ipv6_alone {
            let gone = ["--", "ip", "address", "delete", "10.12.0.1/16", "dev", "br0"];
            assert!(site.lab.command("exec", &gone).status().unwrap().success());
        }
        Way { name: row.name, site }
    }

    /// The blade is given a role and powered on.
    pub async fn deploy(&self) {
        let cluster = self.site.cluster("dev", "simple", &format!(r#"simple = ["{BLADE}"]"#));
        self.site.apply(&[&cluster]).await;
        self.site.post("clusters/dev/deploy", json!({})).await;
    }

    /// The live system runs and says what machine it is on.
    pub async fn until_live(&self) -> Value {
        let reported =
            |site: Site| async move { found(&site, "report", "live done").await.is_some() };
        self.site.until(LONG, "the live system reports", reported).await;
        self.site.blade(BLADE).await
    }

    /// Installed, up on its own disk by itself, and again whenever it is started.
    pub async fn comes_home(&self) {
        self.site.until_ready(&[BLADE], LONG).await;
        let events = self.site.events().await;
        let home = events.iter().any(|event| event["phase"] == "up");
        assert!(home, "its own system has reported: {events:#?}");
        self.boots_from_its_disk().await;
    }

    /// Started anew, network first as ever, it is told to boot from its disk, and does.
    pub async fn boots_from_its_disk(&self) {
        let before = self.site.events().await.len();
        self.site.power(BLADE, "cycle").await;
        let began = Instant::now();
        let home = |site: Site| async move {
            let console = site.console(BLADE);
            console.rsplit_once("power cycled").is_some_and(|(_, since)| since.contains("login: "))
        };
        self.site.until(LONG, "its own system is up again", home).await;
        self.times(began.elapsed()).await;
        // The power went in the very moment it was ready: nothing that it had is lost.
        let console = self.site.console(BLADE);
        let (_, since) = console.rsplit_once("power cycled").unwrap();
        assert!(!since.contains("FAILED"), "{since}");
        let events = self.site.events().await;
        let answers = events[before..].iter().filter(|event| event["kind"] == "dhcp");
        let texts: Vec<&str> = answers.map(|event| event["text"].as_str().unwrap()).collect();
        assert!(texts.iter().any(|text| text.contains("boots from its disk")), "{texts:#?}");
        let attempts = self.site.get(&format!("attempts?blade={BLADE}")).await;
        assert_eq!(attempts.as_array().unwrap().len(), 1, "installed once: {attempts}");
    }

    /// Seconds from power-on, for the handbook; nothing depends on them.
    async fn times(&self, again: Duration) {
        let at = |event: Option<Value>| event.and_then(|event| event["at"].as_i64());
        let Some(on) = at(found(&self.site, "power", "").await) else { return };
        let since = |event| at(event).map_or(0.0, |at| (at - on) as f64 / 1000.0);
        println!(
            "way {}: asked {:.1} s, live {:.1} s, up {:.1} s; started again {:.1} s",
            self.name,
            since(found(&self.site, "dhcp", "").await),
            since(found(&self.site, "report", "live done").await),
            since(found(&self.site, "report", "up done").await),
            again.as_secs_f64(),
        );
    }

    /// What was sent to the blade by TFTP and by HTTP, in order.
    async fn sent(&self, kind: &str) -> Vec<String> {
        let events = self.site.events().await;
        let ours = events.iter().filter(|event| event["kind"] == kind && event["blade"] == BLADE);
        ours.map(|event| event["text"].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub async fn was_sent(&self, kind: &str, words: &str) {
        let sent = self.sent(kind).await;
        assert!(sent.iter().any(|text| text.contains(words)), "{kind} {words}: {sent:#?}");
    }

    pub async fn was_not_sent(&self, words: &str) {
        let sent = [self.sent("tftp").await, self.sent("http").await].concat();
        assert!(!sent.iter().any(|text| text.contains(words)), "{words}: {sent:#?}");
    }

    /// As the kernel saw it: it is locked down then, which it says on the console.
    pub fn secure_boot_was_on(&self) {
        let console = self.site.console(BLADE);
        assert!(console.contains("Secure Boot is on"), "{console}");
    }

    pub async fn no_tftp_was_asked(&self) {
        assert_eq!(self.sent("tftp").await, Vec::<String>::new());
    }
}

/// The first event of that kind whose text has these words.
async fn found(site: &Site, kind: &str, words: &str) -> Option<Value> {
    let events = site.events().await;
    let text = |event: &Value| event["text"].as_str().unwrap_or_default().contains(words);
    events.into_iter().find(|event| event["kind"] == kind && text(event))
}
