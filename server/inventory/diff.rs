//! What `apply` would change, before it changes anything.

use serde::Serialize;

use super::Document;

/// One object that would be added, changed or removed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// `add`, `change` or `remove`.
    pub action: &'static str,
    /// `rack`, `blade`, `boot_rule` or `cluster`.
    pub kind: &'static str,
    pub name: String,
    /// For a change: `key: old → new`, one entry each.
    pub fields: Vec<String>,
}

/// The inventory that results from writing `files` over `current`: objects are replaced by
/// name; what is not named stays, unless `prune`.
pub fn merge(current: &Document, files: &Document, prune: bool) -> Document {
    fn over<T: Clone, K: PartialEq>(
        current: &[T],
        new: &[T],
        key: impl Fn(&T) -> K,
        prune: bool,
    ) -> Vec<T> {
        let kept = |old: &&T| new.iter().any(|n| key(n) == key(old)) || !prune;
        let mut merged: Vec<T> = current.iter().filter(kept).cloned().collect();
        for item in new {
            match merged.iter_mut().find(|old| key(old) == key(item)) {
                Some(old) => *old = item.clone(),
                None => merged.push(item.clone()),
            }
        }
        merged
    }
    Document {
        racks: over(&current.racks, &files.racks, |r| r.name.clone(), prune),
        blades: over(&current.blades, &files.blades, |b| b.name.clone(), prune),
        boot_rules: over(&current.boot_rules, &files.boot_rules, |r| r.name.clone(), prune),
        clusters: over(&current.clusters, &files.clusters, |c| c.name.clone(), prune),
    }
}

/// The changes that lead from `old` to `new`, in the order racks, blades, boot rules, clusters.
pub fn diff(old: &Document, new: &Document) -> Vec<Change> {
    let mut changes = Vec::new();
    compare("rack", &old.racks, &new.racks, |r| r.name.to_string(), &mut changes);
    compare("blade", &old.blades, &new.blades, |b| b.name.to_string(), &mut changes);
    compare("boot_rule", &old.boot_rules, &new.boot_rules, |r| r.name.clone(), &mut changes);
    compare("cluster", &old.clusters, &new.clusters, |c| c.name.to_string(), &mut changes);
    changes
}

fn compare<T: Serialize + PartialEq>(
    kind: &'static str,
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> String,
    changes: &mut Vec<Change>,
) {
    for item in new {
        match old.iter().find(|other| name(other) == name(item)) {
            None => {
                changes.push(Change { action: "add", kind, name: name(item), fields: Vec::new() })
            }
            Some(other) if other != item => {
                changes.push(Change {
                    action: "change",
                    kind,
                    name: name(item),
                    fields: fields(other, item),
                });
            }
            Some(_) => {}
        }
    }
    for item in old.iter().filter(|item| !new.iter().any(|other| name(other) == name(item))) {
        changes.push(Change { action: "remove", kind, name: name(item), fields: Vec::new() });
    }
}

fn fields<T: Serialize>(old: &T, new: &T) -> Vec<String> {
    let as_map = |item: &T| match serde_json::to_value(item) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let (old, new) = (as_map(old), as_map(new));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    let show =
        |value: Option<&serde_json::Value>| value.map_or("(none)".to_owned(), ToString::to_string);
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| format!("{key}: {} → {}", show(old.get(key)), show(new.get(key))))
        .collect()
}
