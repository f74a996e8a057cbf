//! Where a bundle comes from: a directory, or a plain tar of one. Hostile until checked: no
//! link is followed, and nothing is ever written under a name that the source gives.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read, Seek},
    path::{Component, Path, PathBuf},
};

use super::{Artifact, ImportError};

pub(super) enum Source {
    Dir(PathBuf),
    Tar {
        path: PathBuf,
        file: File,
        /// The directory inside of the archive that the bundle is in; empty for none.
        prefix: PathBuf,
    },
}

type Take<'a> = dyn FnMut(&Artifact, &str, &mut dyn Read) -> Result<(), ImportError> + 'a;

impl Source {
    pub fn open(path: &Path) -> Result<Source, ImportError> {
        let found = fs::metadata(path).map_err(ImportError::io(path))?;
        if found.is_dir() {
            return Ok(Source::Dir(path.to_owned()));
        }
        if !found.is_file() {
            return Err(ImportError::NoBundle(path.to_owned()));
        }
        let file = File::open(path).map_err(ImportError::io(path))?;
        Ok(Source::Tar { path: path.to_owned(), file, prefix: PathBuf::new() })
    }

    /// How messages call a file of the bundle.
    pub fn place(&self, name: &str) -> String {
        match self {
            Source::Dir(dir) => dir.join(name).display().to_string(),
            Source::Tar { path, .. } => format!("{}: {name}", path.display()),
        }
    }

    /// The text of the manifest.
    pub fn manifest(&mut self, name: &str, limit: u64) -> Result<String, ImportError> {
        let place = self.place(name);
        let mut text = String::new();
        let bytes = match self {
            Source::Dir(dir) => {
                if !dir.join(name).try_exists().unwrap_or(true) {
                    return Err(ImportError::NoBundle(dir.clone()));
                }
                let mut file = open_inside(dir, name, &place)?;
                file.by_ref().take(limit + 1).read_to_string(&mut text)
            }
            Source::Tar { path, file, prefix } => {
                let none = || ImportError::NoBundle(path.clone());
                let mut archive = tar::Archive::new(&mut *file);
                let mut entries = archive.entries_with_seek().map_err(|_| none())?;
                let found = entries.find_map(|entry| {
                    let entry = entry.ok()?;
                    let inside = entry.path().ok()?.into_owned();
                    let inside = inside.strip_prefix(".").unwrap_or(&inside).to_owned();
                    let depth = inside.components().count();
                    let ours = inside.file_name() == Some(name.as_ref()) && depth <= 2;
                    ours.then_some((entry, inside))
                });
                let (mut entry, inside) = found.ok_or_else(none)?;
                plain(&entry, &place)?;
                *prefix = inside.parent().map(Path::to_owned).unwrap_or_default();
                entry.by_ref().take(limit + 1).read_to_string(&mut text)
            }
        }
        .map_err(ImportError::io(&place))?;
        if bytes as u64 > limit {
            let message = format!("has more than {limit} bytes; a manifest has a few hundred");
            return Err(ImportError::Manifest { place, message });
        }
        Ok(text)
    }

    /// Hands every artifact's bytes to `take`, each once.
    pub fn each(&mut self, artifacts: &[Artifact], take: &mut Take<'_>) -> Result<(), ImportError> {
        let places: Vec<String> = artifacts.iter().map(|a| self.place(&a.path)).collect();
        match self {
            Source::Dir(dir) => {
                // All sizes first: a bundle that was cut off is refused at once.
                let mut files = Vec::new();
                for (artifact, place) in artifacts.iter().zip(&places) {
                    let file = open_inside(dir, &artifact.path, place)?;
                    let found = file.metadata().map_err(ImportError::io(place))?.len();
                    right_size(artifact, found, place)?;
                    files.push(file);
                }
                for ((artifact, place), mut file) in artifacts.iter().zip(&places).zip(files) {
                    take(artifact, place, &mut file)?;
                }
                Ok(())
            }
            Source::Tar { path, file, prefix } => {
                file.rewind().map_err(ImportError::io(&*path))?;
                each_of_tar(path, file, prefix, artifacts, take)
            }
        }
    }
}

fn each_of_tar(
    path: &Path,
    file: &mut File,
    prefix: &Path,
    artifacts: &[Artifact],
    take: &mut Take<'_>,
) -> Result<(), ImportError> {
    let place = |name: &str| format!("{}: {name}", path.display());
    let mut taken = HashSet::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(ImportError::io(path))? {
        let mut entry = entry.map_err(ImportError::io(path))?;
        let name = entry.path().map_err(ImportError::io(path))?.into_owned();
        let inside =
            name.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Err(ImportError::Outside(place(&name.display().to_string())));
        }
        let name = name.strip_prefix(".").unwrap_or(&name);
        let Ok(name) = name.strip_prefix(prefix) else { continue };
        let Some(artifact) = artifacts.iter().find(|artifact| Path::new(&artifact.path) == name)
        else {
            continue;
        };
        let place = place(&artifact.path);
        plain(&entry, &place)?;
        if !taken.insert(&artifact.path) {
            return Err(ImportError::Twice(place));
        }
        right_size(artifact, entry.size(), &place)?;
        take(artifact, &place, &mut entry)?;
    }
    match artifacts.iter().find(|artifact| !taken.contains(&artifact.path)) {
        Some(artifact) => Err(ImportError::Missing(place(&artifact.path))),
        None => Ok(()),
    }
}

fn plain<R: Read>(entry: &tar::Entry<'_, R>, place: &str) -> Result<(), ImportError> {
    match entry.header().entry_type() {
        kind if kind.is_symlink() => Err(ImportError::Symlink(place.to_owned())),
        kind if kind.is_file() => Ok(()),
        _ => Err(ImportError::NotAFile(place.to_owned())),
    }
}

fn right_size(artifact: &Artifact, found: u64, place: &str) -> Result<(), ImportError> {
    let (file, expected) = (place.to_owned(), artifact.size);
    match found {
        found if found < expected => Err(ImportError::Short { file, found, expected }),
        found if found > expected => Err(ImportError::Long { file, expected }),
        _ => Ok(()),
    }
}

/// Opens a regular file of the bundle, refusing a link at any step of `name`. The type is asked
/// before opening, because opening a FIFO would wait for ever.
fn open_inside(dir: &Path, name: &str, place: &str) -> Result<File, ImportError> {
    let mut path = dir.to_owned();
    let mut found = None;
    for part in name.split('/') {
        path.push(part);
        let step = fs::symlink_metadata(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ImportError::Missing(place.to_owned()),
            _ => ImportError::io(place)(error),
        })?;
        if step.is_symlink() {
            return Err(ImportError::Symlink(path.display().to_string()));
        }
        found = Some(step);
    }
    if !found.is_some_and(|found| found.is_file()) {
        return Err(ImportError::NotAFile(place.to_owned()));
    }
    File::open(&path).map_err(ImportError::io(place))
}
