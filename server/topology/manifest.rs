//! `topology.toml`: a topology's roles, counts, parameters and quorum rule.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Problem;

/// One architecture of a cluster, as its folder in `cloud-configs/` describes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The folder's name.
    #[serde(skip)]
    pub id: String,
    pub title: String,
    pub title_zh: String,
    /// `false`: shown in the menu as "later", refused for clusters.
    #[serde(default = "yes")]
    pub available: bool,
    /// Each role is an entry of the menu, under the same id.
    #[serde(rename = "role")]
    pub roles: Vec<Role>,
    #[serde(default)]
    pub etcd: Option<EtcdRule>,
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
}

/// What one blade is in a topology.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    pub id: String,
    /// Place in the menu, counting from 1.
    pub order: u16,
    pub title: String,
    pub title_zh: String,
    pub summary: String,
    pub summary_zh: String,
    pub count: Count,
    /// Expression for the host name, unless the parameter `hostname` gives another.
    pub hostname: String,
    /// Neutral document; `ROLE.yml` when not given.
    #[serde(default)]
    pub document: Option<String>,
    /// Roles that must be ready before this one can be.
    #[serde(default)]
    pub after: Vec<String>,
    /// What the server asks before it calls a blade of this role ready.
    #[serde(default)]
    pub ready: Ready,
}

/// How many blades a role takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    pub min: u16,
    /// `None`: any number.
    #[serde(default)]
    pub max: Option<u16>,
}

/// What "ready" asks of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// etcd's `/health` on voters; SSH on the role's other blades.
    Etcd,
    #[default]
    Ssh,
}

/// Which blades vote in etcd.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdRule {
    /// The role whose blades may vote.
    pub role: String,
    pub voters: VoterRule,
    /// Least voters, where all vote.
    #[serde(default = "one")]
    pub min: u8,
    /// A boolean parameter that lets one voter do where `min` asks for more.
    #[serde(default)]
    pub single: Option<String>,
    /// Most voters unless the parameter `etcd_voters` asks for another number.
    #[serde(default = "five")]
    pub default_max: u8,
    /// Most voters that may be asked for.
    #[serde(default = "seven")]
    pub max: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VoterRule {
    /// The largest odd number of the role's blades, the rest are clients.
    LargestOdd,
    /// All of them, so that their number must be odd.
    All,
}

/// A typed parameter of a topology.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    pub kind: Kind,
    pub help: String,
    pub help_zh: String,
    #[serde(default)]
    pub required: bool,
    #[serde(default)]
    pub default: Option<Value>,
    /// Of an integer.
    #[serde(default)]
    pub min: Option<i64>,
    #[serde(default)]
    pub max: Option<i64>,
    /// Of a choice.
    #[serde(default)]
    pub choices: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A list of OpenSSH public key lines, at least one.
    SshKeys,
    Integer,
    Boolean,
    /// One of `choices`, a string.
    Choice,
    /// An expression that gives a legal host name for every blade.
    HostnamePattern,
    /// An IPv4 network without host bits.
    Cidr,
    /// One line of any text.
    Text,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::SshKeys => "ssh-keys",
            Kind::Integer => "integer",
            Kind::Boolean => "boolean",
            Kind::Choice => "choice",
            Kind::HostnamePattern => "hostname-pattern",
            Kind::Cidr => "cidr",
            Kind::Text => "text",
        }
    }
}

fn yes() -> bool {
    true
}

fn one() -> u8 {
    1
}

fn five() -> u8 {
    5
}

fn seven() -> u8 {
    7
}

impl Topology {
    /// Reads `ID/topology.toml`; `file` names it in the problem.
    pub(super) fn parse(id: &str, file: &str, text: &str) -> Result<Topology, Problem> {
        let mut topology: Topology =
            toml::from_str(text).map_err(|error| Problem::toml(file, text, &error))?;
        topology.id = id.to_owned();
        Ok(topology)
    }

    pub fn role(&self, id: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.id == id)
    }

    /// What does not fit together within the file. `exists` tells which paths are at hand.
    pub(super) fn faults(&self, file: &str, exists: impl Fn(&str) -> bool) -> Vec<Problem> {
        let mut faults = Vec::new();
        let mut fault = |field: String, message: String| {
            faults.push(Problem::new("E_TOPOLOGY_FILE", field, message).at(file, 0, 0));
        };
        let unknown = |role: &String| format!("names the role {role:?}, which is not here");
        for role in &self.roles {
            let field = format!("role {}", role.id);
            let document = self.document_path(role);
            if self.available && !exists(&document) {
                fault(field.clone(), format!("its document {document} is missing"));
            }
            for other in role.after.iter().filter(|other| self.role(other).is_none()) {
                fault(field.clone(), unknown(other));
            }
            if role.count.max.is_some_and(|max| max < role.count.min) {
                fault(field, "count.max is below count.min".into());
            }
        }
        if let Some(etcd) = self.etcd.as_ref().filter(|etcd| self.role(&etcd.role).is_none()) {
            fault("etcd".into(), unknown(&etcd.role));
        }
        for (name, parameter) in &self.parameters {
            let default = parameter.default.iter();
            for problem in default.flat_map(|value| parameter.faults(name, value)) {
                faults.push(problem.at(file, 0, 0));
            }
        }
        faults
    }

    pub(super) fn document_path(&self, role: &Role) -> String {
        match &role.document {
            Some(name) => format!("{}/{name}", self.id),
            None => format!("{}/{}.yml", self.id, role.id),
        }
    }
}
