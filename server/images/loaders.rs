//! Boot programs that firmware loads by TFTP: an operator's own, else those of Debian.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};

const MANIFEST: &str = include_str!("../../boot-assets/loaders.toml");

/// Boot programs have about one MB; what is larger is none.
pub const LIMIT: u64 = 64 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    loader: Vec<Loader>,
}

/// `boot-assets/build-loaders.sh` reads the rest of an entry: suite, version, checksum.
#[derive(Deserialize)]
struct Loader {
    name: String,
    package: String,
    file: PathBuf,
    /// A server without it serves the usual blades all the same.
    #[serde(default)]
    optional: bool,
}

/// A loader that this machine has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingLoader {
    pub name: String,
    /// Debian's package that brings it.
    pub package: String,
    /// Where it would be.
    pub file: PathBuf,
}

impl std::fmt::Display for MissingLoader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let MissingLoader { name, package, file } = self;
        write!(f, "boot program {name} is missing ({}): apt-get install {package}", file.display())
    }
}

/// A boot program's bytes.
#[derive(Debug, Clone)]
pub struct Program {
    pub bytes: Bytes,
    /// SHA-256 in lower-case hex.
    pub sha256: Arc<str>,
}

/// A file as last read: when it was changed, its size, what was in it.
type Kept = (Option<SystemTime>, u64, Program);

/// The boot programs; clones share what was read.
#[derive(Clone)]
pub struct Loaders(Arc<Inner>);

struct Inner {
    own: PathBuf,
    known: Vec<Loader>,
    kept: Mutex<HashMap<PathBuf, Kept>>,
}

impl Loaders {
    pub fn open(data_dir: &Path) -> Loaders {
        // The manifest is part of the program; a test reads it.
        let known = toml::from_str(MANIFEST).map_or_else(|_| Vec::new(), |m: Manifest| m.loader);
        Loaders(Arc::new(Inner { own: data_dir.join("loaders"), known, kept: Mutex::default() }))
    }

    /// The bytes of a boot program. `name` comes from the network: only a plain file name finds
    /// anything. An operator's file may be replaced at any time; the next call sends the new one.
    pub fn find(&self, name: &str) -> Option<Program> {
        if !is_plain(name) {
            return None;
        }
        let own = self.0.own.join(name);
        let host = || self.0.known.iter().find(|loader| loader.name == name);
        self.read(&own).or_else(|| self.read(&host()?.file))
    }

    /// Loaders that every server needs and that are neither in `data_dir/loaders` nor installed.
    pub fn missing(&self) -> Vec<MissingLoader> {
        let known = self.0.known.iter();
        known
            .filter(|loader| !loader.optional && self.find(&loader.name).is_none())
            .map(|Loader { name, package, file, .. }| MissingLoader {
                name: name.clone(),
                package: package.clone(),
                file: file.clone(),
            })
            .collect()
    }

    fn read(&self, path: &Path) -> Option<Program> {
        let found = fs::metadata(path).ok().filter(|found| found.is_file())?;
        let (changed, size) = (found.modified().ok(), found.len());
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, program)) = kept.get(path).filter(|k| (k.0, k.1) == (changed, size)) {
            return Some(program.clone());
        }
        let bytes = read_limited(path, size)
            .inspect_err(|error| tracing::warn!("boot program {}: {error}", path.display()))
            .ok()?;
        let sha256 = hex::encode(Sha256::digest(&bytes)).into();
        let program = Program { bytes, sha256 };
        kept.insert(path.to_owned(), (changed, size, program.clone()));
        Some(program)
    }
}

fn read_limited(path: &Path, size: u64) -> io::Result<Bytes> {
    if size > LIMIT {
        return Err(io::Error::other(format!("has {size} bytes; a boot program has about a MB")));
    }
    fs::read(path).map(Bytes::from)
}

pub fn is_plain(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_the_loaders_of_every_firmware() {
        let manifest: Manifest = toml::from_str(MANIFEST).unwrap();
        let (optional, needed): (Vec<_>, Vec<_>) =
            manifest.loader.iter().partition(|loader| loader.optional);
        let names = |loaders: &[&Loader]| -> Vec<String> {
            loaders.iter().map(|loader| loader.name.clone()).collect()
        };
        assert_eq!(names(&needed), ["undionly.kpxe", "snponly.efi", "ipxe.efi"]);
        for name in ["shimx64.efi", "grubx64.efi", "ipxe-arm64.efi", "shimaa64.efi", "pxelinux.0"] {
            assert!(names(&optional).iter().any(|known| known == name), "{name}");
        }
        assert!(manifest.loader.iter().all(|loader| is_plain(&loader.name)));
    }

    #[test]
    fn an_operators_own_file_wins_and_may_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let loaders = Loaders::open(dir.path());
        fs::create_dir(dir.path().join("loaders")).unwrap();
        let own = dir.path().join("loaders/undionly.kpxe");
        fs::write(&own, "mine").unwrap();
        assert_eq!(loaders.find("undionly.kpxe").unwrap().bytes, "mine");
        fs::write(&own, "another").unwrap();
        assert_eq!(loaders.find("undionly.kpxe").unwrap().bytes, "another");
        fs::write(dir.path().join("loaders/wimboot"), "added").unwrap();
        assert_eq!(loaders.find("wimboot").unwrap().bytes, "added");
    }

    #[test]
    fn only_a_plain_name_finds_anything() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("loaders")).unwrap();
        fs::write(dir.path().join("secret"), "s").unwrap();
        let loaders = Loaders::open(dir.path());
        for name in ["../secret", "/etc/passwd", "..", ".", "", "a/b", "x\0", "loaders"] {
            assert!(loaders.find(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn what_is_missing_is_told_with_its_package() {
        let dir = tempfile::tempdir().unwrap();
        let loaders = Loaders(Arc::new(Inner {
            own: dir.path().join("loaders"),
            known: vec![Loader {
                name: "ipxe.efi".to_owned(),
                package: "ipxe".to_owned(),
                file: dir.path().join("none"),
                optional: false,
            }],
            kept: Mutex::default(),
        }));
        let told: Vec<String> = loaders.missing().iter().map(ToString::to_string).collect();
        assert!(told[0].contains("ipxe.efi") && told[0].ends_with("apt-get install ipxe"));
    }
}
