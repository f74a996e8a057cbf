//! Rendering: the three forms of a blade's document.
use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use firstlight::topology::{Document, Os, validate_coreos};
use serde_json::{Value, json};

use super::{boot, cluster, every_document, judges, name, render, shipped};

fn data(cloud_config: &str) -> Value {
    serde_json::from_str(cloud_config.strip_prefix("#cloud-config\n").unwrap()).unwrap()
}

fn file<'a>(document: &'a Document, path: &str) -> &'a str {
    let found = document.files.iter().find(|file| file.path == path);
    &found.unwrap_or_else(|| panic!("no {path} in {:?}", document.files)).content
}

/// `(path, mode, bytes)` of the files in a coreos cloud-config.
fn coreos_files(text: &str) -> BTreeSet<(String, u64, String)> {
    let files = data(text)["write_files"].as_array().unwrap().clone();
    let of = |file: &Value| {
        let text = |key: &str| file[key].as_str().unwrap().to_owned();
        let mode = u64::from_str_radix(&text("permissions"), 8).unwrap();
        (text("path"), mode, text("content"))
    };
    files.iter().map(of).collect()
}

/// The same of an Ignition config.
fn ignition_files(text: &str) -> BTreeSet<(String, u64, String)> {
    let config: Value = serde_json::from_str(text).unwrap();
    let of = |file: &Value| {
        let source = file["contents"]["source"].as_str().unwrap();
        let bytes = STANDARD.decode(source.strip_prefix("data:;base64,").unwrap()).unwrap();
        let path = file["path"].as_str().unwrap().to_owned();
        (path, file["mode"].as_u64().unwrap(), String::from_utf8(bytes).unwrap())
    };
    config["storage"]["files"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn a_single_machine_gets_the_same_files_by_coreos_and_by_ignition_c01() {
    let document = render(&cluster("simple", Os::Flatcar, &[11]), "n11");
    let coreos = document.coreos(Some(&boot()));
    assert_eq!(coreos.lines().next(), Some("#cloud-config"));
    assert_eq!(coreos.matches("\"hostname\":").count(), 1);
    for gone in ["\"etcd\":", "\"etcd2\":", "\"fleet\":"] {
        assert!(!coreos.contains(gone), "{gone} is refused by today's readers");
    }
    assert_eq!(validate_coreos(&coreos), []);
    let ignition = document.ignition(Some(&boot()));
    judges::ignition(&ignition);
    assert!(ignition.contains("\"version\": \"3.3.0\""));
    assert_eq!(coreos_files(&coreos), ignition_files(&ignition));
}

#[test]
fn a_small_cluster_of_three_agrees_on_its_members_c02() {
    let spec = cluster("small-cluster", Os::Debian, &[21, 22, 23]);
    let mut clusters = BTreeSet::new();
    for (blade, ip) in [("n21", "10.12.1.21"), ("n22", "10.12.1.22"), ("n23", "10.12.1.23")] {
        let document = render(&spec, blade);
        let env = file(&document, "/etc/default/etcd");
        let value = |key: &str| {
            let line = env.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
            line.unwrap_or_else(|| panic!("no {key} in {env}")).to_owned()
        };
        let members = value("ETCD_INITIAL_CLUSTER");
        assert!(members.contains(&format!("{}=http://{ip}:2380", value("ETCD_NAME"))));
        assert_eq!(value("ETCD_ADVERTISE_CLIENT_URLS"), format!("http://{ip}:2379"));
        assert_eq!(value("ETCD_INITIAL_ADVERTISE_PEER_URLS"), format!("http://{ip}:2380"));
        assert!(!env.contains("0.0.0.0"));
        clusters.insert(members);
    }
    assert_eq!(clusters.len(), 1, "{clusters:?}");
    assert_eq!(clusters.first().unwrap().split(',').count(), 3);
}

#[test]
fn the_fourth_of_four_is_a_client_of_three_voters_c03() {
    for os in [Os::Debian, Os::Flatcar] {
        let spec = cluster("small-cluster", os, &[21, 22, 23, 24]);
        let client = render(&spec, "n24");
        assert_eq!(
            file(&client, "/etc/profile.d/etcdctl.sh"),
            "export ETCDCTL_ENDPOINTS=\
             http://10.12.1.21:2379,http://10.12.1.22:2379,http://10.12.1.23:2379\n"
        );
        assert!(!client.units.iter().any(|unit| unit.name.contains("etcd")), "{client:?}");
        assert!(!client.files.iter().any(|file| file.content.contains("INITIAL_CLUSTER")));
        let voter = render(&spec, "n21");
        assert!(voter.units.iter().any(|unit| unit.name.contains("etcd") && unit.enabled));
    }
}

#[test]
fn the_system_has_a_static_network_by_mac_and_no_dhcp_c07() {
    let mut spec = cluster("simple", Os::Flatcar, &[70]);
    spec.members[0].net.domain = Some("rack1.example".into());
    let document = render(&spec, "n70");
    let files = coreos_files(&document.coreos(None));
    let (_, _, network) = files.iter().find(|(path, ..)| path.ends_with(".network")).unwrap();
    assert_eq!(
        network,
        "[Match]\nMACAddress=52:54:00:00:00:70\n\n[Network]\nDHCP=no\n\
         Address=10.12.1.70/24\nGateway=10.12.1.1\nDNS=10.12.1.1\nNTP=10.12.1.55\n\
         Domains=rack1.example\n"
    );
    assert_eq!(document.hostname, name("simple-10-12-1-70"));
}

fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, item) in map {
                found.insert(key.clone());
                keys(item, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

#[test]
fn no_key_of_a_coreos_document_has_a_hyphen_c08() {
    let texts: Vec<String> = every_document().iter().map(|d| d.coreos(Some(&boot()))).collect();
    for coreos in judges::py_yaml_all(&texts) {
        let mut found = BTreeSet::new();
        keys(&coreos, &mut found);
        assert!(!found.iter().any(|key| key.contains('-')), "{found:?}");
        assert!(coreos["write_files"].as_array().is_some_and(|files| !files.is_empty()));
    }
}

#[test]
fn reboot_strategy_off_stays_a_text_c09() {
    let document = render(&cluster("simple", Os::Flatcar, &[11]), "n11");
    let read = judges::py_yaml(&document.coreos(None));
    assert_eq!(read["coreos"]["update"]["reboot_strategy"], json!("off"));
}

#[test]
fn every_mode_is_a_quoted_octal_text_of_four_digits_c10() {
    let both = |d: Document| [d.coreos(None), d.cloud_init(None).user_data];
    let texts: Vec<String> = every_document().into_iter().flat_map(both).collect();
    for (text, read) in texts.iter().zip(judges::py_yaml_all(&texts)) {
        for file in read["write_files"].as_array().unwrap() {
            let mode = file["permissions"].as_str().unwrap_or_else(|| panic!("{file}"));
            assert!(mode.len() == 4 && u16::from_str_radix(mode, 8).is_ok(), "{mode}");
        }
        assert!(text.contains("\"permissions\": \"0600\""), "the token's file is for root");
    }
}

#[test]
fn a_mac_in_network_config_stays_a_text_and_cloud_init_finds_the_card_by_it_c12() {
    let mut spec = cluster("simple", Os::Debian, &[11]);
    spec.members[0].mac = "52:54:00:12:34:56".parse().unwrap();
    let network = render(&spec, "n11").cloud_init(None).network_config;
    let nic = &judges::py_yaml(&network)["network"]["ethernets"]["nic0"];
    assert_eq!(nic["match"]["macaddress"], json!("52:54:00:12:34:56"));
    let rendered = judges::network(&network);
    let networkd = rendered["networkd"].as_str().unwrap();
    for line in [
        "MACAddress=52:54:00:12:34:56",
        "DHCP=no",
        "Address=10.12.1.11/24",
        "Gateway=10.12.1.1",
        "DNS=10.12.1.1",
    ] {
        assert!(networkd.lines().any(|had| had == line), "{line} is not in {networkd}");
    }
    let eni = rendered["eni"].as_str().unwrap();
    for part in ["inet static", "address 10.12.1.11/24", "10.12.1.1"] {
        assert!(eni.contains(part), "{part} is not in {eni}");
    }
}

#[test]
fn the_same_cluster_renders_to_the_same_bytes_c13() {
    let all = || -> Vec<String> {
        let forms = |document: Document| {
            let seed = document.cloud_init(Some(&boot()));
            [document.coreos(Some(&boot())), document.ignition(Some(&boot())), seed.user_data]
        };
        every_document().into_iter().flat_map(forms).collect()
    };
    assert_eq!(all(), all());
    let mut shuffled = cluster("small-cluster", Os::Debian, &[24, 22, 23, 21]);
    let straight = cluster("small-cluster", Os::Debian, &[21, 22, 23, 24]);
    assert_eq!(render(&shuffled, "n22"), render(&straight, "n22"), "the order changes nothing");
    // A client's new address is nobody else's business; a voter's is in every member list.
    shuffled.members[0].net.ip = "10.12.1.99".parse().unwrap();
    assert_eq!(render(&shuffled, "n22"), render(&straight, "n22"));
    assert_ne!(render(&shuffled, "n24"), render(&straight, "n24"));
    shuffled.members[1].net.ip = "10.12.1.98".parse().unwrap();
    assert_ne!(render(&shuffled, "n23"), render(&straight, "n23"));
}

#[test]
fn cloud_init_reports_to_its_own_attempt_c16() {
    let seeds = || every_document().into_iter().map(|d| d.cloud_init(Some(&boot())).user_data);
    judges::cloud_init(&seeds().collect::<Vec<String>>());
    for document in every_document() {
        let seed = document.cloud_init(Some(&boot()));
        let user_data = data(&seed.user_data);
        let attempt = format!("http://10.12.1.55/api/v1/attempts/{}/", boot().attempt);
        for url in
            [&user_data["reporting"]["firstlight"]["endpoint"], &user_data["phone_home"]["url"]]
        {
            assert!(url.as_str().unwrap().starts_with(&attempt), "{url}");
        }
        let mut next = boot();
        next.attempt = "01890a5d-ac96-774b-bcce-b302099a8058".parse().unwrap();
        assert_ne!(document.cloud_init(Some(&next)).meta_data, seed.meta_data);
        assert!(seed.meta_data.contains(&format!("\"firstlight-{}\"", boot().attempt)));
    }
}

/// cloud-init 22.4.2 lets unknown keys pass, 25.1 refuses them: these are in both schemas.
#[test]
fn user_data_has_only_keys_that_every_schema_knows_c16() {
    let known: BTreeSet<&str> = [
        "hostname",
        "fqdn",
        "manage_etc_hosts",
        "disable_root",
        "ssh_pwauth",
        "ssh_deletekeys",
        "ssh_genkeytypes",
        "users",
        "bootcmd",
        "write_files",
        "runcmd",
        "reporting",
        "phone_home",
    ]
    .into();
    for document in every_document() {
        for key in data(&document.cloud_init(None).user_data).as_object().unwrap().keys() {
            assert!(known.contains(key.as_str()), "{key}");
        }
    }
}

#[test]
fn every_emission_passes_its_judges() {
    let mut scripts = BTreeSet::new();
    for document in every_document() {
        assert_eq!(validate_coreos(&document.coreos(Some(&boot()))), []);
        judges::ignition(&document.ignition(Some(&boot())));
        let user_data = data(&document.cloud_init(Some(&boot())).user_data);
        let files = user_data["write_files"].as_array().unwrap().iter();
        let contents = files.map(|file| file["content"].as_str().unwrap().to_owned());
        scripts.extend(contents.filter(|content| content.starts_with("#!/bin/sh")));
    }
    assert!(scripts.len() > 1);
    scripts.iter().for_each(|script| judges::shell(script));
}

#[test]
fn what_people_are_shown_has_the_same_shape_and_no_secret() {
    let document = render(&cluster("simple", Os::Debian, &[11]), "n11");
    let shown = document.cloud_init(None).user_data;
    let real = document.cloud_init(Some(&boot())).user_data;
    assert_eq!(shown.lines().count(), real.lines().count());
    assert!(shown.contains("REDACTED") && !shown.contains(&boot().token));
    assert!(!format!("{:?}", boot()).contains(&boot().token), "logs have no token");
}

#[test]
fn whole_documents_as_a_reader_can_open_them() {
    let small = cluster("small-cluster", Os::Debian, &[21, 22, 23, 24]);
    let seed = render(&small, "n21").cloud_init(Some(&boot()));
    insta::assert_snapshot!("voter_user_data", seed.user_data);
    insta::assert_snapshot!("voter_meta_data", seed.meta_data);
    insta::assert_snapshot!("voter_network_config", seed.network_config);
    let client = render(&cluster("small-cluster", Os::Flatcar, &[21, 22, 23, 24]), "n24");
    insta::assert_snapshot!("client_coreos", client.coreos(Some(&boot())));
    insta::assert_snapshot!("client_ignition", client.ignition(Some(&boot())));
    insta::assert_debug_snapshot!("small_cluster_probe", shipped().probe(&small));
}
