//! A boot image that is not there, or not whole.

use std::fs;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    boot_http::{B01, B02, Bench, SCRIPT},
    road::small::octets,
};

#[tokio::test]
async fn a_missing_boot_image_is_refused_before_and_waited_for_after_a_deploy() {
    let bench = Bench::deployed("image").await;
    assert!(bench.cable.get(B01, SCRIPT).text().contains("token="));
    let (sets, aside) = (bench.lab.file("data/images/sets"), bench.lab.file("aside"));
    fs::rename(&sets, &aside).unwrap();
    fs::create_dir(&sets).unwrap();
    let images = |count: usize| {
        move |site: crate::road::site::Site| async move {
            site.get("images").await.as_array().unwrap().len() == count
        }
    };
    bench.until(super::PATIENCE, "the image is missed", images(0)).await;

    let (status, answer) = bench.ask("clusters/demo/deploy", json!({})).await;
    let error = answer["error"].as_str().unwrap();
    assert_eq!(status, 409, "{error}");
    assert!(error.contains("firstlight image import"), "{error}");
    assert_eq!(bench.attempts("r1-c1-b01").await.len(), 1, "nothing has begun");
    let plan = bench.get("clusters/demo/plan").await;
    assert!(plan["problems"][0].as_str().unwrap().contains("firstlight image import"), "{plan}");
    let (status, answer) = bench.ask("blades/r1-c1-b01/reinstall", json!({})).await;
    assert_eq!(status, 409, "{answer}");
    let words = "there is none to install, or to look at unknown blades with";
    bench.is_told("warning", words, "").await;

    let script = bench.cable.get(B01, SCRIPT).text();
    assert!(script.contains("image import") && script.contains("sleep"), "{script}");
    assert!(!script.contains("kernel"), "{script}");

    fs::remove_dir(&sets).unwrap();
    fs::rename(&aside, &sets).unwrap();
    bench.until(super::PATIENCE, "the image is back", images(1)).await;
    assert!(bench.cable.get(B01, SCRIPT).text().contains("token="), "the same attempt goes on");
    assert_eq!(bench.attempts("r1-c1-b01").await.len(), 1);
}

fn digest(length: usize) -> String {
    hex::encode(Sha256::digest(octets(length)))
}

#[tokio::test]
async fn a_damaged_boot_image_is_not_served_and_told() {
    let bench = Bench::deployed("damaged").await;
    let blob = |length: usize| bench.lab.file("data/images/blobs/sha256").join(digest(length));
    fs::File::options().write(true).open(blob(5_000)).unwrap().set_len(4_999).unwrap();
    fs::remove_file(blob(100_000)).unwrap();
    for length in [5_000, 100_000] {
        let reply = bench.cable.get(B01, &format!("/images/sha256/{}", digest(length)));
        assert_eq!(reply.status, 503, "{length}");
    }
    let words = format!("{}: has 4999 bytes instead of 5000", digest(5_000));
    bench.is_told("warning", &words, &words).await;
    bench.is_told("warning", &digest(100_000), &digest(100_000)).await;
}

/// By hand: the store itself only ever renames whole files.
#[tokio::test]
async fn a_file_cut_short_under_a_download_breaks_it_and_nothing_else() {
    let bench = Bench::deployed("cut").await;
    let path = format!("/images/sha256/{}", digest(3_000_000));
    let mut line = bench.cable.connect_with(B01, Some(65_536));
    line.send(format!("GET {path} HTTP/1.1\r\nHost: 10.12.0.1\r\n\r\n").as_bytes());
    while !line.text_line().unwrap().is_empty() {}
    assert_eq!(line.read(1000), octets(1000));
    let blob = bench.lab.file("data/images/blobs/sha256").join(digest(3_000_000));
    fs::File::options().write(true).open(blob).unwrap().set_len(4096).unwrap();
    let rest = line.rest();
    assert!(rest.len() < 2_999_000 || rest == octets(3_000_000)[1000..], "never a mixture");
    let reply = bench.cable.get(B02, "/boot/52-54-00-00-01-02.ipxe");
    assert_eq!(reply.status, 200, "the daemon lives");
}
