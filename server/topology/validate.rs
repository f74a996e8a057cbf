//! Our own judge of coreos-cloudinit documents, stricter than the two real ones: they let
//! duplicate and hyphenated keys, bare octal modes and unreadable host names pass.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

use super::{Command, Problem};
use crate::blade::Hostname;

/// Name in problems: the documents have none of their own.
const FILE: &str = "cloud-config";
const CODE: &str = "E_COREOS";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloudConfig {
    hostname: Option<Spanned<String>>,
    #[serde(rename = "ssh_authorized_keys")]
    _keys: Option<Vec<String>>,
    coreos: Option<Coreos>,
    write_files: Option<Vec<WriteFile>>,
    #[serde(rename = "users")]
    _users: Option<Vec<IgnoredAny>>,
    #[serde(rename = "manage_etc_hosts")]
    _manage_etc_hosts: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Coreos {
    update: Option<Update>,
    units: Option<Vec<CoreosUnit>>,
    #[serde(rename = "flannel")]
    _flannel: Option<IgnoredAny>,
    #[serde(rename = "locksmith")]
    _locksmith: Option<IgnoredAny>,
    #[serde(rename = "oem")]
    _oem: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    reboot_strategy: Option<Spanned<String>>,
    #[serde(rename = "group")]
    _group: Option<String>,
    #[serde(rename = "server")]
    _server: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CoreosUnit {
    name: Spanned<String>,
    command: Option<Spanned<String>>,
    #[serde(rename = "mask")]
    _mask: Option<bool>,
    #[serde(rename = "enable")]
    _enable: Option<bool>,
    #[serde(rename = "runtime")]
    _runtime: Option<bool>,
    #[serde(rename = "content")]
    _content: Option<String>,
    #[serde(rename = "drop_ins")]
    _drop_ins: Option<Vec<CoreosDropin>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CoreosDropin {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "content")]
    _content: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteFile {
    path: Spanned<String>,
    permissions: Option<Spanned<String>>,
    encoding: Option<Spanned<String>>,
    content: Option<Spanned<String>>,
    #[serde(rename = "owner")]
    _owner: Option<String>,
}

/// Everything a document for coreos-cloudinit does wrong; empty when it may be served. Scripts
/// (`#!`), Ignition and nothing at all are other kinds of user data, and pass as they do there.
/// Of faults in the structure, which hide the rest, only the first is told.
pub fn validate_coreos(text: &str) -> Vec<Problem> {
    if text.trim().is_empty() || text.starts_with("#!") || is_ignition(text) {
        return Vec::new();
    }
    if text.lines().next() != Some("#cloud-config") {
        return vec![
            Problem::new(CODE, "", "the first line must be #cloud-config alone").at(FILE, 1, 1),
        ];
    }
    let options = serde_saphyr::options! { no_schema: true, strict_booleans: true };
    let parsed = serde_saphyr::from_str_with_options::<Option<CloudConfig>>(text, options);
    let config = match parsed {
        Ok(config) => config,
        Err(error) => return vec![Problem::yaml(CODE, FILE, &error)],
    };
    let mut problems = substitutions(text);
    let Some(config) = config else { return problems };
    let mut judge = |field: &str, at: &Spanned<String>, fault: Option<String>| {
        let (line, column) = (at.referenced.line(), at.referenced.column());
        problems.extend(fault.map(|why| Problem::new(CODE, field, why).at(FILE, line, column)));
    };
    if let Some(name) = &config.hostname {
        let fault = name.value.parse::<Hostname>().err();
        judge("hostname", name, fault.map(|error| error.to_string()));
    }
    let coreos = config.coreos.as_ref();
    if let Some(strategy) = coreos.and_then(|c| c.update.as_ref()?.reboot_strategy.as_ref()) {
        let known = ["off", "reboot", "etcd-lock"].contains(&strategy.value.as_str());
        judge("reboot_strategy", strategy, (!known).then(|| invalid(&strategy.value)));
    }
    for unit in coreos.and_then(|c| c.units.as_ref()).into_iter().flatten() {
        let nameless = unit.name.value.is_empty().then(|| "a unit needs a name".to_owned());
        judge("units.name", &unit.name, nameless);
        if let Some(command) = &unit.command {
            judge("units.command", command, command.value.parse::<Command>().err());
        }
    }
    for file in config.write_files.iter().flatten() {
        judge("write_files.path", &file.path, path_fault(&file.path.value));
        if let Some(mode) = &file.permissions {
            judge("write_files.permissions", mode, mode_fault(&mode.value));
        }
        if let (Some(encoding), Some(content)) = (&file.encoding, &file.content) {
            let fault = encoding_fault(&encoding.value, &content.value);
            judge("write_files.encoding", encoding, fault);
        }
    }
    problems
}

fn is_ignition(text: &str) -> bool {
    let parsed = serde_json::from_str::<serde_json::Value>(text);
    parsed.is_ok_and(|value| value.pointer("/ignition/version").is_some())
}

fn invalid(value: &str) -> String {
    format!("invalid value {:?}", value.chars().take(60).collect::<String>())
}

fn path_fault(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return Some(format!("{} is not absolute", invalid(path)));
    }
    path.starts_with("/usr/").then(|| format!("{path}: /usr is read-only"))
}

/// `^0?[0-7]{3,4}$`, coreos-cloudinit's own rule (config/file.go).
fn mode_fault(mode: &str) -> Option<String> {
    let octal = mode.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let length = mode.len();
    let good = octal && ((3..=4).contains(&length) || length == 5 && mode.starts_with('0'));
    (!good).then(|| invalid(mode))
}

fn encoding_fault(encoding: &str, content: &str) -> Option<String> {
    let (base64, gzip) = match encoding {
        "" => (false, false),
        "b64" | "base64" => (true, false),
        "gz" | "gzip" => (false, true),
        "gz+base64" | "gzip+base64" | "gz+b64" | "gzip+b64" => (true, true),
        other => return Some(invalid(other)),
    };
    let bytes = match base64 {
        true => STANDARD.decode(content.replace(['\n', '\r'], "")).ok(),
        false => Some(content.as_bytes().to_vec()),
    };
    // RFC 1952 §2.3.1: gzip begins with 1f 8b.
    let good = bytes.is_some_and(|bytes| !gzip || bytes.starts_with(&[0x1f, 0x8b]));
    (!good).then(|| format!("content cannot be decoded as {encoding:?}"))
}

/// coreos-cloudinit would put an address there (initialize/env.go), or nothing.
fn substitutions(text: &str) -> Vec<Problem> {
    let names = ["$private_ipv4", "$public_ipv4", "$private_ipv6", "$public_ipv6"];
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in names.iter().filter(|name| line.contains(**name)) {
            let message = format!("{name} would be replaced with an address");
            problems.push(Problem::new(CODE, "", message).at(FILE, index as u64 + 1, 0));
        }
    }
    problems
}
