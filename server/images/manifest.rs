//! `bundle.toml`: what a boot image is made of. Pure: text in, checked values out.

use std::{collections::HashSet, fmt};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::blade::Arch;

/// What an artifact is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What the boot program starts on a blade to be installed …
    Kernel,
    /// … and the root file system it runs from memory.
    Initrd,
    /// What is written to the blade's disk.
    Image,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Kernel => "kernel",
            Kind::Initrd => "initrd",
            Kind::Image => "image",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Os {
    Debian,
    Flatcar,
}

impl fmt::Display for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Os::Debian => "debian",
            Os::Flatcar => "flatcar",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    Gzip,
    Zstd,
    None,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::None => "none",
        })
    }
}

/// A boot image: a named set of files that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    pub name: String,
    pub version: String,
    pub os: Os,
    pub os_version: String,
    /// RFC 3339, as the bundle says.
    pub created: String,
    pub artifacts: Vec<Artifact>,
}

impl ImageSet {
    pub fn artifact(&self, kind: Kind, arch: Arch) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.kind == kind && artifact.arch == arch)
    }

    /// Kinds that a blade of `arch` needs and this image has not (E_BUNDLE_MISSING).
    pub fn missing(&self, arch: Arch) -> Vec<Kind> {
        let needed = [Kind::Kernel, Kind::Initrd, Kind::Image];
        needed.into_iter().filter(|kind| self.artifact(*kind, arch).is_none()).collect()
    }

    /// As scripts see it, from the API and from the command line alike.
    pub fn to_json(&self) -> Value {
        let artifacts: Vec<Value> = self
            .artifacts
            .iter()
            .map(|a| json!({ "path": a.path, "kind": a.kind.to_string(), "arch": a.arch, "size": a.size, "sha256": a.sha256 }))
            .collect();
        json!({
            "name": self.name, "version": self.version, "os": self.os.to_string(), "os_version": self.os_version,
            "created": self.created, "size": self.size(), "artifacts": artifacts,
        })
    }

    /// Bytes of all artifacts.
    pub fn size(&self) -> u64 {
        self.artifacts.iter().fold(0, |sum, artifact| sum.saturating_add(artifact.size))
    }
}

/// One file of a boot image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its place in the bundle, relative.
    pub path: String,
    pub kind: Kind,
    pub arch: Arch,
    /// Bytes as stored and sent; never 0.
    pub size: u64,
    /// 64 digits of lower-case hex.
    pub sha256: String,
    /// Present exactly for `Kind::Image`.
    pub disk: Option<DiskImage>,
}

/// What the installer must know of a disk image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskImage {
    pub compression: Compression,
    /// Bytes that reach the disk.
    pub unpacked_size: u64,
    pub unpacked_sha256: String,
    /// Number of the partition that the blade's configuration is written to.
    pub root_partition: u32,
    /// Memory a blade needs to install it; 0 if the bundle does not say.
    pub min_ram_mb: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bundle {
    bundle: Head,
    #[serde(default)]
    artifact: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    name: String,
    version: String,
    os: Os,
    os_version: String,
    created: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    kind: Kind,
    arch: Arch,
    size: u64,
    sha256: String,
    compression: Option<Compression>,
    unpacked_size: Option<u64>,
    unpacked_sha256: Option<String>,
    root_partition: Option<u32>,
    min_ram_mb: Option<u64>,
}

impl ImageSet {
    /// Reads and checks a manifest. The error says line and column, or which artifact and what
    /// is wrong with it; the caller puts the file's name before it.
    pub fn parse(text: &str) -> Result<ImageSet, String> {
        let Bundle { bundle, artifact } = toml::from_str(text).map_err(|e| e.to_string())?;
        if !is_set_name(&bundle.name) {
            return Err(format!(
                "bundle.name: {:?} is no name of an image: 1-63 of a-z, 0-9, inner hyphens and single inner dots",
                bundle.name
            ));
        }
        for (key, text) in [("version", &bundle.version), ("os_version", &bundle.os_version)] {
            if text.is_empty() || text.len() > 63 || text.chars().any(char::is_control) {
                return Err(format!("bundle.{key}: {text:?} must be 1-63 printable characters"));
            }
        }
        if bundle.created.parse::<jiff::Timestamp>().is_err() {
            return Err(format!(
                "bundle.created: {:?} is no time like 2026-11-20T00:00:00Z",
                bundle.created
            ));
        }
        if artifact.is_empty() {
            return Err("there is no [[artifact]]; an image has a kernel, an initrd and an image"
                .to_owned());
        }
        let artifacts = artifact
            .into_iter()
            .map(|entry| {
                let path = entry.path.clone();
                entry.check().map_err(|what| format!("artifact {path:?}: {what}"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        unique(&artifacts)?;
        Ok(ImageSet {
            name: bundle.name,
            version: bundle.version,
            os: bundle.os,
            os_version: bundle.os_version,
            created: bundle.created,
            artifacts,
        })
    }
}

/// Names become names of files and parts of URLs.
fn is_set_name(name: &str) -> bool {
    let inner = |b: u8| matches!(b, b'.' | b'-');
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || inner(b))
        && !name.starts_with(['.', '-'])
        && !name.ends_with(['.', '-'])
        && !name.contains("..")
}

/// True for 64 digits of lower-case hex, the only form that names a blob.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn unique(artifacts: &[Artifact]) -> Result<(), String> {
    let (mut paths, mut kinds) = (HashSet::new(), HashSet::new());
    let mut total: u64 = 0;
    for artifact in artifacts {
        let Artifact { path, kind, arch, .. } = artifact;
        if !paths.insert(path) {
            return Err(format!("artifact {path:?}: is listed twice; remove one"));
        }
        if !kinds.insert((kind, arch)) {
            return Err(format!(
                "artifact {path:?}: is a second {kind} for {arch}; an image has one of each"
            ));
        }
        total = total
            .checked_add(artifact.size)
            .ok_or_else(|| format!("artifact {path:?}: no disk holds {} bytes", artifact.size))?;
    }
    Ok(())
}

impl Entry {
    fn check(self) -> Result<Artifact, String> {
        safe_path(&self.path)?;
        if self.size == 0 {
            return Err("size is 0; an empty file boots nothing".to_owned());
        }
        sha256("sha256", &self.sha256)?;
        let disk = match self.kind {
            Kind::Image => Some(self.disk()?),
            Kind::Kernel | Kind::Initrd => {
                self.no_disk()?;
                None
            }
        };
        let Entry { path, kind, arch, size, sha256, .. } = self;
        Ok(Artifact { path, kind, arch, size, sha256, disk })
    }

    fn disk(&self) -> Result<DiskImage, String> {
        let needs = |key: &str| format!("an image needs {key}");
        let compression = self.compression.ok_or_else(|| needs("compression = \"gzip\""))?;
        let plain = compression == Compression::None;
        let size = self.unpacked_size.or(plain.then_some(self.size));
        let digest = self.unpacked_sha256.as_ref().or(plain.then_some(&self.sha256));
        let disk = DiskImage {
            compression,
            unpacked_size: size.ok_or_else(|| needs("unpacked_size"))?,
            unpacked_sha256: digest.ok_or_else(|| needs("unpacked_sha256"))?.clone(),
            root_partition: self.root_partition.ok_or_else(|| needs("root_partition"))?,
            min_ram_mb: self.min_ram_mb.unwrap_or(0),
        };
        sha256("unpacked_sha256", &disk.unpacked_sha256)?;
        if plain && (disk.unpacked_size, &disk.unpacked_sha256) != (self.size, &self.sha256) {
            return Err(
                "is not compressed, so unpacked_size and unpacked_sha256 must be those of \
                the file"
                    .to_owned(),
            );
        }
        // GPT has 128 entries unless made with more (UEFI 2.10 §5.3.2).
        if !(1..=128).contains(&disk.root_partition) || disk.unpacked_size == 0 {
            return Err("root_partition is 1-128 and unpacked_size is not 0".to_owned());
        }
        Ok(disk)
    }

    fn no_disk(&self) -> Result<(), String> {
        let given = [
            ("compression", self.compression.is_some()),
            ("unpacked_size", self.unpacked_size.is_some()),
            ("unpacked_sha256", self.unpacked_sha256.is_some()),
            ("root_partition", self.root_partition.is_some()),
            ("min_ram_mb", self.min_ram_mb.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(format!("{key} belongs to an image, not to a {}", self.kind)),
            None => Ok(()),
        }
    }
}

fn sha256(key: &str, text: &str) -> Result<(), String> {
    if is_sha256(text) {
        return Ok(());
    }
    Err(format!("{key} must be 64 digits of lower-case hex, as sha256sum prints it"))
}

/// A bundle's files stay inside of it.
fn safe_path(path: &str) -> Result<(), String> {
    if path.starts_with('/') {
        return Err("is an absolute path; write it relative to bundle.toml".to_owned());
    }
    if path.split('/').any(|part| part == "..") {
        return Err("leads out of the bundle by \"..\"; put the file beside bundle.toml".to_owned());
    }
    let odd = |part: &str| part.is_empty() || part == ".";
    if path.len() > 255
        || path.split('/').any(odd)
        || path.contains('\\')
        || path.chars().any(char::is_control)
        || path == super::import::MANIFEST
    {
        return Err("is no plain relative path of a file, such as amd64/vmlinuz".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
