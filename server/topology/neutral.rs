//! `ROLE.yml`: what a role's blade shall hold, before any form and before any value.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Problem, fill};

/// A neutral document as parsed, its strings still with their `{{ expressions }}`. Each string
/// keeps the place it came from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Neutral {
    /// Other documents, as paths below `cloud-configs/`, whose files and units come first.
    #[serde(default)]
    pub include: Vec<Spanned<String>>,
    /// Lines for `authorized_keys`; an entry that is one expression may give a list.
    #[serde(default)]
    pub ssh_authorized_keys: Vec<Spanned<String>>,
    /// When a system that updates itself may reboot: `off`, `reboot` or `etcd-lock`.
    #[serde(default)]
    pub reboot_strategy: Option<Spanned<String>>,
    #[serde(default)]
    pub files: Vec<NeutralFile>,
    #[serde(default)]
    pub units: Vec<NeutralUnit>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NeutralFile {
    pub path: Spanned<String>,
    /// Quoted octal, `"0644"`.
    pub mode: Spanned<String>,
    pub content: Spanned<String>,
    /// Expression without braces; the file is left out where it is false.
    #[serde(default)]
    pub when: Option<Spanned<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NeutralUnit {
    pub name: Spanned<String>,
    #[serde(default)]
    pub enabled: bool,
    /// One of systemctl's verbs, done once the system is up: `start`, `try-restart` …
    #[serde(default)]
    pub command: Option<Spanned<String>>,
    /// The whole unit; without it the unit is the system's own.
    #[serde(default)]
    pub content: Option<Spanned<String>>,
    #[serde(default)]
    pub dropins: Vec<NeutralDropin>,
    #[serde(default)]
    pub when: Option<Spanned<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NeutralDropin {
    /// Ends in `.conf`.
    pub name: Spanned<String>,
    pub content: Spanned<String>,
}

/// A file of the catalogue: its path below `cloud-configs/` and its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub path: &'a str,
    pub text: &'a str,
}

impl Neutral {
    /// Parses, and checks the grammar of every expression. Unquoted `0644`, `off` or `yes` where
    /// a text belongs are errors: readers disagree about what they are.
    pub fn parse(source: Source<'_>) -> Result<Neutral, Problem> {
        let options = serde_saphyr::options! { no_schema: true, strict_booleans: true };
        let neutral: Neutral = serde_saphyr::from_str_with_options(source.text, options)
            .map_err(|error| Problem::yaml("E_TOPOLOGY_FILE", source.path, &error))?;
        fill::check_grammar(source, &neutral)?;
        Ok(neutral)
    }

    /// Every text with expressions in braces.
    pub fn texts(&self) -> impl Iterator<Item = &Spanned<String>> {
        let files = self.files.iter().flat_map(|file| [&file.path, &file.mode, &file.content]);
        let units = self.units.iter().flat_map(|unit| {
            let dropins = unit.dropins.iter().flat_map(|dropin| [&dropin.name, &dropin.content]);
            [&unit.name].into_iter().chain(&unit.command).chain(&unit.content).chain(dropins)
        });
        self.ssh_authorized_keys.iter().chain(&self.reboot_strategy).chain(files).chain(units)
    }

    /// Every bare expression.
    pub fn conditions(&self) -> impl Iterator<Item = &Spanned<String>> {
        let files = self.files.iter().filter_map(|file| file.when.as_ref());
        files.chain(self.units.iter().filter_map(|unit| unit.when.as_ref()))
    }
}
