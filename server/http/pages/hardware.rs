//! What a blade told about itself. Every field is hostile: anything may be missing, huge or of
//! another type.

use serde_json::Value;

use super::lang::bytes;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hardware {
    pub cpus: Option<u64>,
    pub arch: Option<String>,
    pub memory: Option<String>,
    pub firmware: Option<String>,
    pub serial: Option<String>,
    pub uuid: Option<String>,
    pub disks: Vec<Disk>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Disk {
    pub name: String,
    pub size: String,
    pub model: String,
    pub serial: String,
    pub has_data: bool,
}

impl Disk {
    /// `vda 10 GB QEMU HARDDISK QM00001`: what a person compares with the label on the disk.
    pub fn words(&self) -> String {
        let parts = [&self.name, &self.size, &self.model, &self.serial];
        parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Reads the `hello` of an attempt; `None` if it is no JSON object.
pub fn read(hello: &str) -> Option<Hardware> {
    let hello: Value = serde_json::from_str(hello).ok()?;
    let hello = hello.as_object()?;
    let text = |key: &str| short(hello.get(key));
    let disks = hello.get("disks").and_then(Value::as_array);
    Some(Hardware {
        cpus: hello.get("cpus").and_then(Value::as_u64),
        arch: text("arch"),
        memory: hello.get("ram_mb").and_then(Value::as_i64).map(|mb| {
            let mib = mb.clamp(0, i64::MAX / 1024);
            if mib >= 4096 { format!("{} GiB", (mib + 512) / 1024) } else { format!("{mib} MiB") }
        }),
        firmware: text("firmware").map(|firmware| firmware.to_uppercase()),
        serial: text("serial"),
        uuid: text("uuid"),
        disks: disks.into_iter().flatten().take(32).map(disk).collect(),
    })
}

fn disk(value: &Value) -> Disk {
    let text = |key: &str| short(value.get(key)).unwrap_or_default();
    Disk {
        name: text("name"),
        size: value.get("size").and_then(Value::as_i64).map(bytes).unwrap_or_default(),
        model: text("model"),
        serial: text("serial"),
        has_data: value.get("has_data").and_then(Value::as_bool).unwrap_or(false),
    }
}

fn short(value: Option<&Value>) -> Option<String> {
    let text: String = value?.as_str()?.trim().chars().take(80).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_blade_says_is_read_and_nonsense_is_not_shown() {
        let hello = r#"{"serial":"CN77","cpus":32,"arch":"amd64","ram_mb":261000,"firmware":"uefi",
            "disks":[{"name":"nvme0n1","size":1920383410176,"model":"SAMSUNG","serial":"S1","has_data":true}, 7]}"#;
        let hardware = read(hello).unwrap();
        assert_eq!(hardware.memory.as_deref(), Some("255 GiB"));
        assert_eq!(hardware.disks[0].words(), "nvme0n1 1.9 TB SAMSUNG S1");
        assert_eq!(hardware.disks[1], Disk::default());
        assert_eq!(read(r#"{"ram_mb":-5,"disks":"none","cpus":"many"}"#).unwrap().cpus, None);
        assert_eq!((read("[]"), read("not json")), (None, None));
    }
}
