//! Lists and single things as people read them, from the API's JSON. Pure.

use jiff::tz::TimeZone;
use serde_json::Value;

use super::{
    say::plain,
    show::Kind,
    table::{moment, size, span, table, when},
};

/// A JSON value as a cell.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn cells(item: &Value, keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| text(&item[*key])).collect()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A list as a table.
pub fn listed(kind: Kind, list: &Value, now: i64, zone: &TimeZone) -> String {
    let items = array(list);
    if items.is_empty() {
        return match kind {
            Kind::Discovered => "no machine waits to be racked\n".to_owned(),
            _ => format!("there are no {}\n", kind.word()),
        };
    }
    if kind == Kind::Racks {
        return racks(items);
    }
    let rows: Vec<Vec<String>> = items.iter().map(|item| row(kind, item, now, zone)).collect();
    table(heads(kind), &rows)
}

fn heads(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Blades => {
            &["BLADE", "SLOT", "MAC", "IP", "CLUSTER", "ROLE", "STATE", "PHASE", "%", "LAST SEEN"]
        }
        Kind::Racks => &["RACK", "CHASSIS", "SLOTS", "BLADES", "READY", "FIRST BMC"],
        Kind::Clusters => &["CLUSTER", "TOPOLOGY", "IMAGE", "BLADES", "READY", "FAILED"],
        Kind::Topologies => &["ENTRY", "TOPOLOGY", "BLADES", "AVAILABLE", "WHAT IT IS"],
        Kind::Images => &["IMAGE", "VERSION", "SYSTEM", "ARCH", "SIZE", "FILES"],
        Kind::Leases => &["IP", "MAC", "STATE", "UNTIL", "HOST NAME"],
        Kind::Events => &["ID", "TIME", "KIND", "BLADE", "PHASE", "WHAT"],
        Kind::Attempts => &[
            "BLADE", "NO", "TRY", "CLUSTER", "ROLE", "PHASE", "OUTCOME", "BEGAN", "TOOK", "REASON",
        ],
        Kind::Discovered => {
            &["MAC", "IP", "LAST SEEN", "WAITS", "WHAT IT IS", "SWITCH PORT", "MIND"]
        }
    }
}

fn row(kind: Kind, item: &Value, now: i64, zone: &TimeZone) -> Vec<String> {
    let time = |key: &str| item[key].as_i64().map(|at| when(at, now, zone)).unwrap_or_default();
    match kind {
        Kind::Blades => {
            let mut row = vec![text(&item["name"]), place(item)];
            row.extend(cells(
                item,
                &["macs", "ip", "cluster", "role", "class", "phase", "percent"],
            ));
            row.push(time("last_seen"));
            row
        }
        Kind::Racks => Vec::new(),
        Kind::Clusters => {
            let mut row = cells(item, &["name", "topology", "image", "blades", "ready", "failed"]);
            row[3] = array(&item["blades"]).len().to_string();
            row
        }
        Kind::Topologies => {
            let mut row = cells(item, &["id", "topology", "min_blades", "available", "title"]);
            row[2].push('+');
            row
        }
        Kind::Images => image_row(item),
        Kind::Leases => {
            let mut row = cells(item, &["ip", "mac", "state"]);
            row.extend([time("until"), text(&item["hostname"])]);
            row
        }
        Kind::Events => event_row(item, zone),
        Kind::Attempts => attempt_row(item, now, zone),
        Kind::Discovered => {
            let mut row = cells(item, &["mac", "ip"]);
            row.push(time("last_seen"));
            row.extend(cells(item, &["waits", "summary"]));
            row.push(
                cells(&item["machine"]["lldp"], &["switch", "port"]).join(" ").trim().to_owned(),
            );
            let marks = array(&item["marks"]).iter().map(|mark| text(&mark["text"]));
            row.push(marks.collect::<Vec<_>>().join("; "));
            row
        }
    }
}

fn place(item: &Value) -> String {
    match item["slot"] {
        Value::Null => String::new(),
        _ => cells(item, &["rack", "chassis", "slot"]).join("/"),
    }
}

fn image_row(item: &Value) -> Vec<String> {
    let artifacts = array(&item["artifacts"]);
    let mut arches: Vec<String> = artifacts.iter().map(|file| text(&file["arch"])).collect();
    arches.sort();
    arches.dedup();
    let mut row = cells(item, &["name", "version"]);
    row.extend([
        cells(item, &["os", "os_version"]).join(" "),
        arches.join(" "),
        size(item["size"].as_u64().unwrap_or(0)),
        artifacts.len().to_string(),
    ]);
    row
}

fn event_row(item: &Value, zone: &TimeZone) -> Vec<String> {
    let at = item["at"].as_i64().map(|at| moment(at, zone)).unwrap_or_default();
    let cell = |key: &str| text(&item[key]);
    vec![cell("id"), at, cell("kind"), cell("blade"), cell("phase"), cell("text")]
}

fn attempt_row(item: &Value, now: i64, zone: &TimeZone) -> Vec<String> {
    let began = item["started"].as_i64();
    let took = began.map(|began| span(item["ended"].as_i64().unwrap_or(now).saturating_sub(began)));
    let mut row = cells(item, &["blade", "number", "try", "cluster", "role", "phase", "outcome"]);
    row.extend([
        began.map(|began| when(began, now, zone)).unwrap_or_default(),
        took.unwrap_or_default(),
        text(&item["reason"]),
    ]);
    row
}

fn racks(items: &[Value]) -> String {
    let mut rows = Vec::new();
    for rack in items {
        for chassis in rack["chassis"].as_array().into_iter().flatten() {
            let slots = array(&chassis["slots"]);
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
    table(heads(Kind::Racks), &rows)
}

/// Keys that hold milliseconds since 1970.
const MOMENTS: [&str; 9] = [
    "first_seen",
    "reported",
    "at",
    "started",
    "ended",
    "phase_since",
    "last_seen",
    "until",
    "since",
];

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    #[test]
    fn blades_are_a_table_with_their_places() {
        let list = json!([
            { "name": "r1-c1-b01", "rack": "r1", "chassis": "c1", "slot": 1, "macs": ["52:54:00:00:01:01"],
              "ip": "10.12.1.1", "cluster": "prod", "role": "central", "class": "installing", "phase": "write",
              "percent": 41, "last_seen": NOW - 2000 },
            { "name": "spare", "slot": null, "macs": [], "class": "off", "phase": "off", "percent": 0 },
        ]);
        insta::assert_snapshot!(listed(Kind::Blades, &list, NOW, &TimeZone::UTC), @"
        BLADE      SLOT     MAC                IP         CLUSTER  ROLE     STATE       PHASE  %   LAST SEEN
        r1-c1-b01  r1/c1/1  52:54:00:00:01:01  10.12.1.1  prod     central  installing  write  41  2026-09-21 14:13:18 (2 s ago)
        spare      -        -                  -          -        -        off         off    0   -
        ");
        assert_eq!(listed(Kind::Leases, &json!([]), NOW, &TimeZone::UTC), "there are no leases\n");
    }

    #[test]
    fn a_thing_is_described_with_its_lists_below() {
        let blade = json!({
            "blade": { "name": "b1", "ip": null, "started": NOW - 60_000, "macs": ["52:54:00:00:01:01"] },
            "events": [{ "id": 7, "at": NOW, "kind": "report", "blade": "b1", "phase": "live", "text": "live\u{1b}[2J begins" }],
        });
        insta::assert_snapshot!(described(&blade, NOW, &TimeZone::UTC), @"
        blade:
          name     b1
          started  2026-09-21 14:12:20 (1 min ago)
          macs     52:54:00:00:01:01

        events:
          ID  TIME                 KIND    BLADE  PHASE  WHAT
          7   2026-09-21 14:13:20  report  b1     live   live�[2J begins
        ");
    }

    #[test]
    fn no_json_is_too_odd_to_be_shown() {
        for odd in
            [json!(null), json!([1, "a", null]), json!([[{}]]), json!({ "events": 3, "at": "x" })]
        {
            for kind in [
                Kind::Blades,
                Kind::Racks,
                Kind::Clusters,
                Kind::Images,
                Kind::Attempts,
                Kind::Events,
            ] {
                let _ = listed(kind, &odd, i64::MIN, &TimeZone::UTC);
            }
            let _ = described(&odd, i64::MAX, &TimeZone::UTC);
        }
    }
}
