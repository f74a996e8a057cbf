//! The seeds of the fuzzers, every prefix of each, and each with an octet changed: no fuzzer is
//! needed for that, and what once was a finding stays mended.

use std::{fs, path::PathBuf};

#[path = "fuzz/targets.rs"]
mod targets;

use targets::TARGETS;

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut seeds: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), fs::read(path).unwrap())
        })
        .collect();
    seeds.sort();
    assert!((10..100).contains(&seeds.len()), "{target} has {} seeds", seeds.len());
    seeds
}

#[test]
fn no_seed_of_a_fuzzer_nor_a_part_of_one_makes_a_panic() {
    for (name, target) in TARGETS {
        for (path, seed) in seeds(name) {
            for cut in 0..=seed.len() {
                let run = || target(&seed[..cut]);
                assert!(std::panic::catch_unwind(run).is_ok(), "{path}, first {cut} octets");
            }
            let mut seed = seed;
            for at in 0..seed.len() {
                let octet = seed[at];
                for changed in [0xff, octet ^ 1] {
                    seed[at] = changed;
                    let run = || target(&seed);
                    assert!(std::panic::catch_unwind(run).is_ok(), "{path}, {at} is {changed}");
                }
                seed[at] = octet;
            }
        }
    }
}

#[test]
fn every_fuzzer_has_its_target_here() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/fuzz_targets");
    let mut files: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut names = TARGETS.map(|(name, _)| format!("{name}.rs"));
    names.sort();
    assert_eq!(files, names);
}
