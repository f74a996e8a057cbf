//! No string is changed, broken or run on its way to the reader.
use std::collections::BTreeMap;

use firstlight::topology::{Document, File, Os, Unit};
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use serde_json::Value;

use super::{cluster, judges, render};

/// A document that holds each string as a file's content and as a unit's.
fn holding(strings: &[String]) -> Document {
    let mut document = render(&cluster("simple", Os::Debian, &[11]), "n11");
    document.files.clear();
    document.units.clear();
    for (n, content) in strings.iter().enumerate() {
        let path = format!("/etc/s{n}");
        document.files.push(File { path, mode: 0o644, content: content.clone() });
        document.units.push(Unit {
            name: format!("s{n}.service"),
            enabled: false,
            command: None,
            content: Some(content.clone()),
            dropins: Vec::new(),
        });
    }
    document
}

fn assert_unchanged(strings: &[String]) {
    let document = holding(strings);
    for text in [document.coreos(None), document.cloud_init(None).user_data] {
        let read = judges::py_yaml(&text);
        let files: BTreeMap<&str, &Value> = read["write_files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| (file["path"].as_str().unwrap(), &file["content"]))
            .collect();
        for (n, content) in strings.iter().enumerate() {
            assert_eq!(files[&format!("/etc/s{n}")[..]], content, "file {n}");
            if let Some(unit) = files.get(&format!("/etc/systemd/system/s{n}.service")[..]) {
                assert_eq!(*unit, content, "unit {n}");
            }
        }
        for unit in read["coreos"]["units"].as_array().into_iter().flatten() {
            let name = unit["name"].as_str().unwrap();
            if let Some(n) = name.strip_prefix('s').and_then(|n| n.strip_suffix(".service"))
                && let Ok(n) = n.parse::<usize>()
            {
                assert_eq!(unit["content"], strings[n], "unit {n}");
            }
        }
    }
}

#[test]
fn the_45_strings_that_emitters_get_wrong_come_back_the_same_c11() {
    let corpus: BTreeMap<String, String> =
        serde_json::from_str(include_str!("../fixtures/yaml-strings.json")).unwrap();
    let mut strings: Vec<String> = corpus.into_values().collect();
    assert_eq!(strings.len(), 45);
    strings.extend(
        ["=", "<<", "a$private_ipv4 $public_ipv6b", "\u{feff}x", "\u{85}\u{2028}"]
            .map(String::from),
    );
    strings.extend(
        ["\0", "\u{7f}\u{9f}", "\u{fffe}\u{ffff}", "😀 中文", "{{ hostname }}", "\r\n"]
            .map(String::from),
    );
    assert_unchanged(&strings);
}

#[test]
fn addresses_that_coreos_cloudinit_would_put_in_are_hidden_from_it() {
    let strings = ["$private_ipv4", "${x} $public_ipv4", "\\$public_ipv6"].map(String::from);
    let text = holding(&strings).coreos(None);
    assert!(!text.contains("$private_ipv") && !text.contains("$public_ipv"));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_string_comes_back_the_same_from_pyyaml(
        strings in prop::collection::vec(any::<String>(), 1..120)
    ) {
        assert_unchanged(&strings);
    }
}
