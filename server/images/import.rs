//! Taking a bundle in: every byte is checked on its way to a staging directory, and only a
//! complete and right bundle is moved into the store.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::{Artifact, ImageSet, Images, MANIFEST_LIMIT, named, source::Source};

/// The file of a bundle that lists the others.
pub(super) const MANIFEST: &str = "bundle.toml";
const STAGING: &str = "staging-";

/// What was taken in.
#[derive(Debug, Clone)]
pub struct Imported {
    pub set: Arc<ImageSet>,
    pub bytes: u64,
    /// The version of that name which it replaced.
    pub replaced: Option<String>,
}

/// Why a bundle was refused. Nothing of it is in the store; each text names the file and says
/// what to do.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(
        "{0}: is neither a directory with a bundle.toml nor a plain .tar of one (unpack a compressed one first)"
    )]
    NoBundle(PathBuf),
    #[error("{place}: {message}")]
    Manifest { place: String, message: String },
    #[error("{0}: bundle.toml lists it, but it is not there; copy the whole bundle again")]
    Missing(String),
    #[error("{0}: is a symbolic link; a bundle holds plain files: replace it by the file itself")]
    Symlink(String),
    #[error("{0}: is no regular file; a bundle holds plain files")]
    NotAFile(String),
    #[error("{0}: is in the archive twice; pack the bundle again")]
    Twice(String),
    #[error("{0}: leads out of the bundle (\"..\" or an absolute path); pack the bundle again")]
    Outside(String),
    #[error(
        "{file}: is short: {found} bytes, bundle.toml says {expected}; copy or build the bundle again"
    )]
    Short { file: String, found: u64, expected: u64 },
    #[error(
        "{file}: is longer than the {expected} bytes that bundle.toml says; copy or build the bundle again"
    )]
    Long { file: String, expected: u64 },
    #[error(
        "{file}: its bytes are not those the bundle was made with (SHA-256 is {found}, bundle.toml says {expected}); copy or build the bundle again"
    )]
    Changed { file: String, found: String, expected: String },
    #[error("another import is running; wait until it is through")]
    Busy,
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
}

impl ImportError {
    pub(super) fn io(what: impl AsRef<Path>) -> impl FnOnce(io::Error) -> ImportError {
        let what = what.as_ref().display().to_string();
        move |error| match error.kind() {
            io::ErrorKind::StorageFull => ImportError::Io {
                what: format!("{what}: the disk is full; free some space and import again"),
                error,
            },
            _ => ImportError::Io { what, error },
        }
    }
}

impl Images {
    /// Takes the bundle at `source` (a directory, or a plain `.tar` of one) into the store and
    /// makes it the image of its name. `progress` is told bytes done and bytes in total. When it
    /// returns `Ok`, the image is durable; when not, the store is as it was.
    ///
    /// Reads and writes whole images: not for an async task.
    pub fn import(
        &self,
        source: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Imported, ImportError> {
        let root = &self.0.root;
        let _lock = lock(root).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => ImportError::Busy,
            _ => ImportError::io(root)(error),
        })?;
        clean(root).map_err(ImportError::io(root))?;
        let mut source = Source::open(source)?;
        let text = source.manifest(MANIFEST, MANIFEST_LIMIT)?;
        let set = ImageSet::parse(&text)
            .map_err(|message| ImportError::Manifest { place: source.place(MANIFEST), message })?;
        let staging = Staging::new(root).map_err(ImportError::io(root))?;
        let (mut done, total) = (0, set.size());
        progress(0, total);
        source.each(&set.artifacts, &mut |artifact, place, from| {
            staging.take(artifact, place, from, &mut |bytes| {
                done += bytes;
                progress(done, total);
            })
        })?;
        self.reload().map_err(ImportError::io(root))?;
        let replaced = self.get(&set.name).map(|old| old.version.clone());
        staging.publish(root, &set, &text).map_err(ImportError::io(root))?;
        self.unmap();
        self.reload().map_err(ImportError::io(root))?;
        let set = self.get(&set.name).unwrap_or_else(|| Arc::new(set));
        Ok(Imported { set, bytes: total, replaced })
    }
}

/// Keeps other imports, of this process and others, out. `WouldBlock` if one is running.
pub(super) fn lock(root: &Path) -> io::Result<File> {
    let path = root.join("lock");
    let options = OpenOptions::new().create(true).truncate(false).write(true).clone();
    let file = options.open(&path).map_err(|error| named(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::WouldBlock, "another import is running"))
        }
        Err(TryLockError::Error(error)) => Err(named(&path, &error)),
    }
}

/// Removes what killed imports left, unless an import is running now.
pub(super) fn remove_leftovers(root: &Path) -> io::Result<()> {
    match lock(root) {
        Ok(_lock) => clean(root),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

/// The caller holds the lock.
fn clean(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(STAGING) {
            fs::remove_dir_all(&path).map_err(|error| named(&path, &error))?;
        }
    }
    Ok(())
}

/// A directory on the store's own file system, removed when the import ends in any way.
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next open.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Staging {
    fn new(root: &Path) -> io::Result<Staging> {
        let dir = root.join(format!("{STAGING}{}", uuid::Uuid::now_v7().simple()));
        fs::create_dir(&dir).map_err(|error| named(&dir, &error))?;
        Ok(Staging(dir))
    }

    /// Copies one file, checking it on the way.
    fn take(
        &self,
        artifact: &Artifact,
        place: &str,
        from: &mut dyn Read,
        copied: &mut dyn FnMut(u64),
    ) -> Result<(), ImportError> {
        let file = || place.to_owned();
        let staged = self.0.join(&artifact.sha256);
        let mut to = File::create(&staged).map_err(ImportError::io(&staged))?;
        let mut hash = Sha256::new();
        let mut found: u64 = 0;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let length = read(from, &mut buffer).map_err(ImportError::io(place))?;
            if length == 0 {
                break;
            }
            found += length as u64;
            if found > artifact.size {
                return Err(ImportError::Long { file: file(), expected: artifact.size });
            }
            hash.update(&buffer[..length]);
            to.write_all(&buffer[..length]).map_err(ImportError::io(&staged))?;
            copied(length as u64);
        }
        if found < artifact.size {
            return Err(ImportError::Short { file: file(), found, expected: artifact.size });
        }
        let found = hex::encode(hash.finalize());
        if found != artifact.sha256 {
            let expected = artifact.sha256.clone();
            return Err(ImportError::Changed { file: file(), found, expected });
        }
        to.set_permissions(fs::Permissions::from_mode(0o444))
            .and_then(|()| to.sync_all())
            .map_err(ImportError::io(&staged))
    }

    /// Blobs first, then the manifest that names them: whenever this is killed, every image that
    /// has a manifest is complete. A blob of the same name is replaced by the checked copy, which
    /// mends one that went bad.
    fn publish(&self, root: &Path, set: &ImageSet, text: &str) -> io::Result<()> {
        let manifest = self.0.join(MANIFEST);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o644).open(&manifest)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let blobs = root.join("blobs/sha256");
        for artifact in &set.artifacts {
            let staged = self.0.join(&artifact.sha256);
            // Two artifacts may be the same bytes, and so the same blob.
            if staged.exists() {
                fs::rename(&staged, blobs.join(&artifact.sha256))?;
            }
        }
        sync_dir(&blobs)?;
        let sets = root.join("sets");
        fs::rename(&manifest, sets.join(format!("{}.toml", set.name)))?;
        sync_dir(&sets)
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// `read` that a signal does not end.
fn read(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// SHA-256 of all that `from` gives, in lower-case hex.
pub(super) fn digest(from: &mut dyn Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match read(from, &mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            length => hash.update(&buffer[..length]),
        }
    }
}
