//! All topologies at hand, and the menu they make.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ClusterSpec, Document, ProbePlan, Problem, Topology, check,
    neutral::{Neutral, Source},
    rehearse,
};
use crate::blade::Hostname;

/// The topologies of `cloud-configs/`, parsed and checked; immutable.
#[derive(Debug, Clone)]
pub struct Catalogue {
    files: BTreeMap<String, String>,
    topologies: BTreeMap<String, Topology>,
    documents: BTreeMap<String, Neutral>,
    entries: Vec<MenuEntry>,
}

/// A line of the menu, on the page and on a blade's console: a topology and a role of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MenuEntry {
    /// Also the role's name, and the `{menu}` of `/config/{menu}/…`.
    pub id: String,
    pub topology: String,
    pub title_en: String,
    pub title_zh: String,
    pub summary_en: String,
    pub summary_zh: String,
    /// `false`: shown as "later".
    pub available: bool,
    /// Blades its role needs at least.
    pub min_blades: u16,
    /// Place in the menu, counting from 1.
    pub order: u16,
}

impl Catalogue {
    /// Reads `(path below cloud-configs/, text)`; of two with one path the later wins, so that
    /// an operator's files come after the shipped ones. All problems of all files at once.
    pub fn from_sources(
        files: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Catalogue, Vec<Problem>> {
        let files: BTreeMap<String, String> = files.into_iter().collect();
        let (topologies, mut problems) = topologies(&files);
        let mut documents = BTreeMap::new();
        for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".yml")) {
            match Neutral::parse(Source { path, text }) {
                Ok(neutral) => drop(documents.insert(path.clone(), neutral)),
                Err(problem) => problems.push(problem),
            }
        }
        problems.extend(include_faults(&documents));
        let entries = entries(&topologies, &mut problems);
        let catalogue = Catalogue { files, topologies, documents, entries };
        if problems.is_empty() {
            problems = rehearse::faults(&catalogue);
        }
        if problems.is_empty() { Ok(catalogue) } else { Err(problems) }
    }

    /// The menu, in its order.
    pub fn entries(&self) -> &[MenuEntry] {
        &self.entries
    }

    pub fn entry(&self, id: &str) -> Option<&MenuEntry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// Ordered by id.
    pub fn topologies(&self) -> impl Iterator<Item = &Topology> {
        self.topologies.values()
    }

    pub fn topology(&self, id: &str) -> Option<&Topology> {
        self.topologies.get(id)
    }

    /// Any file of the catalogue, `install.sh` for one.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Everything that is wrong with a cluster; empty when it can be deployed.
    pub fn check(&self, spec: &ClusterSpec) -> Vec<Problem> {
        check::layout(self, spec).err().unwrap_or_default()
    }

    /// What a blade of a cluster shall hold. The first problem, if `check` has any.
    pub fn render(&self, spec: &ClusterSpec, blade: &Hostname) -> Result<Document, Problem> {
        let layout = check::layout(self, spec).map_err(first)?;
        layout.document(self, blade)
    }

    /// What "ready" asks of each blade; empty for a cluster that `check` refuses.
    pub fn probe(&self, spec: &ClusterSpec) -> ProbePlan {
        check::layout(self, spec).map(|layout| layout.probe()).unwrap_or_default()
    }

    /// A document of the catalogue with what it includes, in the order they are filled.
    pub(super) fn documents(&self, path: &str) -> Vec<(Source<'_>, &Neutral)> {
        let Some((path, neutral)) = self.documents.get_key_value(path) else { return Vec::new() };
        let included = neutral.include.iter().map(|include| &include.value);
        included
            .chain([path])
            .filter_map(|path| {
                let (path, text) = self.files.get_key_value(path)?;
                Some((Source { path, text }, self.documents.get(path)?))
            })
            .collect()
    }
}

fn first(problems: Vec<Problem>) -> Problem {
    let none = || Problem::new("E_TOPOLOGY_FILE", "", "cannot be rendered");
    problems.into_iter().next().unwrap_or_else(none)
}

fn topologies(files: &BTreeMap<String, String>) -> (BTreeMap<String, Topology>, Vec<Problem>) {
    let (mut topologies, mut problems) = (BTreeMap::new(), Vec::new());
    for (path, text) in files {
        let Some(id) = path.strip_suffix("/topology.toml") else { continue };
        match Topology::parse(id, path, text) {
            Ok(topology) => {
                problems.extend(topology.faults(path, |file| files.contains_key(file)));
                topologies.insert(id.to_owned(), topology);
            }
            Err(problem) => problems.push(problem),
        }
    }
    (topologies, problems)
}

/// Includes that lead nowhere, or on to further includes: one step deep is enough to read.
fn include_faults(documents: &BTreeMap<String, Neutral>) -> Vec<Problem> {
    let mut faults = Vec::new();
    for (path, neutral) in documents {
        for include in &neutral.include {
            let message = match documents.get(&include.value) {
                None => format!("{:?} is not here", include.value),
                Some(other) if !other.include.is_empty() => {
                    format!("{} includes others itself; name them here", include.value)
                }
                Some(_) => continue,
            };
            let at = include.referenced;
            let problem = Problem::new("E_TOPOLOGY_FILE", "include", message);
            faults.push(problem.at(path, at.line(), at.column()));
        }
    }
    faults
}

fn entries(topologies: &BTreeMap<String, Topology>, problems: &mut Vec<Problem>) -> Vec<MenuEntry> {
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    for topology in topologies.values() {
        for role in &topology.roles {
            if !seen.insert(role.id.as_str()) {
                let message = format!("the menu has {} twice; ids are unique", role.id);
                let file = format!("{}/topology.toml", topology.id);
                problems.push(Problem::new("E_TOPOLOGY_FILE", "role", message).at(&file, 0, 0));
            }
            entries.push(MenuEntry {
                id: role.id.clone(),
                topology: topology.id.clone(),
                title_en: role.title.clone(),
                title_zh: role.title_zh.clone(),
                summary_en: role.summary.clone(),
                summary_zh: role.summary_zh.clone(),
                available: topology.available,
                min_blades: role.count.min,
                order: role.order,
            });
        }
    }
    entries.sort_by(|a, b| (a.order, &a.id).cmp(&(b.order, &b.id)));
    entries
}
