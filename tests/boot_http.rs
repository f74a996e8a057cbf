//! The boot listener as blades meet it: from their own addresses, over a wire, octet by octet.

mod assets;
pub mod cable;
mod clients;
mod discovery;
mod doors;
mod hostile;
mod identity;
mod messages;
mod reports;

use std::ops::Deref;

use serde_json::{Value, json};

use crate::{
    lab::Lab,
    road::{site::Site, small},
};
use cable::{Cable, Reply};

pub const B01: &str = "10.12.1.1";
pub const B02: &str = "10.12.1.2";
pub const B03: &str = "10.12.1.3";
/// An address in the blades' network that is nobody's.
pub const STRANGER: &str = "10.12.7.7";
pub const SCRIPT: &str = "/boot/52-54-00-00-01-01.ipxe";

/// A site without power, and a machine on its wire that plays its blades.
pub struct Bench {
    pub cable: Cable,
    pub site: Site,
}

impl Deref for Bench {
    type Target = Site;
    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Bench {
    pub async fn up(name: &str) -> Bench {
        Bench::on(Site::small(name, "", None).await)
    }

    /// In a rack that has IPv6 too.
    pub async fn with_ipv6(name: &str) -> Bench {
        let lab = Lab::up(name, &["--blades", "3", "--ipv6"]);
        let image = small::image(&lab.file("bundle"));
        small::by_hand(&lab.file("inventory.toml"));
        Bench::on(Site::serve(lab, &image, "", None).await)
    }

    pub fn on(site: Site) -> Bench {
        Bench { cable: Cable::plug(&site.lab), site }
    }

    /// Three blades on their way to become an etcd cluster.
    pub async fn deployed(name: &str) -> Bench {
        let bench = Bench::up(name).await;
        bench.deploy().await;
        bench
    }

    pub async fn deploy(&self) {
        let cluster =
            self.cluster("demo", "small-cluster", r#"small-cluster = ["r1-c1-b[01-03]"]"#);
        self.apply(&[&cluster]).await;
        self.post("clusters/demo/deploy", json!({})).await;
    }

    /// What the blade's boot script gives it: its attempt and its token.
    pub fn pass(&self, from: &str) -> Pass {
        let last = from.rsplit('.').next().unwrap();
        let script = self.cable.get(from, &format!("/boot/52-54-00-00-01-0{last}.ipxe"));
        let word = |key: &str| {
            let found = script.text().split(key).nth(1).map(str::to_owned);
            let found = found.unwrap_or_else(|| panic!("no {key} in {}", script.text()));
            found.split_whitespace().next().unwrap().to_owned()
        };
        Pass { from: from.to_owned(), token: word("token="), attempt: word("firstlight.attempt=") }
    }

    pub async fn attempts(&self, blade: &str) -> Vec<Value> {
        let attempts = self.get(&format!("attempts?blade={blade}")).await;
        attempts.as_array().unwrap().clone()
    }

    /// How often the journal holds a line of this kind whose text holds `words`.
    pub async fn lines(&self, kind: &str, words: &str) -> usize {
        let events = self.events().await;
        let told = |event: &&Value| event["text"].as_str().unwrap_or_default().contains(words);
        events.iter().filter(|event| event["kind"] == kind).filter(told).count()
    }
}

/// What a blade shows of itself.
#[derive(Clone)]
pub struct Pass {
    pub from: String,
    pub token: String,
    pub attempt: String,
}

impl Pass {
    pub fn events(&self) -> String {
        format!("/api/v1/attempts/{}/events", self.attempt)
    }

    pub fn report(&self, seq: i64, phase: &str, state: &str) -> Value {
        json!({ "attempt": self.attempt, "seq": seq, "phase": phase, "state": state })
    }

    /// Posts a report; its status.
    pub fn says(&self, bench: &Bench, report: &Value) -> u16 {
        bench.cable.post(&self.from, &self.events(), &self.token, &report.to_string()).status
    }

    pub fn finishes(&self, bench: &Bench) -> Reply {
        let body = json!({ "attempt": self.attempt }).to_string();
        bench.cable.post(&self.from, "/notify/finish", &self.token, &body)
    }

    pub fn config(&self, bench: &Bench, document: &str) -> Reply {
        let path = format!("/config/small-cluster/{document}?token={}", self.token);
        bench.cable.get(&self.from, &path)
    }
}
