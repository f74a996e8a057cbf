//! Taking boot programs in: an operator's own file, or a bundle that `make loaders` made.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::loaders::{LIMIT, is_plain};
use crate::boot;

/// How files of boot programs end; anything else that is imported is meant as a boot image.
const ENDINGS: [&str; 7] = ["efi", "0", "kpxe", "kkpxe", "pxe", "c32", "lkrn"];

/// The list of a bundle.
const LIST: &str = "loaders.toml";

#[derive(Deserialize)]
struct List {
    loader: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    size: u64,
    sha256: String,
}

/// Why nothing was taken in; the text names the file and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", place.display())]
pub struct LoaderError {
    place: PathBuf,
    what: String,
}

impl LoaderError {
    fn new(place: &Path, what: impl ToString) -> LoaderError {
        LoaderError { place: place.to_owned(), what: what.to_string() }
    }
}

/// True if this is what [`import_loaders`] takes, and not a boot image.
pub fn holds_loaders(source: &Path) -> bool {
    let ending = source.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match source.is_dir() {
        true => source.join(LIST).is_file(),
        false => ENDINGS.contains(&ending),
    }
}

/// Takes a boot program, or all of a bundle, into `data_dir/loaders`: checked first, written
/// whole and durable, each in the place of the one of its name. Returns the names.
///
/// # Errors
/// A file that is not what its name or the bundle's list says; then nothing was taken in.
pub fn import_loaders(data_dir: &Path, source: &Path) -> Result<Vec<String>, LoaderError> {
    let programs = if source.is_dir() { read_bundle(source)? } else { vec![read(source, None)?] };
    let folder = data_dir.join("loaders");
    fs::create_dir_all(&folder).map_err(|error| LoaderError::new(&folder, error))?;
    for (name, bytes) in &programs {
        write(&folder, name, bytes).map_err(|error| LoaderError::new(&folder.join(name), error))?;
    }
    let synced = fs::File::open(&folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| LoaderError::new(&folder, error))?;
    Ok(programs.into_iter().map(|(name, _)| name).collect())
}

fn read_bundle(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, LoaderError> {
    let list = folder.join(LIST);
    let text = fs::read_to_string(&list).map_err(|error| LoaderError::new(&list, error))?;
    let list: List =
        toml::from_str(&text).map_err(|error| LoaderError::new(&list, error.message()))?;
    list.loader.iter().map(|entry| read(&folder.join(&entry.name), Some(entry))).collect()
}

fn read(path: &Path, entry: Option<&Entry>) -> Result<(String, Vec<u8>), LoaderError> {
    let wrong = |what: &dyn ToString| LoaderError::new(path, what.to_string());
    let name = entry.map_or(path.file_name().and_then(|name| name.to_str()), |e| Some(&e.name));
    let Some(name) = name.filter(|name| is_plain(name)) else {
        return Err(wrong(&"a boot program's name is letters, digits, dots, hyphens, underscores"));
    };
    // A link would be followed out of the bundle.
    let found = fs::symlink_metadata(path).map_err(|error| wrong(&error))?;
    if !found.is_file() || found.len() > LIMIT {
        return Err(wrong(&format!("is no file of at most {} MiB", LIMIT >> 20)));
    }
    let bytes = fs::read(path).map_err(|error| wrong(&error))?;
    if let Some(entry) = entry {
        let sha256 = hex::encode(Sha256::digest(&bytes));
        if (bytes.len() as u64, &sha256) != (entry.size, &entry.sha256) {
            return Err(wrong(&format!(
                "{} bytes, SHA-256 {sha256}, and loaders.toml says {} and {}; make or copy the \
                 bundle again",
                bytes.len(),
                entry.size,
                entry.sha256
            )));
        }
    }
    boot::fits_name(name, &bytes).map_err(|why| wrong(&why))?;
    Ok((name.to_owned(), bytes))
}

/// Into place by a rename: a transfer that runs keeps the old bytes, none sees a part.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let staged = folder.join(format!(".{name}.new"));
    let options =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).clone();
    let mut file = options.open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(staged, folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(dir: &Path, sha256: &str) -> PathBuf {
        let folder = dir.join("bundle");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("one.0"), "octets").unwrap();
        let list = format!("[[loader]]\nname = \"one.0\"\nsize = 6\nsha256 = \"{sha256}\"\n");
        fs::write(folder.join(LIST), list).unwrap();
        folder
    }

    #[test]
    fn a_bundle_is_taken_in_whole_and_an_operators_own_file_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let right = hex::encode(Sha256::digest("octets"));
        let folder = bundle(dir.path(), &right);
        assert!(holds_loaders(&folder) && !holds_loaders(dir.path()));
        assert_eq!(import_loaders(dir.path(), &folder).unwrap(), ["one.0"]);
        let own = dir.path().join("one.0");
        fs::write(&own, "mine").unwrap();
        import_loaders(dir.path(), &own).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("loaders/one.0")).unwrap(), "mine");
        assert_eq!(fs::read_dir(dir.path().join("loaders")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_what_it_says_is_refused_and_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let folder = bundle(dir.path(), &"0".repeat(64));
        let told = import_loaders(dir.path(), &folder).unwrap_err().to_string();
        assert!(told.contains("one.0: 6 bytes") && told.contains("make or copy"), "{told}");
        let own = dir.path().join("own.efi");
        fs::write(&own, "no program").unwrap();
        let told = import_loaders(dir.path(), &own).unwrap_err().to_string();
        assert!(told.contains("own.efi: own.efi is no UEFI program"), "{told}");
        assert!(!dir.path().join("loaders").exists());
    }
}
