//! The catalogue's files: shipped ones, an operator's own, and what is wrong with them.
use std::{fs, path::Path};

use firstlight::topology::{Catalogue, Os, Problem, embedded, validate_coreos};
use rstest::rstest;

use super::{cluster, name, shipped};

fn with(path: &str, text: &str) -> Result<Catalogue, Vec<Problem>> {
    Catalogue::from_sources(embedded().into_iter().chain([(path.to_owned(), text.to_owned())]))
}

fn only_problem(path: &str, text: &str) -> String {
    let problems = with(path, text).map(drop).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].to_string()
}

#[test]
fn the_menu_has_the_six_entries_of_the_ancestor_in_their_order() {
    let catalogue = shipped();
    let ids: Vec<&str> = catalogue.entries().iter().map(|entry| &entry.id[..]).collect();
    let six = ["simple", "small-cluster", "develop-etcd", "develop-worker"];
    assert_eq!(ids, [&six[..], &["production-central", "production-worker"]].concat());
    for entry in catalogue.entries() {
        assert!(!entry.title_en.is_empty() && !entry.title_zh.is_empty(), "{entry:?}");
        let role = catalogue.topology(&entry.topology).unwrap().role(&entry.id);
        assert!(role.is_some(), "a role is called like its entry");
    }
}

#[test]
fn an_operators_file_replaces_a_shipped_one_and_adds_new_ones() {
    let mut files = embedded();
    files.push((
        "simple/simple.yml".into(),
        "include: [common/base.yml]\nfiles:\n  - path: /etc/motd\n    mode: \"0644\"\n    \
         content: \"{{ hostname }} is ours, ${#x}\\n\"\n"
            .into(),
    ));
    let minimal = "title = \"Mine\"\ntitle_zh = \"我的\"\n[[role]]\nid = \"mine\"\norder = 9\n\
        title = \"Mine\"\ntitle_zh = \"我的\"\nsummary = \"s\"\nsummary_zh = \"s\"\n\
        count = { min = 1 }\nhostname = \"{{ blade }}\"\n";
    files.push(("mine/topology.toml".into(), minimal.into()));
    files.push(("mine/mine.yml".into(), "files: []\n".into()));
    let catalogue = Catalogue::from_sources(files).unwrap();
    let document = catalogue.render(&cluster("simple", Os::Debian, &[11]), &name("n11")).unwrap();
    let motd = document.files.iter().find(|file| file.path == "/etc/motd").unwrap();
    assert_eq!(motd.content, "simple-10-12-1-11 is ours, ${#x}\n");
    assert!(document.units.iter().all(|unit| !unit.name.contains("etcd")));
    assert_eq!(catalogue.entries().last().unwrap().id, "mine");
}

#[test]
fn a_fault_in_a_file_is_told_with_its_line() {
    let bare = "files:\n  - path: /a\n    mode: 0644\n    content: x\n";
    let bare = only_problem("simple/simple.yml", bare);
    assert!(bare.starts_with("simple/simple.yml:3:11: E_TOPOLOGY_FILE"), "{bare}");
    let unknown = only_problem("simple/simple.yml", "files: []\nunitz: []\n");
    assert!(unknown.starts_with("simple/simple.yml:2:1: E_TOPOLOGY_FILE"), "{unknown}");
    let twice = only_problem("simple/simple.yml", "files: []\nfiles: []\n");
    assert!(twice.starts_with("simple/simple.yml:2:"), "{twice}");
    let grammar =
        "files:\n  - path: /a\n    mode: \"0644\"\n    content: |\n      fine\n\n      {{ a b }}\n";
    let grammar = only_problem("simple/simple.yml", grammar);
    assert!(grammar.starts_with("simple/simple.yml:7: E_EXPRESSION"), "{grammar}");
    let toml = only_problem("simple/topology.toml", "title = \"x\"\ntitel = 1\n");
    assert!(toml.starts_with("simple/topology.toml:2:1: E_TOPOLOGY_FILE"), "{toml}");
    let lost = only_problem("simple/simple.yml", "include:\n  - common/nowhere.yml\n");
    assert!(lost.starts_with("simple/simple.yml:2:5: E_TOPOLOGY_FILE include"), "{lost}");
}

#[test]
fn a_misspelt_value_in_a_document_is_found_when_it_is_saved() {
    let text = "files:\n  - path: /etc/x\n    mode: \"0644\"\n    content: |\n      a\n      {{ hostnam }}\n";
    let said = only_problem("simple/simple.yml", text);
    assert!(said.starts_with("simple/simple.yml:6: E_EXPRESSION"), "{said}");
    assert!(said.contains("hostnam"), "{said}");
}

#[rstest]
#[case::relative("files: [{ path: etc/x, mode: \"0644\", content: x }]", "absolute path")]
#[case::upwards("files: [{ path: /etc/../x, mode: \"0644\", content: x }]", "absolute path")]
#[case::mode("files: [{ path: /etc/x, mode: \"0689\", content: x }]", "no mode")]
#[case::read_only(
    "files: [{ path: /usr/bin/x, mode: \"0755\", content: x }]",
    "read-only on Flatcar"
)]
#[case::twice(
    "include: [common/etcd.yml]\nfiles: [{ path: /etc/profile.d/etcdctl.sh, mode: \"0644\", content: x }]",
    "written twice"
)]
#[case::no_unit("units: [{ name: etcd }]", "no unit's name")]
#[case::command("units: [{ name: x.service, command: explode }]", "no command")]
#[case::never_enabled(
    "units: [{ name: x.service, enabled: true, content: \"[Service]\" }]",
    "without [Install]"
)]
#[case::dropin("units: [{ name: x.service, dropins: [{ name: x, content: y }] }]", "NAME.conf")]
#[case::strategy("reboot_strategy: \"always\"", "use off, reboot, etcd-lock")]
fn a_document_that_no_system_would_take_is_refused_when_it_is_saved(
    #[case] text: &str,
    #[case] reason: &str,
) {
    let said = only_problem("simple/simple.yml", &format!("{text}\n"));
    assert!(said.starts_with("simple/simple.yml:"), "{said}");
    assert!(said.contains("E_DOCUMENT") && said.contains(reason), "{said}");
}

/// The verdicts of the two real validators, and duplicates and hyphens that they let pass.
#[test]
fn our_judge_of_coreos_documents_is_at_least_as_strict_as_the_real_ones() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/coreos-cloudinit");
    let mut seen = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !file.ends_with(".yml") {
            continue;
        }
        let problems = validate_coreos(&fs::read_to_string(&path).unwrap());
        let refused = file.starts_with("bad-")
            || ["hyphens.yml", "unknown-runcmd.yml"].contains(&file.as_str());
        assert_eq!(!problems.is_empty(), refused, "{file}: {problems:?}");
        seen += 1;
    }
    assert_eq!(seen, 21);
}

#[test]
fn our_judge_names_the_line() {
    let text = "#cloud-config\nhostname: \"a\"\nwrite_files:\n  - path: /etc/x\n    permissions: \"0689\"\n  - path: relative\n    content: $private_ipv4\n";
    let lines: Vec<_> = validate_coreos(text).iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(7), Some(5), Some(6)]);
}
