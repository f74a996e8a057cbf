//! docs/conformance.md tells the truth: what it says a test shows is shown by a test that is there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A row of one of its tables.
#[derive(Debug)]
struct Row<'a> {
    line: usize,
    result: &'a str,
    tests: Vec<&'a str>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Rows of the tables whose last columns are `result` and `test`; a row with another number of
/// cells is a mistake.
fn rows(text: &str) -> Vec<Row<'_>> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [demand, _, result, tests] = cells[..] else {
            panic!("line {}: four cells, not {}", number + 1, cells.len())
        };
        if matches!((result, tests), ("result", "test") | ("---", "---")) {
            continue;
        }
        assert!(!demand.is_empty(), "line {}", number + 1);
        let tests = tests.split('`').skip(1).step_by(2).collect();
        found.push(Row { line: number + 1, result, tests });
    }
    found
}

/// Names of all functions with a `test` attribute (`#[rstest]`, `#[tokio::test]`, in `proptest!`).
fn tests_of(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_of(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim_start) {
                if let Some(attribute) = line.strip_prefix("#[") {
                    is_test |= attribute.contains("test]") || attribute.contains("test(");
                } else if let Some((_, rest)) = line.split_once("fn ")
                    && !line.starts_with("//")
                {
                    let name = rest.split(['(', '<']).next().unwrap_or_default();
                    found.extend(is_test.then(|| name.to_owned()));
                    is_test = false;
                }
            }
        }
    }
}

#[test]
fn every_demand_has_a_result_and_every_pass_a_test_that_exists() {
    let mut tests = BTreeSet::new();
    for folder in ["server", "tests"] {
        tests_of(&root().join(folder), &mut tests);
    }
    let text = fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    let rows = rows(&text);
    assert!(rows.len() > 150, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for Row { line, result, tests: named } in rows {
        match result {
            "" => wrong.push(format!("line {line}: no result")),
            "pass" if named.is_empty() => wrong.push(format!("line {line}: pass without a test")),
            "pass" => {}
            reason if reason.len() < 20 => {
                wrong.push(format!("line {line}: {reason:?} is no reason"))
            }
            _ => {}
        }
        let missing = named.iter().filter(|name| !tests.contains(**name));
        wrong.extend(missing.map(|name| format!("line {line}: there is no test {name}")));
    }
    assert!(wrong.is_empty(), "docs/conformance.md:\n{}", wrong.join("\n"));
}
