//! What the daemon knows, for people and scripts: get, describe, render, export.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::{
    client::{Client, Remote, segment},
    say::{plain, say, say_json},
    table::{moment, size, span, table, when},
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
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Blades => "blades",
            Kind::Racks => "racks",
            Kind::Clusters => "clusters",
            Kind::Topologies => "topologies",
            Kind::Images => "images",
            Kind::Leases => "leases",
            Kind::Events => "events",
            Kind::Attempts => "attempts",
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
    /// Its name; of a lease the address, of an event or attempt the id
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

/// A JSON value as a cell.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// A list as a table.
pub fn listed(kind: Kind, list: &Value, now: i64, zone: &TimeZone) -> String {
    let items: &[Value] = list.as_array().map_or(&[], Vec::as_slice);
    if items.is_empty() {
        return format!("there are no {}\n", kind.word());
    }
    let rows = |cells: &dyn Fn(&Value) -> Vec<String>| items.iter().map(cells).collect::<Vec<_>>();
    let keys =
        |item: &Value, keys: &[&str]| keys.iter().map(|key| text(&item[*key])).collect::<Vec<_>>();
    let time = |item: &Value, key: &str| {
        item[key].as_i64().map(|at| when(at, now, zone)).unwrap_or_default()
    };
    match kind {
        Kind::Blades => table(
            &["BLADE", "SLOT", "MAC", "IP", "CLUSTER", "ROLE", "STATE", "PHASE", "%", "LAST SEEN"],
            &rows(&|item| {
                let place = keys(item, &["rack", "chassis", "slot"]);
                let mut cells = vec![
                    text(&item["name"]),
                    if place[2].is_empty() { String::new() } else { place.join("/") },
                ];
                cells.extend(keys(
                    item,
                    &["macs", "ip", "cluster", "role", "class", "phase", "percent"],
                ));
                cells.push(time(item, "last_seen"));
                cells
            }),
        ),
        Kind::Racks => racks(items),
        Kind::Clusters => table(
            &["CLUSTER", "TOPOLOGY", "IMAGE", "BLADES", "READY", "FAILED"],
            &rows(&|item| {
                let mut cells =
                    keys(item, &["name", "topology", "image", "blades", "ready", "failed"]);
                cells[3] = item["blades"].as_array().map_or(0, Vec::len).to_string();
                cells
            }),
        ),
        Kind::Topologies => table(
            &["ENTRY", "TOPOLOGY", "BLADES", "AVAILABLE", "WHAT IT IS"],
            &rows(&|item| {
                let mut cells = keys(item, &["id", "topology", "min_blades", "available", "title"]);
                cells[2] = format!("{}+", cells[2]);
                cells
            }),
        ),
        Kind::Images => table(
            &["IMAGE", "VERSION", "SYSTEM", "ARCH", "SIZE", "FILES"],
            &rows(&|item| {
                let artifacts = item["artifacts"].as_array().map_or(&[] as &[Value], Vec::as_slice);
                let mut arches: Vec<String> =
                    artifacts.iter().map(|artifact| text(&artifact["arch"])).collect();
                arches.sort();
                arches.dedup();
                let system = keys(item, &["os", "os_version"]).join(" ");
                let bytes = size(item["size"].as_u64().unwrap_or(0));
                vec![
                    text(&item["name"]),
                    text(&item["version"]),
                    system,
                    arches.join(" "),
                    bytes,
                    artifacts.len().to_string(),
                ]
            }),
        ),
        Kind::Leases => table(
            &["IP", "MAC", "STATE", "UNTIL", "HOST NAME"],
            &rows(&|item| {
                let mut cells = keys(item, &["ip", "mac", "state"]);
                cells.extend([time(item, "until"), text(&item["hostname"])]);
                cells
            }),
        ),
        Kind::Events => table(
            &["ID", "TIME", "KIND", "BLADE", "PHASE", "WHAT"],
            &rows(&|item| event_row(item, zone)),
        ),
        Kind::Attempts => table(
            &[
                "BLADE", "NO", "TRY", "CLUSTER", "ROLE", "PHASE", "OUTCOME", "BEGAN", "TOOK",
                "REASON",
            ],
            &rows(&|item| attempt_row(item, now, zone)),
        ),
    }
}

fn event_row(item: &Value, zone: &TimeZone) -> Vec<String> {
    let at = item["at"].as_i64().map(|at| moment(at, zone)).unwrap_or_default();
    let cell = |key: &str| text(&item[key]);
    vec![cell("id"), at, cell("kind"), cell("blade"), cell("phase"), cell("text")]
}

fn attempt_row(item: &Value, now: i64, zone: &TimeZone) -> Vec<String> {
    let cell = |key: &str| text(&item[key]);
    let began = item["started"].as_i64();
    let took = began.map(|began| span(item["ended"].as_i64().unwrap_or(now) - began));
    vec![
        cell("blade"),
        cell("number"),
        cell("try"),
        cell("cluster"),
        cell("role"),
        cell("phase"),
        cell("outcome"),
        began.map(|began| when(began, now, zone)).unwrap_or_default(),
        took.unwrap_or_default(),
        cell("reason"),
    ]
}

fn racks(items: &[Value]) -> String {
    let mut rows = Vec::new();
    for rack in items {
        for chassis in rack["chassis"].as_array().into_iter().flatten() {
            let slots = chassis["slots"].as_array().map_or(&[] as &[Value], Vec::as_slice);
            let taken: Vec<&Value> = slots.iter().filter(|slot| !slot.is_null()).collect();
            let ready = taken.iter().filter(|slot| slot["class"] == "ready").count();
            rows.push(vec![
                text(&rack["name"]),
                text(&chassis["name"]),
                slots.len().to_string(),
                taken.len().to_string(),
                ready.to_string(),
                text(&chassis["bmc_first"]),
            ]);
        }
    }
    table(&["RACK", "CHASSIS", "SLOTS", "BLADES", "READY", "FIRST BMC"], &rows)
}

/// Keys that hold milliseconds since 1970.
const MOMENTS: [&str; 7] = ["at", "started", "ended", "phase_since", "last_seen", "until", "since"];

/// One thing in full: its own keys, then its lists as tables.
pub fn described(value: &Value, now: i64, zone: &TimeZone) -> String {
    let mut out = String::new();
    let Some(map) = value.as_object() else { return format!("{}\n", plain(&text(value))) };
    let mut facts = Vec::new();
    for (key, value) in map {
        match value {
            Value::Null => {}
            Value::Number(at) if MOMENTS.contains(&key.as_str()) => {
                facts.push((key, when(at.as_i64().unwrap_or(0), now, zone)));
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {}
            Value::Object(inner) if !inner.is_empty() => {}
            value => facts.push((key, plain(&text(value)))),
        }
    }
    let longest = facts.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    out.extend(facts.iter().map(|(key, value)| format!("{key:longest$}  {value}\n")));
    for (key, value) in map {
        let part = match (key.as_str(), value) {
            ("events", list @ Value::Array(_)) => listed(Kind::Events, list, now, zone),
            ("attempts", list @ Value::Array(_)) => listed(Kind::Attempts, list, now, zone),
            ("blades", Value::Array(items)) if items.iter().any(Value::is_object) => {
                listed(Kind::Blades, value, now, zone)
            }
            (_, Value::Array(items)) if items.iter().any(Value::is_object) => {
                items.iter().map(|item| described(item, now, zone)).collect::<Vec<_>>().join("\n")
            }
            (_, Value::Object(inner)) if !inner.is_empty() => described(value, now, zone),
            _ => continue,
        };
        out.push_str(&format!("{}{key}:\n", if out.is_empty() { "" } else { "\n" }));
        out.extend(part.lines().map(|line| format!("  {line}\n")));
    }
    out
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
