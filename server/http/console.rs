//! What a choice at a blade's console leads to.

use std::{collections::BTreeMap, sync::Arc};

use super::{App, api};
use crate::{
    blade::{Hostname, Phase},
    db,
    inventory::{Blade, ClusterDoc, Document, Intent},
    journal::ApplyRequest,
    topology::MenuEntry,
};

/// Gives a blade the role chosen at its console, once enough blades chose the same: makes the
/// cluster and begins its attempts. The error is what the blade's console shows meanwhile.
pub async fn adopt(app: &Arc<App>, blade: &Blade, entry: &MenuEntry) -> Result<(), String> {
    let blades = same_choice(app, blade, entry).await?;
    let needed = usize::from(entry.min_blades);
    if blades.len() < needed {
        return Err(format!(
            "{}: {} of {needed} blades have chosen it; waiting for more",
            entry.id,
            blades.len()
        ));
    }
    let cluster = cluster_name(&entry.id, blade)?;
    let config = &app.journal.config().menu;
    let parameters = match serde_json::to_value(&config.parameters) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let document = Document {
        clusters: vec![ClusterDoc {
            name: cluster.clone(),
            topology: entry.topology.clone(),
            image: config.image.clone(),
            parameters,
            roles: BTreeMap::from([(
                entry.id.clone(),
                blades.iter().map(ToString::to_string).collect(),
            )]),
        }],
        ..Document::default()
    };
    let files = vec![("console menu".to_owned(), document.to_toml()?)];
    let request = ApplyRequest { files, dry_run: false, prune: false };
    app.journal.apply(request, api::judge(app)).await.map_err(|error| error.to_string())?;
    let orders = blades.into_iter().map(|name| (name, cluster.clone(), entry.id.clone())).collect();
    app.journal
        .begin(orders, Phase::Script, "chosen at the console")
        .await
        .map_err(|error| error.to_string())?;
    Ok(())
}

/// Blades without a role whose newest choice is this entry, the asking one first.
async fn same_choice(app: &App, blade: &Blade, entry: &MenuEntry) -> Result<Vec<Hostname>, String> {
    let failed = |error: db::DbError| error.to_string();
    let mut tx = app.journal.db().read().await.map_err(failed)?;
    let choices = db::choices(&mut tx).await.map_err(failed)?;
    let snapshot = app.snapshot.load();
    let mut blades = vec![blade.name.clone()];
    for (mac, chosen) in choices {
        let other =
            snapshot.by_mac(mac).filter(|other| chosen == entry.id && other.intent == Intent::Menu);
        if let Some(other) = other.filter(|other| !blades.contains(&other.name)) {
            blades.push(other.name.clone());
        }
    }
    Ok(blades)
}

fn cluster_name(entry: &str, blade: &Blade) -> Result<Hostname, String> {
    let name: String = format!("{entry}-{}", blade.name).chars().take(63).collect();
    name.trim_end_matches('-')
        .parse()
        .map_err(|error: crate::blade::ParseIdError| error.to_string())
}
