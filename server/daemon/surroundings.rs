//! What around the daemon would keep blades from booting: for `check`, page and log. Cheap
//! enough to be asked again for every page.

use std::net::Ipv4Addr;

use crate::{
    boot::watch::Notice,
    config::{Config, DhcpMode},
    http::view::Finding,
    images::{Images, Loaders},
};

/// Space below which an operator is told: a boot image and the journal of a busy day.
const LEAST_FREE: u64 = 1 << 30;

/// Everything found, good and bad.
pub fn findings(config: &Config, images: &Images, loaders: &Loaders) -> Vec<Finding> {
    let mut findings = vec![space(config)];
    findings.extend(config.boot.interfaces.iter().map(|name| interface(config, name)));
    findings.extend(config.boot.interfaces.iter().filter_map(|name| no_ipv6(config, name)));
    findings.extend(boot_programs(loaders));
    findings.extend(proxy_firmware(config));
    findings.push(match images.list().len() {
        0 => Finding::new(
            "warning",
            "boot images",
            "there is none to install, or to look at unknown blades with; make one with `make images`, then: firstlight image import DIR",
        ),
        count => Finding::new("ok", "boot images", format!("{count} imported")),
    });
    findings
}

/// An interface that IPv6 blades cannot be served on, though there is a subnet for them.
fn no_ipv6(config: &Config, name: &str) -> Option<Finding> {
    let all: Vec<_> = nix::ifaddrs::getifaddrs().ok()?.collect();
    let here = all.iter().filter(|found| found.interface_name == name);
    let served = here.filter_map(|found| Some(found.address.as_ref()?.as_sockaddr_in6()?.ip()));
    let served =
        served.into_iter().any(|ip| config.subnets6.iter().any(|subnet| subnet.cidr.contains(&ip)));
    (!config.subnets6.is_empty() && !served).then(|| {
        Finding::new(
            "warning",
            "interfaces",
            format!(
                "{name} has no address of an IPv6 [[subnet]]: only relayed blades are served by \
                 IPv6 there; give it one, such as the first of the subnet"
            ),
        )
    })
}

/// What is known of other DHCP servers.
pub fn other_servers(notice: Notice) -> Finding {
    let level = if notice.warning { "warning" } else { "ok" };
    Finding::new(level, "DHCP servers", notice.text)
}

/// Firmware that is known not to listen to a proxy (docs/dhcp.md has the sources).
pub fn proxy_firmware(config: &Config) -> Option<Finding> {
    let text = "dhcp.mode = \"proxy\": known not to boot so are UEFI PXE built on UDK2014 or older \
                (before TianoCore bug 469 was fixed), the UEFI PXE of some HP machines, and the \
                Raspberry Pi's own boot ROM; for these name next-server and boot file at your DHCP \
                server";
    (config.dhcp.mode == DhcpMode::Proxy).then(|| Finding::new("ok", "firmware", text))
}

/// What firmware loads by TFTP.
pub fn boot_programs(loaders: &Loaders) -> Vec<Finding> {
    let missing = loaders.missing();
    if missing.is_empty() {
        return vec![Finding::new("ok", "boot programs", "all are here")];
    }
    missing
        .iter()
        .map(|loader| Finding::new("error", "boot programs", loader.to_string()))
        .collect()
}

/// Room in `data_dir`, which must exist.
pub fn space(config: &Config) -> Finding {
    let dir = config.data_dir.display();
    match nix::sys::statvfs::statvfs(&config.data_dir) {
        Err(error) => Finding::new("error", "disk", format!("{dir}: {error}")),
        Ok(stat) => {
            let free = stat.blocks_available().saturating_mul(stat.fragment_size());
            let text = format!("{dir}: {} MiB free", free >> 20);
            if free < LEAST_FREE / 64 {
                Finding::new(
                    "error",
                    "disk",
                    format!("{text}; the journal will soon not be written: make room now"),
                )
            } else if free < LEAST_FREE {
                Finding::new(
                    "warning",
                    "disk",
                    format!("{text}; make room before the next boot image"),
                )
            } else {
                Finding::new("ok", "disk", text)
            }
        }
    }
}

/// Is `name` an interface that blades can be served on?
pub fn interface(config: &Config, name: &str) -> Finding {
    let Ok(all) = nix::ifaddrs::getifaddrs() else {
        return Finding::new("error", "interfaces", "cannot be listed");
    };
    let mut here = false;
    let mut addresses: Vec<Ipv4Addr> = Vec::new();
    for found in all.filter(|found| found.interface_name == name) {
        here = true;
        let ip = found
            .address
            .as_ref()
            .and_then(|address| address.as_sockaddr_in())
            .map(|address| address.ip());
        addresses.extend(ip);
    }
    let served = |ip: &Ipv4Addr| config.subnets.iter().any(|subnet| subnet.cidr.contains(ip));
    if !here {
        Finding::new(
            "error",
            "interfaces",
            format!(
                "{name} does not exist; boot.interfaces must name an interface of this machine"
            ),
        )
    } else if addresses.is_empty() {
        Finding::new(
            "error",
            "interfaces",
            format!("{name} has no IPv4 address; give it one inside a configured subnet"),
        )
    } else if !addresses.iter().any(served) {
        Finding::new(
            "warning",
            "interfaces",
            format!(
                "{name} ({addresses:?}) is in none of the configured subnets: only relayed blades are served there"
            ),
        )
    } else {
        Finding::new("ok", "interfaces", format!("{name} {addresses:?}"))
    }
}
