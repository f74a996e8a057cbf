//! What an attempt is made of: script, documents and installer of one blade, from the snapshot.

use ipnet::Ipv6Net;

use super::App;
use crate::{
    blade::{Arch, AttemptId},
    boot::{Files, Order, Reader},
    images::{Artifact, ImageSet, Kind},
    inventory::{Blade, Snapshot},
    topology::{self, Boot, Document, Os, Target, Wipe},
};

/// The console that the lab, a serial-over-LAN session and a screen see alike.
// loglevel: below it the kernel prints its command line, and the boot token in it, on the console.
pub(super) fn consoles(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "console=tty0 console=ttyS0,115200n8 loglevel=4",
        // The PL011 of the SBSA: every arm64 server has one.
        Arch::Arm64 => "console=tty0 console=ttyAMA0,115200n8 loglevel=4",
    }
}

/// Everything needed to install one blade, put together for each request from memory.
pub struct Plan {
    pub image: std::sync::Arc<ImageSet>,
    pub document: Document,
    pub boot: Boot,
    pub arch: Arch,
    /// The live system's address and prefix, where all its addresses are IPv6 ones.
    ip6: Option<Ipv6Net>,
}

/// Puts a blade's plan together. The error is for people: what is missing, and where.
pub fn plan(
    app: &App,
    snapshot: &Snapshot,
    blade: &Blade,
    attempt: AttemptId,
    number: i64,
    base: &str,
) -> Result<Plan, String> {
    let member =
        blade.member.as_ref().ok_or_else(|| format!("blade {} has no role", blade.name))?;
    let cluster = snapshot
        .clusters
        .get(&member.cluster)
        .ok_or_else(|| format!("there is no cluster {}", member.cluster))?;
    let spec = app.spec_of(snapshot, cluster).map_err(|problems| problems.join("\n"))?;
    let document =
        app.catalogue.render(&spec, &blade.name).map_err(|problem| problem.to_string())?;
    Ok(Plan {
        image: app.image_of(cluster)?,
        document,
        boot: Boot {
            url: base.to_owned(),
            attempt,
            number,
            token: app.key.token(attempt),
            menu: member.role.clone(),
        },
        arch: blade.arch.unwrap_or_default(),
        // Where a blade was told an IPv6 address of ours, its live system needs one too: it takes
        // the reserved one, without asking DHCPv6 again.
        ip6: snapshot.net6_of(blade).filter(|_| base.starts_with("http://[")),
    })
}

impl Plan {
    fn artifact(&self, kind: Kind) -> Result<&Artifact, String> {
        self.image.artifact(kind, self.arch).ok_or_else(|| {
            format!(
                "E_BUNDLE_MISSING: boot image {} has no {kind} for {}; import a complete one",
                self.image.name, self.arch
            )
        })
    }

    /// The family of the system that is installed.
    pub fn os(&self) -> Result<Os, String> {
        self.image.os.to_string().parse()
    }

    fn blob(&self, artifact: &Artifact) -> String {
        format!("{}/images/sha256/{}", self.boot.url, artifact.sha256)
    }

    /// The order to boot the live system, as this program reads it.
    pub fn order(&self, blade: &Blade, reader: &Reader) -> Result<String, String> {
        let path = |artifact: &Artifact| format!("/images/sha256/{}", artifact.sha256);
        let kernel = path(self.artifact(Kind::Kernel)?);
        let initrd = path(self.artifact(Kind::Initrd)?);
        let Boot { url, attempt, token, menu, .. } = &self.boot;
        let config = format!("{url}/config/{menu}/pxe.yml?token={token}");
        let mac = blade.macs.first().ok_or_else(|| format!("blade {} has no MAC", blade.name))?;
        let cmdline = format!(
            "{} cloud-config-url={config} firstlight.attempt={attempt} BOOTIF=01-{}{}",
            consoles(self.arch),
            mac.hyphenated(),
            self.ip6.map(|net| format!(" ip6={net}")).unwrap_or_default()
        );
        let files = Files { base: url, kernel: &kernel, initrd: &initrd, cmdline: &cmdline };
        let title = format!("installing {} as {menu}", blade.name);
        let order = Order::Install { title: &title, files };
        order.text(reader).map_err(|error| error.to_string())
    }

    /// First stage: the live image's cloud-config.
    pub fn pxe_yml(&self, app: &App) -> String {
        topology::pxe_yml(
            &self.boot,
            &self.document.hostname,
            &self.document.ssh_keys,
            &app.scripts.setup,
        )
    }

    /// The installer with this blade's values before it.
    pub fn pxe_sh(&self, app: &App, blade: &Blade) -> Result<String, String> {
        let image = self.artifact(Kind::Image)?;
        let written = image.disk.as_ref().ok_or_else(|| {
            format!("boot image {}: {} is no disk image", self.image.name, image.path)
        })?;
        let disk = blade.disk.clone().unwrap_or_default();
        let target = Target {
            blade: blade.name.clone(),
            arch: self.arch,
            os: self.os()?,
            image_url: self.blob(image),
            image_size: image.size,
            image_sha256: image.sha256.clone(),
            compression: written.compression.to_string(),
            unpacked_size: written.unpacked_size,
            root_partition: written.root_partition,
            min_ram_mb: written.min_ram_mb,
            disk: disk.words(),
            wipe: if disk.keep_data { Wipe::Refuse } else { Wipe::Confirm },
        };
        Ok(topology::pxe_sh(&self.boot, &target, &app.scripts.install))
    }
}
