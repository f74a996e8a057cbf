//! What the daemon knows, for people and scripts: get, describe, render, export.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::{
    client::{Client, Remote, segment},
    lists::{described, listed, text},
    say::{say, say_json},
};
use crate::journal;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For scripts: stable
    Json,
    /// The same as TOML
    Toml,
}

/// What can be listed and described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    #[value(alias = "blade")]
    Blades,
    #[value(alias = "rack")]
    Racks,
    #[value(alias = "cluster")]
    Clusters,
    #[value(alias = "topology")]
    Topologies,
    #[value(alias = "image")]
    Images,
    #[value(alias = "lease")]
    Leases,
    #[value(alias = "event")]
    Events,
    #[value(alias = "attempt")]
    Attempts,
    /// Machines that wait to be racked
    #[value(alias = "machine")]
    Discovered,
}

impl Kind {
    /// As the API calls it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Blades => "blades",
            Kind::Racks => "racks",
            Kind::Clusters => "clusters",
            Kind::Topologies => "topologies",
            Kind::Images => "images",
            Kind::Leases => "leases",
            Kind::Events => "events",
            Kind::Attempts => "attempts",
            Kind::Discovered => "discovered",
        }
    }
}

#[derive(Debug, Args)]
pub struct GetArgs {
    #[arg(value_enum)]
    kind: Kind,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// Events and attempts: only of this blade
    #[arg(long, value_name = "NAME")]
    blade: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub struct DescribeArgs {
    #[arg(value_enum)]
    kind: Kind,
    /// Its name; of a lease the address, of an event or attempt the id, of a machine the MAC
    name: String,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub struct RenderArgs {
    blade: String,
    /// The documents' format [default: that of the blade's boot image]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    CloudInit,
    Coreos,
    Ignition,
}

pub async fn get(args: GetArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.remote)?;
    let filter = match &args.blade {
        None => String::new(),
        Some(blade) if matches!(args.kind, Kind::Events | Kind::Attempts) => {
            format!("?blade={}", segment(blade)?)
        }
        Some(_) => anyhow::bail!("--blade goes with events and attempts only"),
    };
    let word = args.kind.word();
    let list: Value = client.get(&format!("/{word}{filter}")).await?;
    args.output
        .show(&list, word, || listed(args.kind, &list, journal::now(), &TimeZone::system()))?;
    Ok(ExitCode::SUCCESS)
}

pub async fn describe(args: DescribeArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.remote)?;
    let word = args.kind.word();
    let value: Value = match args.kind {
        Kind::Blades | Kind::Clusters => {
            client.get(&format!("/{word}/{}", segment(&args.name)?)).await?
        }
        Kind::Discovered => {
            let mac: crate::blade::Mac = args.name.parse()?;
            client.get(&format!("/{word}/{mac}")).await?
        }
        _ => {
            let list: Value = client.get(&format!("/{word}")).await?;
            let found =
                list.as_array().into_iter().flatten().find(|item| is_named(item, &args.name));
            found.cloned().ok_or_else(|| {
                anyhow::anyhow!(
                    "there is none of the {word} called {:?} (firstlight get {word})",
                    args.name
                )
            })?
        }
    };
    args.output.show(&value, word, || described(&value, journal::now(), &TimeZone::system()))?;
    Ok(ExitCode::SUCCESS)
}

fn is_named(item: &Value, name: &str) -> bool {
    ["name", "topology", "id", "ip", "mac", "blade"].iter().any(|key| text(&item[*key]) == name)
}

pub async fn render(args: RenderArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.remote)?;
    let format = args.format.and_then(|format| format.to_possible_value());
    let query = format.map(|format| format!("?format={}", format.get_name())).unwrap_or_default();
    let files: Map<String, Value> =
        client.get(&format!("/blades/{}/render{query}", segment(&args.blade)?)).await?;
    if args.output == Output::Json {
        say_json(&files)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (index, (name, content)) in files.iter().enumerate() {
        let content = content.as_str().unwrap_or_default();
        // One document alone can be given to a validator as it is.
        if files.len() > 1 {
            say(&format!("{}# ---- {name} ----\n", if index > 0 { "\n" } else { "" }))?;
        }
        say(content)?;
        if !content.ends_with('\n') {
            say("\n")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn export(remote: &Remote) -> anyhow::Result<ExitCode> {
    say(&Client::new(remote)?.text("/export").await?)?;
    Ok(ExitCode::SUCCESS)
}

/// The same value as TOML, under `key` where it is a list. TOML has no null: such keys are left
/// out.
pub fn toml_of(value: &Value, key: &str) -> anyhow::Result<String> {
    fn without_null(value: &Value) -> Value {
        match value {
            Value::Array(items) => {
                items.iter().filter(|item| !item.is_null()).map(without_null).collect()
            }
            Value::Object(map) => {
                let kept = map.iter().filter(|(_, value)| !value.is_null());
                Value::Object(kept.map(|(key, value)| (key.clone(), without_null(value))).collect())
            }
            other => other.clone(),
        }
    }
    let value = without_null(value);
    let value = if value.is_object() { value } else { json!({ key: value }) };
    Ok(toml::to_string_pretty(&value)?)
}
