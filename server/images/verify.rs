//! Is what is stored still what was imported?

use std::{collections::BTreeMap, fmt, fs, io, path::PathBuf};

use super::{Images, import, named};

/// Something wrong with a file of the store; prints as `file: what and what to do`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    pub what: String,
    /// False for what only takes up space.
    pub fatal: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = if self.fatal { "" } else { "warning: " };
        write!(f, "{warning}{}: {}", self.file.display(), self.what)
    }
}

impl Images {
    /// Compares every blob with what the images say: its size, and with `deep` every byte of it.
    /// Empty if all is well. Reads the disk: not for the packet path.
    pub fn verify(&self, deep: bool) -> io::Result<Vec<Problem>> {
        self.reload()?;
        let sets = self.0.sets.load_full();
        let mut problems = sets.bad.clone();
        let mut wanted = BTreeMap::new();
        for set in &sets.good {
            for artifact in &set.artifacts {
                let users = wanted.entry(&artifact.sha256).or_insert((artifact.size, Vec::new()));
                users.1.push(format!("{} of {}", artifact.path, set.name));
            }
        }
        for (sha256, (size, users)) in &wanted {
            let file = self.blob_path(sha256);
            if let Some(what) = self.fault(sha256, *size, deep) {
                let what = format!("{what} ({}); import it again", users.join(", "));
                problems.push(Problem { file, what, fatal: true });
            }
        }
        for file in self.orphans()? {
            let what = "belongs to no image; `firstlight image gc` removes it".to_owned();
            problems.push(Problem { file, what, fatal: false });
        }
        Ok(problems)
    }

    fn fault(&self, sha256: &str, size: u64, deep: bool) -> Option<String> {
        let path = self.blob_path(sha256);
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some("is missing".to_owned());
            }
            Err(error) => return Some(format!("cannot be read: {error}")),
            Ok(found) if !found.is_file() => return Some("is no regular file".to_owned()),
            Ok(found) => found.len(),
        };
        if found < size {
            return Some(format!("is short: {found} bytes of {size}"));
        }
        if found > size {
            return Some(format!("is too long: {found} bytes instead of {size}"));
        }
        if !deep {
            return None;
        }
        match fs::File::open(&path).and_then(|mut file| import::digest(&mut file)) {
            Err(error) => Some(format!("cannot be read: {error}")),
            Ok(found) if found == sha256 => None,
            Ok(found) => Some(format!("was changed: its SHA-256 is {found}")),
        }
    }

    /// Removes blobs that no image names; returns the bytes that were freed. A blade that is
    /// being sent one keeps it until it is through.
    pub fn gc(&self) -> io::Result<u64> {
        let _lock = import::lock(&self.0.root)?;
        self.reload()?;
        if let Some(bad) = self.0.sets.load().bad.first() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("nothing was removed, because it is not known what {bad}"),
            ));
        }
        self.unmap();
        let mut freed = 0;
        for path in self.orphans()? {
            freed += fs::symlink_metadata(&path).map(|found| found.len()).unwrap_or(0);
            fs::remove_file(&path).map_err(|error| named(&path, &error))?;
        }
        Ok(freed)
    }

    fn orphans(&self) -> io::Result<Vec<PathBuf>> {
        let sets = self.0.sets.load();
        let used =
            |name: &str| sets.good.iter().flat_map(|set| &set.artifacts).any(|a| a.sha256 == name);
        let mut orphans = Vec::new();
        for entry in fs::read_dir(self.blob_path(""))? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(used) {
                orphans.push(entry.path());
            }
        }
        orphans.sort();
        Ok(orphans)
    }
}
