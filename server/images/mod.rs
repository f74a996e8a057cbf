//! The boot image store (layer 2), under `data_dir/images/`:
//!
//! - `blobs/sha256/<hex>`: the files themselves, named by what is in them, never changed;
//! - `sets/<name>.toml`: which files make an image, as its bundle said.
//!
//! `import` is the only way in, and it is all or nothing.

use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use memmap2::Mmap;

mod import;
mod loaders;
mod manifest;
mod own;
mod source;
mod verify;

pub use import::{ImportError, Imported};
pub use loaders::{Loaders, MissingLoader, Program};
pub use manifest::{Artifact, Compression, DiskImage, ImageSet, Kind, Os};
pub use own::{LoaderError, holds_loaders, import_loaders};
pub use verify::Problem;

/// Files kept mapped. A rack boots one or two images of three files each.
const OPEN_BLOBS: usize = 32;

/// A manifest larger than this is none.
const MANIFEST_LIMIT: u64 = 1 << 20;

/// A handle to the store; clones share it. The list of images is read at `open`, `reload` and
/// `import`, and answers from memory.
#[derive(Clone)]
pub struct Images(Arc<Inner>);

struct Inner {
    root: PathBuf,
    sets: ArcSwap<Sets>,
    /// Mapped blobs, most recently used last.
    open: Mutex<VecDeque<Mapped>>,
}

#[derive(Clone)]
struct Mapped {
    sha256: String,
    /// Of the file that is mapped.
    inode: u64,
    bytes: Bytes,
}

#[derive(Default)]
struct Sets {
    good: Vec<Arc<ImageSet>>,
    /// Manifests that cannot be used, and why.
    bad: Vec<Problem>,
}

impl Images {
    /// Opens the store in `data_dir`, makes it if there is none, and removes what a killed
    /// import left. A manifest that cannot be read is logged and told by `verify`; the other
    /// images stay usable.
    pub fn open(data_dir: &Path) -> io::Result<Images> {
        let root = data_dir.join("images");
        for dir in [root.join("blobs/sha256"), root.join("sets")] {
            fs::create_dir_all(&dir).map_err(|error| named(&dir, &error))?;
        }
        import::remove_leftovers(&root)?;
        let inner =
            Inner { root, sets: ArcSwap::from_pointee(Sets::default()), open: Mutex::default() };
        let images = Images(Arc::new(inner));
        images.reload()?;
        Ok(images)
    }

    /// Reads the list of images again: another process may have imported one, or put a sound file
    /// in the place of a damaged one.
    pub fn reload(&self) -> io::Result<()> {
        let is_there = |mapped: &Mapped| {
            fs::metadata(self.blob_path(&mapped.sha256))
                .is_ok_and(|file| file.ino() == mapped.inode)
        };
        self.mappings().retain(is_there);
        let sets = read_sets(&self.0.root.join("sets"))?;
        for problem in &sets.bad {
            tracing::warn!("{problem}");
        }
        self.0.sets.store(Arc::new(sets));
        Ok(())
    }

    /// All images, by name.
    pub fn list(&self) -> Vec<Arc<ImageSet>> {
        self.0.sets.load().good.clone()
    }

    pub fn get(&self, name: &str) -> Option<Arc<ImageSet>> {
        self.0.sets.load().good.iter().find(|set| set.name == name).cloned()
    }

    /// The image meant when none is named: the only one there is.
    pub fn only(&self) -> Option<Arc<ImageSet>> {
        match self.0.sets.load().good.as_slice() {
            [set] => Some(set.clone()),
            _ => None,
        }
    }

    /// What the blob is for; `None` if it belongs to no image.
    pub fn kind_of(&self, sha256: &str) -> Option<Kind> {
        self.artifact(sha256).map(|artifact| artifact.kind)
    }

    /// Where the blob is kept. `sha256` must be one of an `Artifact`.
    pub fn blob_path(&self, sha256: &str) -> PathBuf {
        self.0.root.join("blobs/sha256").join(sha256)
    }

    /// The blob's bytes, mapped: the page cache serves all blades from one copy.
    ///
    /// # Errors
    /// `NotFound` for what is no digest or no blob; `InvalidData`, with the file and what to do,
    /// for a blob whose size is not what its image says.
    pub fn open_blob(&self, sha256: &str) -> io::Result<Bytes> {
        if !manifest::is_sha256(sha256) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "this is no SHA-256"));
        }
        if let Some(bytes) = self.mapped(sha256) {
            return Ok(bytes);
        }
        let path = self.blob_path(sha256);
        let file = fs::File::open(&path).map_err(|error| named(&path, &error))?;
        let metadata = file.metadata()?;
        let (size, inode) = (metadata.len(), metadata.ino());
        if let Some(artifact) = self.artifact(sha256).filter(|artifact| artifact.size != size) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{}: has {size} bytes instead of {}; import the image again",
                    path.display(),
                    artifact.size
                ),
            ));
        }
        // SAFETY: a blob is never written after it got its name (`import` renames finished files
        // into place, mode 0444) and never truncated: it is replaced or removed as a whole, and
        // this mapping then keeps the old file. So the bytes do not change under the slice.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| named(&path, &error))?;
        let bytes = Bytes::from_owner(map);
        let mut open = self.mappings();
        if open.len() >= OPEN_BLOBS {
            open.pop_front();
        }
        open.push_back(Mapped { sha256: sha256.to_owned(), inode, bytes: bytes.clone() });
        Ok(bytes)
    }

    fn mapped(&self, sha256: &str) -> Option<Bytes> {
        let mut open = self.mappings();
        let found = open.iter().position(|mapped| mapped.sha256 == sha256)?;
        let entry = open.remove(found)?;
        open.push_back(entry.clone());
        Some(entry.bytes)
    }

    fn artifact(&self, sha256: &str) -> Option<Artifact> {
        let sets = self.0.sets.load();
        let mut artifacts = sets.good.iter().flat_map(|set| &set.artifacts);
        artifacts.find(|artifact| artifact.sha256 == sha256).cloned()
    }

    /// Forgets what is mapped: the files may have been replaced.
    fn unmap(&self) {
        self.mappings().clear();
    }

    /// A panic while the lock was held leaves a list that is whole.
    fn mappings(&self) -> MutexGuard<'_, VecDeque<Mapped>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_sets(dir: &Path) -> io::Result<Sets> {
    let mut sets = Sets::default();
    for entry in fs::read_dir(dir).map_err(|error| named(dir, &error))? {
        let path = entry?.path();
        match read_set(&path) {
            Ok(set) => sets.good.push(Arc::new(set)),
            Err(what) => sets.bad.push(Problem {
                file: path,
                what: format!("{what}; import the image again, or remove this file"),
                fatal: true,
            }),
        }
    }
    sets.good.sort_by(|a, b| a.name.cmp(&b.name));
    sets.bad.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(sets)
}

fn read_set(path: &Path) -> Result<ImageSet, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MANIFEST_LIMIT {
        return Err(format!("has {size} bytes; a manifest has a few hundred"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let set = ImageSet::parse(&text)?;
    if path.file_name().and_then(|name| name.to_str()) != Some(&format!("{}.toml", set.name)) {
        return Err(format!("holds image {}, which its name does not say", set.name));
    }
    Ok(set)
}

/// The same error with the file's name in it.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
