//! `apply`: shows what would change, then changes it, all or nothing.

use std::{fs, io::Read, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{
    client::{Client, Remote},
    say::{plain, say},
};

#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Inventory files (TOML); - reads the standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Remove what the files do not name
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    remote: Remote,
}

/// One difference, as the daemon tells it (`inventory::Change`).
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Change {
    pub action: String,
    pub kind: String,
    pub name: String,
    pub fields: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Applied {
    changes: Vec<Change>,
}

pub async fn run(args: ApplyArgs) -> anyhow::Result<ExitCode> {
    let files = args.files.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let client = Client::new(&args.remote)?;
    let request = |dry_run| json!({ "files": &files, "dry_run": dry_run, "prune": args.prune });
    let shown: Applied = serde_json::from_value(client.post("/apply", &request(true)).await?)?;
    say(&difference(&shown.changes))?;
    if shown.changes.is_empty() {
        say("nothing changes\n")?;
    } else if args.dry_run {
        say(&format!("{}; nothing was written (--dry-run)\n", counts(&shown.changes)))?;
    } else {
        let done: Applied = serde_json::from_value(client.post("/apply", &request(false)).await?)?;
        if done.changes != shown.changes {
            say(&format!(
                "somebody else changed the inventory meanwhile; written was:\n{}",
                difference(&done.changes)
            ))?;
        }
        say(&format!("{}; written\n", counts(&done.changes)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &PathBuf) -> anyhow::Result<(String, String)> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        return Ok(("standard input".to_owned(), text));
    }
    let name = path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| name.clone())?;
    Ok((name, text))
}

/// `+` added, `~` changed with its fields, `-` removed.
pub fn difference(changes: &[Change]) -> String {
    let mut out = String::new();
    for change in changes {
        let sign = match change.action.as_str() {
            "add" => '+',
            "remove" => '-',
            _ => '~',
        };
        out.push_str(&format!("{sign} {} {}\n", plain(&change.kind), plain(&change.name)));
        out.extend(change.fields.iter().map(|field| format!("    {}\n", plain(field))));
    }
    out
}

fn counts(changes: &[Change]) -> String {
    let count = |action: &str| changes.iter().filter(|change| change.action == action).count();
    format!("{} added, {} changed, {} removed", count("add"), count("change"), count("remove"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_is_added_changed_and_removed() {
        let change = |action: &str, kind: &str, name: &str, fields: &[&str]| Change {
            action: action.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        };
        let changes = [
            change("add", "rack", "r2", &[]),
            change(
                "change",
                "blade",
                "r1-c1-b01",
                &["ip: \"10.12.1.1\" → \"10.12.1.9\"", "arch: (none) → \"arm64\""],
            ),
            change("remove", "cluster", "old", &[]),
        ];
        insta::assert_snapshot!(format!("{}{}", difference(&changes), counts(&changes)), @r#"
        + rack r2
        ~ blade r1-c1-b01
            ip: "10.12.1.1" → "10.12.1.9"
            arch: (none) → "arm64"
        - cluster old
        1 added, 1 changed, 1 removed
        "#);
    }
}
