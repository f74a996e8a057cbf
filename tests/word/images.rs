//! A boot image that is not there.

use std::fs;

use serde_json::json;

use crate::boot_http::{B01, Bench, SCRIPT};

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
    let words = "there is none; make one with";
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
