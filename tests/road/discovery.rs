//! A blade that nobody described: it tells what it is, is racked, and goes on.

use std::os::unix::fs::PermissionsExt as _;

use firstlight::bmc::{lab, power::PowerOp};
use serde_json::{Value, json};

use super::{LONG, site::Site};

/// One LLDP frame from the rack's bridge, as a switch sends it every 30 seconds.
fn switch_speaks(site: &Site) {
    let script = "
import socket
tlv = lambda kind, value: ((kind << 9) | len(value)).to_bytes(2, 'big') + value
frame = bytes.fromhex('0180c200000e02000000000188cc')
frame += tlv(1, b'\\x07chassis') + tlv(2, b'\\x05Ethernet3') + tlv(3, b'\\x00\\x78') + tlv(5, b'sw-r1') + tlv(0, b'')
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(('br0', 0))
raw.send(frame)
";
    let output = site.lab.command("exec", &["--", "python3", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A BMC with an address of its own, reached from its board by KCS as on real ones (OpenIPMI's
/// simulator). Ended when it is dropped.
struct Bmc(std::process::Child);

impl Bmc {
    const PORT: u16 = 9002;

    fn start(site: &Site) -> Bmc {
        let file = |name: &str, text: &str| {
            let path = site.lab.file(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let addresses = "#!/bin/sh\n[ \"$1\" = get ] || exit 0\nshift\nfor key; do case $key in \
             ip_addr) echo ip_addr:10.202.0.7 ;; *) echo \"$key:0.0.0.0\" ;; esac; done\n";
        let addresses = file("addresses", addresses);
        std::fs::set_permissions(&addresses, std::fs::Permissions::from_mode(0o755)).unwrap();
        let lan = file(
            "lan.conf",
            &format!(
                "name \"blade\"\nset_working_mc 0x20\nstartlan 1\n addr 127.0.0.1 9623\n \
                 lan_config_program \"{addresses}\"\nendlan\n\
                 serial kcs 127.0.0.1 {} codec VM\n",
                Bmc::PORT
            ),
        );
        let controller = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\n\
                          mc_enable 0x20\n";
        let (controller, state) = (file("bmc.emu", controller), site.lab.file("bmc"));
        let state = state.display().to_string();
        let words = ["--", "ipmi_sim", "-n", "-c", &lan, "-f", &controller, "-s", &state];
        Bmc(site.lab.command("exec", &words).spawn().unwrap())
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn waiting(site: &Site) -> Value {
    site.get("discovered").await[0].clone()
}

#[tokio::test]
async fn an_unknown_blade_tells_what_it_is_and_once_racked_goes_on_by_itself() {
    let bmc = format!("r1-c1-b01=127.0.0.1:{}", Bmc::PORT);
    let site = Site::up("discover", &["--blades", "1", "--uefi", "1", "--bmc", &bmc]).await;
    let _bmc = Bmc::start(&site);
    let rack = std::fs::read_to_string(site.lab.file("inventory.toml")).unwrap();
    let (rack, blade) = rack.split_once("[[blade]]").unwrap();
    assert!(blade.contains("52:54:00:00:01:01"), "the lab's only blade: {blade}");
    site.post("apply", json!({ "files": [["rack.toml", rack]] })).await;
    lab::power(&site.lab.file("power.sock"), "r1-c1-b01", PowerOp::On).await.unwrap();

    let told = |site: Site| async move { waiting(&site).await["waits"] == true };
    site.until(LONG, "it has told what it is", told).await;
    let one = waiting(&site).await;
    let machine = &one["machine"];
    assert_eq!(one["mac"], "52:54:00:00:01:01", "{one}");
    assert_eq!(
        (&machine["firmware"], &machine["arch"]),
        (&json!("uefi"), &json!("amd64")),
        "{one}"
    );
    assert_eq!(machine["nics"][0]["driver"], "virtio_net", "{one}");
    assert_eq!(machine["disks"][0]["size"], 4_294_967_296_u64, "{one}");
    assert_eq!(machine["disks"][0]["has_data"], false, "{one}");
    assert_eq!((&machine["bmc"], &machine["bmc_ip"]), (&json!("present"), &json!("10.202.0.7")));
    assert!(machine["uuid"].as_str().unwrap().len() == 36, "{one}");
    assert!(machine["ram_mb"].as_u64().unwrap() > 400, "{one}");

    let heard = |site: Site| async move {
        switch_speaks(&site);
        waiting(&site).await["machine"]["lldp"]["port"] == "Ethernet3"
    };
    site.until(LONG, "it has heard its switch", heard).await;
    eprintln!("{:#}", waiting(&site).await);

    let racked = site.post("discovered/52:54:00:00:01:01/rack", json!({ "slot": "r1/c1/1" })).await;
    assert_eq!(racked["blade"], "r1-c1-b01", "{racked}");
    let went_on = |site: Site| async move {
        let events = site.events().await;
        let menu = |event: &Value| {
            event["blade"] == "r1-c1-b01" && event["text"] == "boot script: console menu"
        };
        events.iter().any(menu)
    };
    site.until(LONG, "it asks again, as the blade that it is", went_on).await;
    assert!(site.console("r1-c1-b01").contains("this is r1-c1-b01 now"));
    let token = "token=";
    assert!(!site.console("r1-c1-b01").contains(token), "no token on the console");
}
