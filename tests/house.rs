//! The rules of the house that a compiler does not know (ARCHITECTURE.md).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Layers of `server/`, lowest first. A module imports only from layers below its own.
const LAYERS: &[&[&str]] = &[
    &["blade"],
    &["boot", "topology", "inventory", "config"],
    &["db", "images"],
    &["journal", "reconcile"],
    &["dhcp", "dhcp6", "tftp", "http", "bmc", "probe"],
    &["cli", "daemon", "lab"],
];

/// Inside the pure layer, who may use whose words: `config` names spans and subnets, the
/// inventory is built on it, a boot answer on the inventory.
const WITHIN: &[(&str, &str)] = &[("inventory", "config"), ("boot", "inventory")];

/// Wiring is one layer: the command line starts the daemon and the lab.
const WIRING: &[&str] = &["cli", "daemon", "lab"];

/// Modules that decide and do nothing else: no clock, file, socket, process, async.
const PURE: &[&str] = &[
    "blade",
    "boot",
    "topology",
    "inventory",
    "config",
    "reconcile",
    "dhcp/reply",
    "dhcp/rehearse",
    "dhcp/wire",
    "dhcp6/reply",
    "dhcp6/rehearse",
    "dhcp6/wire",
    "dhcp/leases",
    "dhcp/metrics",
    "dhcp/net/frame",
    "tftp/wire",
    "tftp/transfer",
    "http/view",
];

const IMPURE_WORDS: &[&str] = &[
    "std::fs",
    "std::net::Udp",
    "std::net::Tcp",
    "std::process",
    "std::thread",
    "SystemTime::now",
    "Instant::now",
    "tokio::",
    "async fn",
    ".await",
    "sqlx::",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no source");
    found
}

/// The product's code of a file, without its unit tests and comments.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]").next().unwrap_or_default();
    body.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// True for a file that is compiled for unit tests alone: `#[cfg(test)] mod name;` in its parent.
fn is_test_module(path: &str, all: &[(String, String)]) -> bool {
    let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    (1..parts.len()).any(|depth| {
        let parent = parts[..depth].join("/");
        let declared = format!("#[cfg(test)]\nmod {};", parts[depth]);
        let owns =
            |file: &str| file == format!("{parent}.rs") || file == format!("{parent}/mod.rs");
        all.iter().any(|(file, text)| owns(file) && text.contains(&declared))
    })
}

fn module_of(path: &str) -> &str {
    let inner = path.strip_prefix("server/").unwrap_or(path);
    inner.split(['/', '.']).next().unwrap_or(inner)
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Names after `crate::` in a file: `crate::db::x` and the members of `use crate::{ … }`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut word = String::new();
            let mut fresh = true;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => fresh = true,
                    c if depth == 1 && fresh && (c.is_alphanumeric() || c == '_') => word.push(c),
                    _ if !word.is_empty() => {
                        found.push(std::mem::take(&mut word));
                        fresh = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            found.extend((!word.is_empty()).then_some(word));
        } else {
            found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

#[test]
fn a_module_imports_only_from_layers_below_it() {
    let mut broken = Vec::new();
    for (path, text) in sources("server") {
        let module = module_of(&path);
        if matches!(module, "lib" | "main") {
            continue;
        }
        let own = layer_of(module).unwrap_or_else(|| {
            panic!("{path}: {module} has no layer; give it one here and in ARCHITECTURE.md")
        });
        for import in imports(&code(&text)) {
            let Some(other) = layer_of(&import) else { continue };
            let allowed = import == module
                || other < own
                || WITHIN.contains(&(module, import.as_str()))
                || (WIRING.contains(&module) && WIRING.contains(&import.as_str()));
            if !allowed {
                broken.push(format!("{path} (layer {own}) imports {import} (layer {other})"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_layer_test_sees_imports_of_every_form() {
    let code = "use crate::db;\nuse crate::{blade::{Mac, Phase}, journal::Journal, tftp};\nlet x = crate::bmc::run();";
    assert_eq!(imports(code), ["db", "blade", "journal", "tftp", "bmc"]);
}

#[test]
fn pure_modules_have_no_clock_file_socket_or_async() {
    let mut broken = Vec::new();
    let all = sources("server");
    for (path, text) in &all {
        let inner = path.strip_prefix("server/").unwrap().trim_end_matches(".rs");
        let pure =
            PURE.iter().any(|module| inner == *module || inner.starts_with(&format!("{module}/")));
        if !pure || is_test_module(path, &all) {
            continue;
        }
        let code = code(text);
        let words = IMPURE_WORDS.iter().filter(|word| code.contains(**word));
        broken.extend(words.map(|word| format!("{path} uses {word}")));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn files_stay_small_enough_to_read() {
    let mut long: BTreeMap<String, usize> = BTreeMap::new();
    for (path, text) in sources("server").into_iter().chain(sources("tests")) {
        if text.lines().count() > 400 {
            long.insert(path, text.lines().count());
        }
    }
    assert!(long.is_empty(), "over 400 lines, which idea is missing? {long:?}");
}

#[test]
fn only_the_journal_writes_a_blades_state() {
    // Invariant 2 of ARCHITECTURE.md.
    let writers = [
        "insert_attempt(",
        "update_attempt(",
        "put_hold(",
        "delete_hold(",
        "put_choice(",
        "store_inventory(",
    ];
    let mut broken = Vec::new();
    for (path, text) in sources("server") {
        if matches!(module_of(&path), "journal" | "db") {
            continue;
        }
        let code = code(&text);
        broken.extend(
            writers
                .iter()
                .filter(|call| code.contains(**call))
                .map(|call| format!("{path} calls {call}")),
        );
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    let mut broken = Vec::new();
    for (path, text) in sources("server") {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let line = line.trim_start();
            let block = line.contains("unsafe {") || line.starts_with("unsafe impl");
            let argued =
                lines[number.saturating_sub(8)..number].iter().any(|line| line.contains("SAFETY:"));
            if block && !line.starts_with("//") && !argued {
                broken.push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert!(broken.is_empty(), "unsafe without a SAFETY comment: {}", broken.join(", "));
}

#[test]
fn migrations_of_both_engines_have_the_same_numbers() {
    let numbers = |engine: &str| {
        let folder = root().join("migrations").join(engine);
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(numbers("sqlite"), numbers("postgres"));
}

#[test]
fn architecture_names_only_files_that_exist() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(text.lines().count() <= 150, "ARCHITECTURE.md has {} lines", text.lines().count());
    let named = text.split('`').skip(1).step_by(2).filter(|word| {
        word.contains('/') && !word.contains([' ', '{', '<', ':']) && !word.starts_with('/')
    });
    let missing: Vec<&str> = named
        .filter(|path| !Path::new(&root()).join(path.trim_end_matches('/')).exists())
        .collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names files that are not there: {missing:?}");
}
