//! cloud-init's form: the NoCloud seed of an installed Debian (22.4.2 and later).

use serde_json::{Map, Value, json};

use super::{
    Boot, Document, File, Unit,
    json::{cloud_config, yaml_safe},
    up,
};

/// The three files of a NoCloud seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudInit {
    pub user_data: String,
    pub meta_data: String,
    pub network_config: String,
}

/// Units are put to work as soon as cloud-init's `init` stage has written them. `runcmd` alone
/// would wait for the final stage, minutes later on slow blades. `bootcmd` runs before
/// `write_files`, so it leaves a job that systemd orders behind the stage that is running.
const START_UNITS: [&str; 7] = [
    "systemd-run",
    "--no-block",
    "--collect",
    "--unit=firstlight-units",
    "--property=After=cloud-init.service",
    "/bin/sh",
    UNITS_SH,
];

const UNITS_SH: &str = "/etc/firstlight/units.sh";

impl Document {
    /// JSON bodies, which are YAML too. Without a boot, a redacted one.
    pub fn cloud_init(&self, boot: Option<&Boot>) -> CloudInit {
        let boot = Boot::or_redacted(boot);
        let meta = json!({
            "instance-id": format!("firstlight-{}", boot.attempt),
            "local-hostname": self.hostname,
        });
        CloudInit {
            user_data: cloud_config(&self.user_data(&boot)),
            meta_data: yaml_safe(&meta),
            network_config: yaml_safe(&self.network_config()),
        }
    }

    fn user_data(&self, boot: &Boot) -> Value {
        let up = up::unit();
        let units = || [&up].into_iter().chain(&self.units);
        let mut files = up::files(boot).to_vec();
        files.push(File { path: UNITS_SH.into(), mode: 0o755, content: up::units_sh(units()) });
        files.extend(self.files.iter().cloned());
        files.extend(units().flat_map(unit_files));
        let mut whole = Map::new();
        let mut put = |key: &str, value: Value| drop(whole.insert(key.to_owned(), value));
        put("hostname", json!(self.hostname));
        if let Some(domain) = &self.net.domain {
            put("fqdn", format!("{}.{domain}", self.hostname).into());
        }
        put("manage_etc_hosts", true.into());
        put("disable_root", true.into());
        put("ssh_pwauth", false.into());
        put("ssh_deletekeys", true.into());
        put("ssh_genkeytypes", json!(["ed25519"]));
        put("users", json!([self.user()]));
        put("bootcmd", json!([START_UNITS]));
        put("write_files", files.iter().map(file_json).collect());
        put("runcmd", json!([["/bin/sh", UNITS_SH]]));
        let endpoint = boot.attempt_url(&format!("cloud-init?token={}", boot.token));
        put(
            "reporting",
            json!({
                "firstlight": {
                    "type": "webhook", "endpoint": endpoint, "timeout": 5, "retries": 1,
                },
            }),
        );
        put(
            "phone_home",
            json!({
                "url": boot.attempt_url(&format!("phone-home?token={}", boot.token)),
                "post": ["instance_id", "hostname", "pub_key_ed25519"],
                "tries": 10,
            }),
        );
        Value::Object(whole)
    }

    /// The same user on every system: Flatcar's is called so, Debian's is made.
    fn user(&self) -> Value {
        json!({
            "name": "core",
            "lock_passwd": true,
            "shell": "/bin/bash",
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "ssh_authorized_keys": self.ssh_keys,
        })
    }

    /// Version 2 (netplan's). No `set-name`: cloud-init finds the card by its MAC, and a card
    /// that is not renamed cannot fail to be.
    fn network_config(&self) -> Value {
        let net = &self.net;
        let mut nic = Map::new();
        nic.insert("match".into(), json!({ "macaddress": self.mac }));
        nic.insert("dhcp4".into(), false.into());
        nic.insert("dhcp6".into(), false.into());
        let own = [format!("{}/{}", net.ip, net.prefix)].into_iter();
        let own: Vec<String> = own.chain(net.ip6.map(|net| net.to_string())).collect();
        nic.insert("addresses".into(), json!(own));
        if let Some(gateway) = net.gateway {
            nic.insert("routes".into(), json!([{ "to": "0.0.0.0/0", "via": gateway }]));
        }
        if !net.dns.is_empty() || net.domain.is_some() {
            let search: Vec<&String> = net.domain.iter().collect();
            nic.insert("nameservers".into(), json!({ "addresses": net.dns, "search": search }));
        }
        json!({ "network": { "version": 2, "ethernets": { "nic0": nic } } })
    }
}

fn unit_files(unit: &Unit) -> Vec<File> {
    let file = |path, content: &String| File { path, mode: 0o644, content: content.clone() };
    let own = unit.content.iter();
    let own = own.map(|content| file(format!("/etc/systemd/system/{}", unit.name), content));
    let dropins = unit.dropins.iter().map(|dropin| {
        file(format!("/etc/systemd/system/{}.d/{}", unit.name, dropin.name), &dropin.content)
    });
    own.chain(dropins).collect()
}

fn file_json(file: &File) -> Value {
    json!({
        "path": file.path,
        "permissions": format!("{:04o}", file.mode),
        "content": file.content,
    })
}
