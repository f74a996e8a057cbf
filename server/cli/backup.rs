//! `backup` and `restore`: one file with the whole database and the daemon's keys.
//!
//! Lines of JSON: those of `db::dump` (arrays), then `{"key": name, "data": base64}` for each
//! file of `data_dir/keys`, then `{"lines": n}`, without which the file was cut short.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use serde_json::{Value, json};

use super::{
    Config as ConfigArg,
    client::{Client, Remote},
    say::say,
};
use crate::{
    daemon,
    db::{self, Db},
};

#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to write; it holds secrets (mode 0600)
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArg,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// A file that backup wrote
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArg,
}

pub async fn backup(args: BackupArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = args.config.read() else { return Ok(ExitCode::from(2)) };
    let dump = Client::new(&args.remote)?.text("/backup").await?;
    let keys = read_keys(&config.data_dir.join("keys"))?;
    let text = pack(dump, &keys);
    write_whole(&args.file, text.as_bytes())?;
    say(&format!(
        "{}: {} rows, {} keys; boot images are not in it\n",
        args.file.display(),
        text.lines().count() - keys.len() - 2,
        keys.len()
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub async fn restore(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = args.config.read() else { return Ok(ExitCode::from(2)) };
    let name = args.file.display().to_string();
    let text = fs::read_to_string(&args.file).with_context(|| name.clone())?;
    let (dump, keys) = unpack(&text).with_context(|| name.clone())?;
    fs::create_dir_all(&config.data_dir).with_context(|| config.data_dir.display().to_string())?;
    // As long as it is held, no daemon can start on what is half-way.
    let _lock = daemon::lock(&config.data_dir)?;
    let written = write_keys(&config.data_dir.join("keys"), &keys)?;
    let restored = async {
        let db = Db::open(&config.database, &config.data_dir).await?;
        let loaded = db::load(&db, dump).await;
        db.close().await;
        loaded
    };
    if let Err(error) = restored.await {
        for file in written {
            let _ = fs::remove_file(file);
        }
        return Err(anyhow::Error::new(error).context(format!("{name}: nothing was restored")));
    }
    say(&format!(
        "restored {} rows and {} keys; now start the daemon\n",
        dump.lines().count() - 1,
        keys.len()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// A key's file name and its bytes.
type Key = (String, Vec<u8>);

fn read_keys(dir: &Path) -> anyhow::Result<Vec<Key>> {
    let why = || {
        format!(
            "the daemon's keys in {}: name its configuration with --config, and run as its user",
            dir.display()
        )
    };
    let mut keys = Vec::new();
    for entry in fs::read_dir(dir).with_context(why)? {
        let entry = entry.with_context(why)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_key_name(&name) && entry.file_type()?.is_file() {
            keys.push((name, fs::read(entry.path()).with_context(why)?));
        }
    }
    keys.sort();
    Ok(keys)
}

/// A plain file name; a draft (`.new`) of a key being made is none.
fn is_key_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=100).contains(&name.len())
        && name.chars().all(legal)
        && !name.starts_with('.')
        && !name.ends_with(".new")
}

fn pack(mut dump: String, keys: &[Key]) -> String {
    for (name, data) in keys {
        dump.push_str(&format!("{}\n", json!({ "key": name, "data": STANDARD.encode(data) })));
    }
    let lines = dump.lines().count();
    dump.push_str(&format!("{}\n", json!({ "lines": lines })));
    dump
}

/// The database's lines and the keys. The error names the line.
fn unpack(text: &str) -> anyhow::Result<(&str, Vec<Key>)> {
    let rows_end = text.find("\n{").map_or(text.len(), |at| at + 1);
    let (dump, rest) = text.split_at(rows_end);
    let rows = dump.lines().count();
    let mut keys = Vec::new();
    let mut lines = None;
    for (index, line) in rest.lines().enumerate() {
        let number = rows + index + 1;
        let bad =
            || format!("line {number}: is no line of a backup; was it cut short? copy it again");
        ensure!(lines.is_none(), "line {number}: comes after the end");
        let value: Value = serde_json::from_str(line).with_context(bad)?;
        match (value["key"].as_str(), value["data"].as_str(), value["lines"].as_u64()) {
            (Some(name), Some(data), None) if is_key_name(name) => {
                keys.push((name.to_owned(), STANDARD.decode(data).with_context(bad)?));
            }
            (None, None, Some(told)) => lines = Some(told),
            _ => bail!(bad()),
        }
    }
    let found = (rows + keys.len()) as u64;
    match lines {
        Some(told) if told == found => Ok((dump, keys)),
        Some(told) => bail!("holds {found} lines instead of {told}; copy it again"),
        None => bail!(
            "its end is missing: it is no backup of Firstlight, or was cut short; copy it again"
        ),
    }
}

/// Writes the keys that are not there; returns their files. Another key of the same name is an
/// error, and nothing is written.
fn write_keys(dir: &Path, keys: &[Key]) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let mut missing = Vec::new();
    for (name, data) in keys {
        let file = dir.join(name);
        match fs::read(&file) {
            Ok(found) if found == *data => {}
            Ok(_) => bail!(
                "{} is another key than that of the backup; restore needs a new data_dir",
                file.display()
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push((file, data)),
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        }
    }
    let mut written = Vec::new();
    for (file, data) in missing {
        write_whole(&file, data)?;
        written.push(file);
    }
    Ok(written)
}

/// Mode 0600; whole or not at all, also when power fails.
fn write_whole(file: &Path, data: &[u8]) -> anyhow::Result<()> {
    let shown = || file.display().to_string();
    let dir = match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let name = file.file_name().with_context(shown)?.to_string_lossy();
    let draft = dir.join(format!(".{name}.{}", std::process::id()));
    let write = || {
        let mut out =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        out.write_all(data)?;
        out.sync_all()?;
        fs::rename(&draft, file)?;
        fs::File::open(dir)?.sync_all()
    };
    write().inspect_err(|_| drop(fs::remove_file(&draft))).with_context(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "[\"firstlight-backup-1\"]\n[\"racks\",\"r1\",0]\n";

    #[test]
    fn what_is_packed_is_unpacked() {
        let keys = vec![("boot.key".to_owned(), vec![0, 255, 7])];
        let text = pack(DUMP.to_owned(), &keys);
        assert_eq!(unpack(&text).unwrap(), (DUMP, keys));
        assert_eq!(text.lines().last(), Some("{\"lines\":3}"));
    }

    #[test]
    fn a_backup_cut_short_anywhere_is_refused() {
        let text = pack(DUMP.to_owned(), &[("boot.key".to_owned(), vec![1; 32])]);
        for end in 0..text.len() - 1 {
            assert!(unpack(&text[..end]).is_err(), "{end}");
        }
        assert!(unpack(&text.replace("[\"racks\",\"r1\",0]\n", "")).is_err());
    }

    #[test]
    fn a_key_cannot_be_written_elsewhere() {
        for name in ["../x", "/etc/passwd", "..", "", "a/b", ".hidden"] {
            let text =
                format!("{DUMP}{}\n{{\"lines\":3}}\n", json!({ "key": name, "data": "AAAA" }));
            assert!(unpack(&text).is_err(), "{name}");
        }
    }

    #[test]
    fn another_key_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let keys =
            [("boot.key".to_owned(), b"one".to_vec()), ("ca.key".to_owned(), b"ca".to_vec())];
        assert_eq!(write_keys(dir.path(), &keys[..1]).unwrap(), [dir.path().join("boot.key")]);
        assert_eq!(write_keys(dir.path(), &keys).unwrap(), [dir.path().join("ca.key")]);
        let other =
            [("new.key".to_owned(), b"n".to_vec()), ("boot.key".to_owned(), b"two".to_vec())];
        assert!(write_keys(dir.path(), &other).unwrap_err().to_string().contains("another key"));
        assert!(!dir.path().join("new.key").exists());
    }
}
