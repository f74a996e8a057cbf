//! The two stages before the disk: `pxe.yml`, which the live image reads, and `pxe.sh`, which
//! that makes it run.

use serde_json::json;

use super::{Boot, Os, json::cloud_config};
use crate::blade::{Arch, Hostname, Mac};

/// What the installer is to put where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub blade: Hostname,
    pub arch: Arch,
    pub os: Os,
    pub image_url: String,
    /// Bytes as served.
    pub image_size: u64,
    /// Of the bytes as served, in hex.
    pub image_sha256: String,
    /// `none`, `gzip`, `zstd` …, as the image's manifest says.
    pub compression: String,
    /// Bytes on the disk.
    pub unpacked_size: u64,
    /// Number of the partition that holds `/`, from 1.
    pub root_partition: u32,
    pub min_ram_mb: u64,
    /// The disk rule as `key=value` words: `smallest=true`, `serial=… min_size=…`.
    pub disk: String,
    pub wipe: Wipe,
}

/// Whether a disk that holds data may be written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wipe {
    Confirm,
    Refuse,
}

impl Wipe {
    pub fn as_str(self) -> &'static str {
        match self {
            Wipe::Confirm => "confirm",
            Wipe::Refuse => "refuse",
        }
    }
}

/// Stage one: `#cloud-config` and JSON. Writes `setup.sh` into RAM and starts it as
/// `setup.service`, the way the ancestor did; `setup.sh` fetches `FL_PXE_URL`, showing `FL_TOKEN`,
/// and runs it.
pub fn pxe_yml(boot: &Boot, hostname: &Hostname, ssh_keys: &[String], setup_sh: &str) -> String {
    let variables = [
        ("FL_PXE_URL", format!("{}/config/{}/pxe.sh", boot.url, boot.menu)),
        ("FL_TOKEN", boot.token.clone()),
    ];
    let script = format!("#!/bin/sh\n{}{setup_sh}", sh_header(&variables));
    let unit = "[Unit]\nDescription=Install this blade\n\n\
        [Service]\nType=oneshot\nExecStart=/bin/sh /run/firstlight/setup.sh\n";
    cloud_config(&json!({
        "hostname": hostname,
        "ssh_authorized_keys": ssh_keys,
        "write_files": [
            { "path": "/run/firstlight/setup.sh", "permissions": "0755", "content": script },
        ],
        "coreos": {
            "units": [ { "name": "setup.service", "command": "start", "content": unit } ],
        },
    }))
}

/// The document of a machine that is not in the inventory: writes `inventory.sh` into RAM and
/// starts it; nothing else.
pub fn inventory_yml(url: &str, token: &str, mac: Mac, inventory_sh: &str) -> String {
    let variables =
        [("FL_URL", url.to_owned()), ("FL_TOKEN", token.to_owned()), ("FL_MAC", mac.to_string())];
    let script = format!("#!/bin/sh\n{}{inventory_sh}", sh_header(&variables));
    let unit = "[Unit]\nDescription=Look at this machine\n\n\
        [Service]\nType=oneshot\nExecStart=/bin/sh /run/firstlight/inventory.sh\n";
    cloud_config(&json!({
        "write_files": [
            { "path": "/run/firstlight/inventory.sh", "permissions": "0755", "content": script },
        ],
        "coreos": {
            "units": [ { "name": "setup.service", "command": "start", "content": unit } ],
        },
    }))
}

/// Stage two: the installer with what it is to do as quoted variables before it.
pub fn pxe_sh(boot: &Boot, target: &Target, install_sh: &str) -> String {
    let variables = [
        ("FL_URL", boot.url.clone()),
        ("FL_ATTEMPT", boot.attempt.to_string()),
        ("FL_TOKEN", boot.token.clone()),
        ("FL_MENU", boot.menu.clone()),
        ("FL_BLADE", target.blade.to_string()),
        ("FL_ARCH", target.arch.to_string()),
        ("FL_OS", target.os.to_string()),
        ("FL_IMAGE_URL", target.image_url.clone()),
        ("FL_IMAGE_SIZE", target.image_size.to_string()),
        ("FL_IMAGE_SHA256", target.image_sha256.clone()),
        ("FL_IMAGE_COMPRESSION", target.compression.clone()),
        ("FL_IMAGE_UNPACKED_SIZE", target.unpacked_size.to_string()),
        ("FL_ROOT_PARTITION", target.root_partition.to_string()),
        ("FL_MIN_RAM_MB", target.min_ram_mb.to_string()),
        ("FL_DISK", target.disk.clone()),
        ("FL_WIPE", target.wipe.as_str().to_owned()),
    ];
    let about = format!("# Blade {}, attempt {}.", target.blade, boot.number);
    format!("#!/bin/sh\n{about}\n{}{install_sh}", sh_header(&variables))
}

/// `NAME='value'` lines.
pub(super) fn sh_header(variables: &[(&str, String)]) -> String {
    variables.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect()
}

/// A word no shell looks into (POSIX XCU 2.2.2). NUL cannot be in a shell's words and is left
/// out.
pub(super) fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\0', "").replace('\'', r"'\''"))
}
