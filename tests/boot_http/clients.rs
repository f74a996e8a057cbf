//! Clients people have, at the boot listener: curl, GNU wget, and busybox's wget, which is what
//! a live system downloads with.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use sha2::{Digest, Sha256};

use super::{B01, Bench};
use crate::road::small::octets;

const SIZE: usize = 3_000_000;
const SERVER: &str = "http://10.12.0.1";

fn url() -> String {
    let digest = hex::encode(Sha256::digest(octets(SIZE)));
    format!("{SERVER}/images/sha256/{digest}")
}

/// Runs a program on the blades' wire, from the address of the first blade.
fn run(bench: &Bench, program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", bench.cable.namespace(), program]).args(arguments);
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; is it installed?"))
}

fn is_whole(file: &Path, output: &Output) {
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read(file).unwrap() == octets(SIZE), "{output:?}");
}

#[tokio::test]
async fn curl_downloads_and_resumes() {
    let bench = Bench::up("curl").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image");
    let (name, from) = (file.to_str().unwrap(), ["-sSf", "--max-time", "60", "--interface", B01]);
    let url = url();
    let fetch = |more: &[&str]| run(&bench, "curl", &[&from[..], more, &[&url]].concat());
    is_whole(&file, &fetch(&["-o", name]));
    fs::write(&file, &octets(SIZE)[..1_000_001]).unwrap();
    is_whole(&file, &fetch(&["-C", "-", "-o", name]));
    let two = fetch(&["-r", "0-9", "-o", name]);
    assert!(two.status.success() && fs::read(&file).unwrap() == octets(10), "{two:?}");
    let missing = format!("{SERVER}/nothing");
    let output = run(&bench, "curl", &[&from[..], &[&missing]].concat());
    assert_eq!(output.status.code(), Some(22), "404: {output:?}");
}

#[tokio::test]
async fn gnu_wget_downloads_and_resumes() {
    let bench = Bench::up("wget").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image");
    let (name, url) = (file.to_str().unwrap(), url());
    let plain = ["--no-config", "-nv", "-t", "1", "-T", "60", "--bind-address", B01, "-O", name];
    is_whole(&file, &run(&bench, "wget", &[&plain[..], &[&url]].concat()));
    fs::write(&file, &octets(SIZE)[..1_000_001]).unwrap();
    is_whole(&file, &run(&bench, "wget", &[&plain[..], &["-c", &url]].concat()));
    let missing = format!("{SERVER}/nothing");
    let output = run(&bench, "wget", &[&plain[..], &[&missing]].concat());
    assert_eq!(output.status.code(), Some(8), "an error of the server: {output:?}");
}

#[tokio::test]
async fn busyboxs_wget_downloads_and_resumes() {
    let bench = Bench::up("busybox").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image");
    let (name, url) = (file.to_str().unwrap(), url());
    // Without -T: the static busybox of Debian 12 crashes on it.
    let wget = |more: &[&str]| {
        run(&bench, "busybox", &[&["wget", "-q"][..], more, &["-O", name]].concat())
    };
    is_whole(&file, &wget(&[&url]));
    fs::write(&file, &octets(SIZE)[..1_000_001]).unwrap();
    is_whole(&file, &wget(&["-c", &url]));
    let missing = format!("{SERVER}/nothing");
    assert!(!wget(&[&missing]).status.success(), "404");
}
