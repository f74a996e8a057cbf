//! The journal's lines, and the reports a blade sends about itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AttemptId, Hostname, Mac, Millis, Phase};

/// What a journal line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A DHCP exchange: offer, ack, nak, decline …
    Dhcp,
    /// A TFTP transfer: began, ended, failed.
    Tftp,
    /// Something fetched from the boot listener: script, kernel, configuration.
    Http,
    /// Power asked for, done, refused, or left to a person.
    Power,
    /// A blade's own report (`Report`).
    Report,
    /// The install-completed callback.
    Finish,
    /// What the server's health probe found.
    Probe,
    /// An attempt began, stalled, failed, was superseded or is ready.
    Attempt,
    /// Inventory changed by `apply`.
    Inventory,
    /// An operator's request: deploy, reinstall, hold, release.
    Operator,
    /// A choice at a blade's console menu.
    Menu,
    /// Something a person should look at: two blades with one MAC, an exhausted pool …
    Alert,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Dhcp => "dhcp",
            Kind::Tftp => "tftp",
            Kind::Http => "http",
            Kind::Power => "power",
            Kind::Report => "report",
            Kind::Finish => "finish",
            Kind::Probe => "probe",
            Kind::Attempt => "attempt",
            Kind::Inventory => "inventory",
            Kind::Operator => "operator",
            Kind::Menu => "menu",
            Kind::Alert => "alert",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_value(Value::String(text.to_owned()))
            .map_err(|_| format!("{text:?} is no kind of event"))
    }
}

/// A line about to be written to the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    pub at: Millis,
    pub kind: Kind,
    pub blade: Option<Hostname>,
    pub mac: Option<Mac>,
    pub attempt: Option<AttemptId>,
    pub phase: Option<Phase>,
    /// One line for people, English, no secrets.
    pub text: String,
    /// Facts for programs; `Null` if there are none.
    pub detail: Value,
}

impl NewEvent {
    pub fn new(at: Millis, kind: Kind, text: impl Into<String>) -> Self {
        NewEvent {
            at,
            kind,
            blade: None,
            mac: None,
            attempt: None,
            phase: None,
            text: text.into(),
            detail: Value::Null,
        }
    }
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows with time; never used twice.
    pub id: i64,
    pub at: Millis,
    pub kind: Kind,
    pub blade: Option<Hostname>,
    pub mac: Option<Mac>,
    pub attempt: Option<AttemptId>,
    pub phase: Option<Phase>,
    pub text: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

/// State of a phase in a blade's report (CLOUD-CONFIG.md §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportState {
    Start,
    Progress,
    Ok,
    Fail,
    Skip,
}

/// What a blade posts to `/api/v1/attempts/{id}/events`. Bodies over 32 KiB are refused before
/// they are parsed; unknown keys are ignored, so that an older server takes a newer script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub attempt: AttemptId,
    /// Counts up from 1; each number is accepted once.
    pub seq: i64,
    pub phase: Phase,
    pub state: ReportState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_done: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// Milliseconds on the blade's monotonic clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mono_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub msg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_tail: Option<String>,
    /// Hardware, with the first `live` report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<Value>,
    /// Public SSH host keys, with `up`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_keys: Option<Vec<String>>,
}
