//! Ignition's form, spec 3.3.0: the newest that Flatcar reads and Debian's validator knows.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{Boot, Document, File, Unit, up};

impl Document {
    /// JSON. Without a boot, a redacted one.
    pub fn ignition(&self, boot: Option<&Boot>) -> String {
        let boot = Boot::or_redacted(boot);
        let files: Vec<Value> = self.flatcar_files(&boot).iter().map(file_json).collect();
        let own = up::unit();
        let units: Vec<Value> =
            [&own].into_iter().chain(&self.units).filter_map(unit_json).collect();
        let whole = json!({
            "ignition": { "version": "3.3.0" },
            "passwd": { "users": [ { "name": "core", "sshAuthorizedKeys": self.ssh_keys } ] },
            "storage": { "files": files },
            "systemd": { "units": units },
        });
        format!("{whole:#}\n")
    }
}

fn file_json(file: &File) -> Value {
    let source = format!("data:;base64,{}", STANDARD.encode(&file.content));
    // Files of the image itself, /etc/hostname for one, are there already.
    json!({
        "path": file.path,
        "mode": file.mode,
        "overwrite": true,
        "contents": { "source": source },
    })
}

/// Ignition runs before units start: commands have no place here, and need none.
fn unit_json(unit: &Unit) -> Option<Value> {
    let mut map = Map::new();
    map.insert("name".into(), unit.name.as_str().into());
    if unit.enabled {
        map.insert("enabled".into(), true.into());
    }
    if let Some(content) = &unit.content {
        map.insert("contents".into(), content.as_str().into());
    }
    if !unit.dropins.is_empty() {
        let dropins = unit.dropins.iter();
        let dropins = dropins.map(|d| json!({ "name": d.name, "contents": d.content })).collect();
        map.insert("dropins".into(), dropins);
    }
    (map.len() > 1).then_some(Value::Object(map))
}
