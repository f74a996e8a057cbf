//! Machines that are not in the inventory: what they are given, who may report, what becomes of
//! them.

use dhcproto::v4;
use serde_json::{Value, json};

use super::{B02, Bench, STRANGER, cable::Reply};
use crate::dhcp_wire::{dora, pxe, read};

/// Empty slots, and room for whoever comes.
const RACK: &str = "[[rack]]\nname = \"r1\"\n\
    chassis = [{ name = \"c1\", slots = 4, ip_first = \"10.12.1.1\" }]\n";

/// A machine with an address from the pool.
struct Machine<'a> {
    bench: &'a Bench,
    mac: String,
    ip: String,
    token: String,
}

impl Machine<'_> {
    fn arrive(bench: &Bench, number: u8) -> Machine<'_> {
        let octets = [0x52, 0x54, 0, 9, 9, number];
        let (_, ack) = dora(&bench.cable.port(), octets, &pxe(v4::Architecture::X86_Bios));
        let ip = read(&ack).yiaddr().to_string();
        bench.cable.take(&ip);
        let mac = firstlight::blade::Mac(octets).to_string();
        let mut machine = Machine { bench, mac, ip, token: String::new() };
        let script = machine.script("?choice=inventory&arch=x86_64");
        let token = script.split("token=").nth(1).unwrap_or_else(|| panic!("no token: {script}"));
        machine.token = token.split_whitespace().next().unwrap().to_owned();
        machine
    }

    fn script(&self, query: &str) -> String {
        let path = format!("/boot/{}.ipxe{query}", self.mac.replace(':', "-"));
        self.bench.cable.get(&self.ip, &path).text()
    }

    fn post(&self, body: &str) -> Reply {
        self.bench.cable.post(&self.ip, "/api/v1/discovery", &self.token, body)
    }

    fn report(&self) -> Value {
        json!({
            "arch": "amd64", "firmware": "bios", "model": "M630", "serial": "CN77", "cpus": 8, "ram_mb": 65536,
            "nics": [{ "name": "eth0", "mac": self.mac, "driver": "igb" }],
            "disks": [{ "name": "sda", "size": 480_103_981_056_u64, "serial": "D1" }],
            // A switch called s, its port p.
            "lldp_frame": "0180c200000e02000000000188cc0202077304020570060200780a01730000",
        })
    }

    fn may_go_on(&self) -> Reply {
        let bearer = format!("Authorization: Bearer {}\r\n", self.token);
        self.bench.cable.get_with(&self.ip, "/api/v1/discovery", &bearer)
    }
}

#[tokio::test]
async fn an_unknown_machine_reports_waits_and_goes_on_once_it_is_racked() {
    let mut bench = Bench::up("discovery").await;
    bench.post("apply", json!({ "files": [["rack.toml", RACK]] })).await;
    let machine = Machine::arrive(&bench, 1);
    let menu = machine.script("");
    assert!(menu.contains("--default inventory --timeout 5000"), "{menu}");
    assert!(menu.contains("item local-boot") && menu.contains("item simple"), "{menu}");
    let document = format!("/config/inventory/pxe.yml?token={}", machine.token);
    let document = bench.cable.get(&machine.ip, &document);
    assert_eq!(document.status, 200);
    assert!(
        document.text().starts_with("#cloud-config\n") && document.text().contains(&machine.mac)
    );
    assert_eq!(machine.may_go_on().status, 404, "it has not reported");

    assert_eq!(machine.post(&machine.report().to_string()).status, 200);
    let again = || machine.post(&machine.report().to_string()).status;
    assert!((0..20).any(|_| again() == 429), "a moment ago");
    assert_eq!(machine.may_go_on().text(), "wait\n");
    let (mac, ip, token) = (machine.mac.clone(), machine.ip.clone(), machine.token.clone());
    bench.site.kill_and_restart().await;
    let machine = Machine { bench: &bench, mac, ip, token };
    assert_eq!(machine.may_go_on().text(), "wait\n", "what was acknowledged is still known");
    let listed = bench.get("discovered").await;
    assert_eq!(listed[0]["machine"]["serial"], "CN77", "{listed}");
    assert_eq!(listed[0]["machine"]["lldp"]["port"], "p", "{listed}");

    let path = format!("discovered/{}/rack", machine.mac);
    let racked = bench.post(&path, json!({ "slot": "r1/c1/3" })).await;
    assert_eq!((&racked["blade"], &racked["ip"]), (&json!("r1-c1-b03"), &json!("10.12.1.3")));
    assert_eq!(machine.may_go_on().text(), "go r1-c1-b03\n");
    // A boot program goes on asking from the address that it has; nobody else is told.
    assert!(machine.script("").starts_with("#!ipxe"), "{}", machine.script(""));
    let path = format!("/boot/{}.ipxe", machine.mac.replace(':', "-"));
    assert!(bench.cable.get("10.12.1.3", &path).text().starts_with("#!ipxe"));
    machine.script("?choice=simple");
    let events = bench.events().await;
    let chosen = events.iter().find(|event| event["kind"] == "menu").unwrap();
    assert_eq!(chosen["blade"], "r1-c1-b03", "a choice of the blade: {chosen}");
    assert_eq!(bench.cable.get(B02, &path).status, 404);
    assert_eq!(bench.get("discovered").await, json!([]));
    let blade = bench.get("blades/r1-c1-b03").await;
    assert_eq!(blade["learned"]["machine"]["model"], "M630", "{blade}");
    assert!(bench.page("/api/v1/export").await.1.contains("model = \"M630\""));
    assert_eq!(bench.lines("operator", "racked as r1-c1-b03").await, 1);
    assert_eq!(bench.lines("inventory", "discovered: M630, serial CN77").await, 1);
}

#[tokio::test]
async fn nobody_reports_for_another_and_what_is_no_report_is_refused() {
    let bench = Bench::up("impostor").await;
    bench.apply(&[]).await;
    let machine = Machine::arrive(&bench, 1);
    let other = Machine::arrive(&bench, 2);
    let body = machine.report().to_string();
    let post = |from: &str, token: &str| bench.cable.post(from, "/api/v1/discovery", token, &body);
    for from in [other.ip.as_str(), STRANGER, B02] {
        assert_eq!(post(from, &machine.token).status, 403, "{from}");
    }
    for token in ["", "x", &machine.token[1..], &machine.token.repeat(2)] {
        assert_eq!(post(&machine.ip, token).status, 404, "{token:?}");
    }
    let foreign = machine.script("?choice=inventory").replace(&machine.mac, "");
    assert!(foreign.contains("token="), "its own is given");
    let path = format!("/boot/{}.ipxe?choice=inventory", machine.mac.replace(':', "-"));
    let told = bench.cable.get(&other.ip, &path).text();
    assert!(!told.contains("token="), "no token for another machine: {told}");
    for bad in ["", "{", "[]", "{\"cpus\":-1}", "\u{0}", "{\"nics\":[{}]}"] {
        assert_eq!(machine.post(bad).status, 400, "{bad:?}");
    }
    assert_eq!(machine.post(&format!("{{\"serial\":\"{}\"}}", "x".repeat(40_000))).status, 413);
    assert_eq!(bench.get("discovered").await, json!([]));
    assert_eq!(bench.lines("inventory", "discovered").await, 0);
    assert!(!bench.log().contains("panicked"), "{}", bench.log());
}

#[tokio::test]
async fn a_machine_takes_over_a_slot_with_address_and_role_and_installs_nothing_by_itself() {
    let bench = Bench::deployed("takeover").await;
    let old = bench.pass(super::B01);
    assert_eq!(old.says(&bench, &old.report(1, "live", "ok")), 200);
    assert_eq!(old.finishes(&bench).status, 200);
    let machine = Machine::arrive(&bench, 1);
    assert_eq!(machine.post(&machine.report().to_string()).status, 200);
    let path = format!("discovered/{}/rack", machine.mac);
    let (status, told) = bench.ask(&path, json!({ "slot": "r1/c1/1" })).await;
    assert_eq!(status, 409, "{told}");
    let racked = bench.post(&path, json!({ "slot": "r1/c1/1", "take_over": true })).await;
    assert_eq!((&racked["blade"], &racked["ip"]), (&json!("r1-c1-b01"), &json!("10.12.1.1")));
    assert!(racked["next"].as_str().unwrap().starts_with("it is held"), "{racked}");
    let blade = bench.blade("r1-c1-b01").await;
    assert_eq!((&blade["macs"], &blade["class"]), (&json!([machine.mac]), &json!("held")));
    assert_eq!(blade["role"], "small-cluster");
    // One moment, one commit: the old machine's orders are never the new one's.
    let events = bench.events().await;
    let at = |words: &str| {
        let text = |event: &&Value| event["text"].as_str().unwrap().starts_with(words);
        events.iter().find(text).unwrap()["at"].clone()
    };
    assert_eq!(at("held: another machine"), at("change blade r1-c1-b01"), "{events:#?}");

    // Its address is its own now, and the old machine's card is a stranger's.
    let path = format!("/boot/{}.ipxe", machine.mac.replace(':', "-"));
    let script = bench.cable.get(super::B01, &path).text();
    assert!(script.contains("another machine has its place"), "{script}");
    assert_eq!(old.says(&bench, &old.report(2, "up", "ok")), 409, "the old attempt is over");
    bench.post("blades/r1-c1-b01/release", json!({})).await;
    let script = bench.cable.get(super::B01, &path).text();
    assert!(script.contains("firstlight.attempt="), "released, it installs: {script}");
}
