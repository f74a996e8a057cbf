//! coreos-cloudinit's form (Flatcar's fork at 8df59e8): `#cloud-config`, then data with
//! underscore keys only, for the fork drops hyphenated ones silently.

use serde_json::{Map, Value, json};

use super::{Boot, Document, File, Unit, json::cloud_config, up};

impl Document {
    /// For `flatcar-install -c` and `cloud-config-url=`. Without a boot, a redacted one.
    pub fn coreos(&self, boot: Option<&Boot>) -> String {
        let boot = Boot::or_redacted(boot);
        let mut coreos = Map::new();
        if let Some(strategy) = &self.reboot_strategy {
            coreos.insert("update".into(), json!({ "reboot_strategy": strategy }));
        }
        // networkd has long read its files when cloud-config writes ours; the reporter comes
        // before units that may wait for other blades, for coreos-cloudinit starts in order.
        let mut units = vec![json!({ "name": "systemd-networkd.service", "command": "restart" })];
        units.push(unit_json(&up::unit()));
        units.extend(self.units.iter().map(unit_json));
        coreos.insert("units".into(), Value::Array(units));
        let files: Vec<Value> = self.flatcar_files(&boot).iter().map(file_json).collect();
        let text = cloud_config(&json!({
            "hostname": self.hostname,
            "ssh_authorized_keys": self.ssh_keys,
            "coreos": coreos,
            "write_files": files,
        }));
        hide_substitutions(&text)
    }

    /// Files for systems that have no other place for host name and network: those of the
    /// document, and what goes into files there.
    pub(super) fn flatcar_files(&self, boot: &Boot) -> Vec<File> {
        let file = |path: &str, content| File { path: path.into(), mode: 0o644, content };
        let mut files = vec![
            file("/etc/hostname", format!("{}\n", self.hostname)),
            file("/etc/systemd/network/05-firstlight.network", self.network_unit()),
        ];
        if let Some(strategy) = &self.reboot_strategy {
            files.push(file("/etc/flatcar/update.conf", format!("REBOOT_STRATEGY={strategy}\n")));
        }
        files.extend(up::files(boot));
        files.extend(self.files.iter().cloned());
        files
    }

    /// systemd.network(5), by MAC: kernel names change with firmware and slots.
    fn network_unit(&self) -> String {
        let net = &self.net;
        let mut lines = vec![
            "[Match]".to_owned(),
            format!("MACAddress={}", self.mac),
            String::new(),
            "[Network]".to_owned(),
            "DHCP=no".to_owned(),
            format!("Address={}/{}", net.ip, net.prefix),
        ];
        lines.extend(net.ip6.iter().map(|net| format!("Address={net}")));
        lines.extend(net.gateway.iter().map(|ip| format!("Gateway={ip}")));
        lines.extend(net.dns.iter().map(|ip| format!("DNS={ip}")));
        lines.extend(net.ntp.iter().map(|ip| format!("NTP={ip}")));
        lines.extend(net.domain.iter().map(|domain| format!("Domains={domain}")));
        lines.join("\n") + "\n"
    }
}

fn file_json(file: &File) -> Value {
    json!({
        "path": file.path,
        "permissions": format!("{:04o}", file.mode),
        "content": file.content,
    })
}

fn unit_json(unit: &Unit) -> Value {
    let mut map = Map::new();
    map.insert("name".into(), unit.name.as_str().into());
    if unit.enabled {
        map.insert("enable".into(), true.into());
    }
    if let Some(command) = unit.command {
        map.insert("command".into(), command.as_str().into());
    }
    if let Some(content) = &unit.content {
        map.insert("content".into(), content.as_str().into());
    }
    if !unit.dropins.is_empty() {
        let dropins = unit.dropins.iter();
        let dropins = dropins.map(|d| json!({ "name": d.name, "content": d.content })).collect();
        map.insert("drop_ins".into(), dropins);
    }
    Value::Object(map)
}

/// coreos-cloudinit puts addresses in place of `$private_ipv4` and its kin, anywhere in the
/// text, before it parses (initialize/env.go). An escaped `$` is the same data, but no match.
fn hide_substitutions(text: &str) -> String {
    text.replace("$private_ipv", "\\u0024private_ipv").replace("$public_ipv", "\\u0024public_ipv")
}
