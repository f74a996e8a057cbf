//! Changes to the inventory: shown first, then all or nothing.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Held, Journal, Write, attempts};
use crate::{
    blade::{Kind, Mac, NewEvent},
    db::{self, DbError},
    inventory::{self, Change, Document, SourceMap},
};

/// What `apply` is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// File name (for messages) and TOML text, each.
    pub files: Vec<(String, String)>,
    #[serde(default)]
    pub dry_run: bool,
    /// Remove what the files do not name.
    #[serde(default)]
    pub prune: bool,
}

/// What `apply` changed, or would change.
#[derive(Debug, Clone, Serialize)]
pub struct Applied {
    pub changes: Vec<Change>,
    pub written: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Nothing was written; one problem each, with file, line and column where known.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Checks a merged inventory beyond its own rules (topologies, images); one problem a line.
pub type Judge = Arc<dyn Fn(&Document, &SourceMap) -> Vec<String> + Send + Sync>;

impl Journal {
    /// Merges files into the inventory. `judge` adds the problems that other modules see.
    pub async fn apply(&self, request: ApplyRequest, judge: Judge) -> Result<Applied, ApplyError> {
        self.apply_and_hold(request, judge, None).await
    }

    /// The same, with an attempt held from the first moment: what the machine before was to do,
    /// the one that takes its place never is.
    pub async fn apply_and_hold(
        &self,
        request: ApplyRequest,
        judge: Judge,
        anew: Option<Held>,
    ) -> Result<Applied, ApplyError> {
        let files = parse(&request.files).map_err(ApplyError::Refused)?;
        let sources = SourceMap { files: request.files };
        let config = self.0.config.clone();
        let (dry_run, prune) = (request.dry_run, request.prune);
        let outcome = self
            .write(move |write| {
                Box::pin(async move {
                    let current = db::load_inventory(&mut write.tx).await?;
                    let merged = inventory::merge(&current, &files, prune);
                    let mut problems = inventory::check(&merged, &config, &sources);
                    problems.extend(judge(&merged, &sources));
                    if !problems.is_empty() {
                        return Ok(Err(problems));
                    }
                    let changes = inventory::diff(&current, &merged);
                    let written = !dry_run && !changes.is_empty();
                    if written {
                        store(write, &merged, &changes).await?;
                        if let Some(anew) = anew {
                            attempts::begin_held(write, anew).await?;
                        }
                    }
                    Ok(Ok(Applied { changes, written }))
                })
            })
            .await?;
        outcome.map_err(ApplyError::Refused)
    }
}

async fn store(write: &mut Write, merged: &Document, changes: &[Change]) -> Result<(), DbError> {
    db::store_inventory(&mut write.tx, merged, &reservations(merged)).await?;
    write.intents_changed = true;
    for change in changes {
        let mut text = format!("{} {} {}", change.action, change.kind, change.name);
        if !change.fields.is_empty() {
            text = format!("{text}: {}", change.fields.join("; "));
        }
        let blade = (change.kind == "blade").then(|| change.name.parse().ok()).flatten();
        let event =
            NewEvent { blade: blade.clone(), ..NewEvent::new(write.now, Kind::Inventory, text) };
        db::append(&mut write.tx, &event, None).await?;
        // Of one that is added too: a deployment may have been asked in the moment of its removal.
        if let Some(blade) = blade.filter(|_| change.action != "change") {
            attempts::removed(write, &blade).await?;
        }
    }
    Ok(())
}

/// Every MAC's static address, written or given by the rule of the chassis.
fn reservations(document: &Document) -> BTreeMap<Mac, String> {
    let mut addresses = BTreeMap::new();
    for blade in &document.blades {
        if let (Some(ip), _) = inventory::addresses(document, blade) {
            addresses.extend(blade.macs.iter().map(|mac| (*mac, ip.to_string())));
        }
    }
    addresses
}

fn parse(files: &[(String, String)]) -> Result<Document, Vec<String>> {
    let mut whole = Document::default();
    let mut problems = Vec::new();
    for (name, text) in files {
        match Document::parse(text) {
            Ok(document) => {
                let Document { racks, blades, boot_rules, clusters } = document;
                whole.racks.extend(racks);
                whole.blades.extend(blades);
                whole.boot_rules.extend(boot_rules);
                whole.clusters.extend(clusters);
            }
            Err(error) if error.starts_with(|c: char| c.is_ascii_digit()) => {
                problems.push(format!("{name}:{error}"));
            }
            Err(error) => problems.push(format!("{name}: {error}")),
        }
    }
    if problems.is_empty() { Ok(whole) } else { Err(problems) }
}
