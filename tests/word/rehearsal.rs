//! A rehearsal cannot lie: what it says of a machine is, octet by octet, what that machine gets.

use serde_json::Value;

use crate::boot_http::{B01, B02, Bench, SCRIPT, STRANGER};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 1, 1];

async fn rehearsal(bench: &Bench, firmware: &str) -> Vec<Value> {
    let told = bench.get(&format!("rehearse/52:54:00:00:01:01?firmware={firmware}")).await;
    let kind = firmware.split('&').next();
    assert_eq!((&told["blade"], told["firmware"].as_str()), (&"r1-c1-b01".into(), kind));
    told["stages"].as_array().unwrap().clone()
}

fn of<'a>(stages: &'a [Value], kind: &str) -> Vec<&'a Value> {
    stages.iter().filter(|stage| stage["kind"] == kind).collect()
}

fn octets(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// What a boot program reads, without the secret that only it is told.
fn without_token(text: &str) -> String {
    let Some((head, tail)) = text.split_once("token=") else { return text.to_owned() };
    let end = tail.find([' ', '\'', '\n']).unwrap();
    format!("{head}token=[token]{}", &tail[end..])
}

fn by_tftp(bench: &Bench, from: &str, name: &str) -> Option<Vec<u8>> {
    crate::tftp_kit::fetch_from(bench.cable.udp(from), "10.12.0.1:69".parse().unwrap(), name)
}

#[tokio::test]
async fn a_rehearsed_exchange_is_what_the_wire_answers() {
    let bench = Bench::deployed("rehearse").await;
    let port = bench.cable.port();
    for firmware in ["bios", "uefi-x64", "uefi-x64-http", "uefi-arm64", "ipxe-uefi-x64", "os"] {
        let stages = rehearsal(&bench, firmware).await;
        let played = of(&stages, "dhcp");
        let asked: Vec<&Value> = played.iter().map(|stage| &stage["asked"]).collect();
        assert_eq!(asked[..2], ["DISCOVER", "REQUEST"], "{firmware}");
        for stage in &played[..2] {
            port.broadcast(MAC, &octets(&stage["sent"]));
            let wanted = octets(&stage["answer"]);
            let answer = port.receive(|frame| frame.to_port == 68);
            assert_eq!(answer.expect("an answer").payload, wanted, "{firmware}: {stage}");
        }
    }
}

#[tokio::test]
async fn it_names_file_script_documents_and_the_rule_of_each_and_no_secret() {
    let bench = Bench::deployed("rehearse2").await;
    let stages = rehearsal(&bench, "uefi-x64").await;
    let kinds: Vec<&str> = stages.iter().map(|stage| stage["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[..6], ["dhcp", "dhcp", "file", "dhcp", "dhcp", "script"]);
    assert_eq!(stages[1]["rule"], "firmware table: UEFI x64 (architecture 7)");
    let file = &stages[2];
    assert_eq!((&file["name"], &file["by"]), (&"snponly.efi".into(), &"TFTP".into()));
    let sent = by_tftp(&bench, B01, "snponly.efi").unwrap();
    assert_eq!(file["bytes"], sent.len());
    assert_eq!(stages[3]["as"], "ipxe-uefi-x64");
    let script = bench.cable.get(B01, SCRIPT);
    assert_eq!(stages[5]["text"], without_token(&script.text()));
    assert_eq!(stages[5]["rule"], "install, attempt 1");
    let names: Vec<&Value> = of(&stages, "document").iter().map(|d| &d["name"]).collect();
    assert_eq!(names, ["user-data", "meta-data", "network-config"]);
    let token = bench.pass(B01).token;
    assert!(!Value::from(stages).to_string().contains(&token), "the token is the blade's alone");
    let unserved = rehearsal(&bench, "uefi-x64&ipv6=true").await;
    assert_eq!(unserved[0]["kind"], "problem");
    assert!(unserved[0]["text"].as_str().unwrap().contains("no IPv6 [[subnet]]"));
    // What is only asked about does not move.
    let before = bench.blade("r1-c1-b02").await["phase"].clone();
    bench.get("rehearse/52:54:00:00:01:02?firmware=bios").await;
    assert_eq!(bench.blade("r1-c1-b02").await["phase"], before);
}

#[tokio::test]
async fn a_boot_by_ipv6_is_rehearsed_as_the_wire_and_http_tell_it() {
    let bench = Bench::with_ipv6("rehearse6").await;
    bench.deploy().await;
    let b01 = "fd00:12::1:1";
    bench.cable.take6(b01);
    let script = bench.cable.get(b01, SCRIPT);
    for (firmware, by) in [("uefi-x64", "TFTP"), ("uefi-x64-http", "HTTP")] {
        let stages = rehearsal(&bench, &format!("{firmware}&ipv6=true")).await;
        let kinds: Vec<&str> = stages.iter().map(|stage| stage["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds[..6], ["dhcp", "dhcp", "file", "dhcp", "dhcp", "script"], "{stages:#?}");
        for stage in of(&stages, "dhcp") {
            let answer = bench.cable.dhcp6(&octets(&stage["sent"]));
            assert_eq!(answer, octets(&stage["answer"]), "{firmware}: {stage}");
        }
        assert_eq!(
            (&stages[0]["asked"], &stages[1]["asked"]),
            (&"SOLICIT".into(), &"REQUEST".into())
        );
        let file = &stages[2];
        assert_eq!((&file["name"], &file["by"]), (&"snponly.efi".into(), &by.into()));
        assert!(file["bytes"].as_u64().is_some(), "it is on this server: {file}");
        assert_eq!(stages[3]["as"], "ipxe-uefi-x64");
        assert_eq!(stages[5]["name"], format!("http://[fd00:12::1]{SCRIPT}"));
        assert_eq!(stages[5]["text"], without_token(&script.text()));
        assert!(script.text().contains("http://[fd00:12::1]/"), "{}", script.text());
    }
    let bios = rehearsal(&bench, "bios&ipv6=true").await;
    assert_eq!(bios[0]["kind"], "problem", "{bios:#?}");
    // BIOS knows no IPv6: of a machine that was never seen, UEFI x64 is played.
    let told = bench.get("rehearse/52:54:00:00:01:02?ipv6=true").await;
    assert_eq!((&told["firmware"], &told["ipv6"]), (&"uefi-x64".into(), &true.into()));
}

#[tokio::test]
async fn grub_and_pxelinux_read_what_was_rehearsed_and_only_of_themselves() {
    let bench = Bench::up("rehearse3").await;
    let rule = "[[boot_rule]]\nname = \"lab\"\nmac_prefix = \"52:54:00\"\nloader = \"pxelinux.0\"";
    let own = bench.lab.file("data/loaders");
    std::fs::create_dir_all(&own).unwrap();
    for name in ["pxelinux.0", "shimx64.efi"] {
        std::fs::write(own.join(name), "octets").unwrap();
    }
    let cluster = bench.cluster("demo", "small-cluster", r#"small-cluster = ["r1-c1-b[01-03]"]"#);
    bench.apply(&[&cluster, rule]).await;
    bench.post("clusters/demo/deploy", serde_json::json!({})).await;

    let stages = rehearsal(&bench, "bios").await;
    let told = of(&stages, "dhcp")[1];
    assert_eq!(told["rule"], "boot rule lab: loader = \"pxelinux.0\"");
    let config = of(&stages, "script")[0]["text"].as_str().unwrap();
    for name in
        ["01-52-54-00-00-01-01", "0A0C0101", "464c0000-0000-4000-8000-525400000101", "default"]
    {
        let sent = by_tftp(&bench, B01, &format!("pxelinux.cfg/{name}")).unwrap();
        assert_eq!(without_token(&String::from_utf8(sent).unwrap()), config, "{name}");
    }
    for name in ["01-52-54-00-00-01-02", "0A0C0102"] {
        assert_eq!(by_tftp(&bench, B01, &format!("pxelinux.cfg/{name}")), None, "{name}");
    }
    assert_eq!(by_tftp(&bench, STRANGER, "pxelinux.cfg/default"), None);
    assert_eq!(by_tftp(&bench, STRANGER, "grub/grub.cfg"), None);

    // GRUB is told the same by TFTP and by HTTP, and the kernel that it names is there by both.
    let grub = String::from_utf8(by_tftp(&bench, B02, "/grub/grub.cfg").unwrap()).unwrap();
    let http = bench.cable.get(B02, "/grub/grub.cfg");
    assert_eq!((http.status, http.text()), (200, grub.clone()));
    let head = bench.cable.head(B02, "/grub/grub.cfg");
    assert_eq!(head.header("content-length"), Some(grub.len().to_string().as_str()));
    let kernel = grub.split('\'').find(|word| word.starts_with("/images/sha256/")).unwrap();
    let sent = by_tftp(&bench, B02, kernel).unwrap();
    assert_eq!(sent, bench.cable.get(B02, kernel).body);
    assert_eq!(sent.len(), 100_000);
    assert_eq!(bench.cable.get(B02, "/loaders//shimx64.efi").status, 200, "as shim asks");
    bench
        .until(super::PATIENCE, "the kernel is a step of the road", |site| async move {
            site.blade("r1-c1-b02").await["phase"] == "kernel"
        })
        .await;
}
