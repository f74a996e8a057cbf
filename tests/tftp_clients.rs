//! Clients people have: curl, tftp-hpa, atftp, busybox's tftp, against our
//! server; and a second server beside it that must give the same answers.
use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc;

use async_tftp::server::TftpServerBuilder;
use firstlight::tftp::Options;

use crate::tftp_kit::{Client, Got, Kit, files, octets};

const SIZES: [usize; 6] = [0, 1, 512, 1024, 1_428, 700_001];

fn kit() -> Kit {
    let named: Vec<_> = SIZES.iter().map(|size| (format!("boot/{size}"), octets(*size))).collect();
    let named: Vec<_> = named.iter().map(|(name, octets)| (&**name, octets.clone())).collect();
    Kit::new(files(&named), Options::default())
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; is it installed?"))
}

/// Fetches each size by the command made of remote name, target and server,
/// and a missing file, which must fail.
fn fetches(sizes: &[usize], command: impl Fn(&str, &Path, SocketAddr) -> Command) {
    let kit = kit();
    let folder = tempfile::tempdir().unwrap();
    for size in sizes {
        let target = folder.path().join(size.to_string());
        let output = run(&mut command(&format!("boot/{size}"), &target, kit.address));
        let got = fs::read(&target).unwrap_or_else(|_| panic!("{size}: {output:?}"));
        assert!(got == octets(*size), "{size}: {} octets, {output:?}", got.len());
    }
    let target = folder.path().join("missing");
    let output = run(&mut command("boot/missing", &target, kit.address));
    let told = [&output.stdout[..], &output.stderr[..]].concat();
    let told = String::from_utf8_lossy(&told).to_lowercase();
    // curl says it by its exit status, 68.
    let not_found = told.contains("no such file") || told.contains("not found");
    assert!(not_found || output.status.code() == Some(68), "{output:?}");
}

#[test]
fn curl_fetches_every_size() {
    // curl takes a tsize of 0 for an illegal OACK, and creates no empty file.
    let sizes = &SIZES[1..];
    for options in [&[][..], &["--tftp-blksize", "1468"], &["--tftp-no-options"]] {
        fetches(sizes, |name, target, server| {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--max-time", "60"]).args(options).arg("-o").arg(target);
            curl.arg(format!("tftp://{server}/{name}"));
            curl
        });
    }
}

#[test]
fn tftp_hpa_fetches_every_size() {
    fetches(&SIZES, |name, target, server| {
        let mut tftp = Command::new("tftp");
        tftp.args(["-4", "-m", "binary"]).arg(server.ip().to_string());
        tftp.arg(server.port().to_string()).args(["-c", "get", name]).arg(target);
        tftp
    });
}

#[test]
fn tftp_hpa_reads_netascii() {
    let kit =
        Kit::new(files(&[("boot/text", b"one\ntwo\r\nthree\r".to_vec())]), Options::default());
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("text");
    let mut tftp = Command::new("tftp");
    tftp.args(["-4", "-m", "netascii"]).arg(kit.address.ip().to_string());
    tftp.arg(kit.address.port().to_string()).args(["-c", "get", "boot/text"]).arg(&target);
    let output = run(&mut tftp);
    assert_eq!(fs::read(&target).unwrap(), b"one\ntwo\r\nthree\r", "{output:?}");
}

#[test]
fn atftp_fetches_every_size() {
    let windowed = ["--option", "blksize 1428", "--option", "windowsize 8", "--option", "tsize 0"];
    for options in [&[][..], &windowed] {
        fetches(&SIZES, |name, target, server| {
            let mut atftp = Command::new("atftp");
            atftp.args(options).args(["-g", "-r", name, "-l"]).arg(target);
            atftp.arg(server.ip().to_string()).arg(server.port().to_string());
            atftp
        });
    }
}

/// As rescue systems and initrds have it.
#[test]
fn busyboxs_tftp_fetches_every_size() {
    for options in [&[][..], &["-b", "1468"], &["-b", "65464"]] {
        fetches(&SIZES, |name, target, server| {
            let mut tftp = Command::new("busybox");
            tftp.arg("tftp").args(options).args(["-g", "-r", name, "-l"]).arg(target);
            tftp.arg(server.ip().to_string()).arg(server.port().to_string());
            tftp
        });
    }
}

/// async-tftp on a thread, serving `folder` until the process ends: it knows
/// no other end.
fn peer(folder: &Path) -> SocketAddr {
    let folder = folder.to_owned();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let server = TftpServerBuilder::with_dir_ro(&folder).unwrap().bind(any);
            let server = server.build().await.unwrap();
            tell.send(server.listen_addr().unwrap()).unwrap();
            let _ = server.serve().await;
        });
    });
    told.recv().unwrap()
}

#[test]
fn another_server_gives_the_same_octets_and_the_same_kind_of_error() {
    let kit = kit();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("boot")).unwrap();
    for size in SIZES {
        fs::write(folder.path().join(format!("boot/{size}")), octets(size)).unwrap();
    }
    let servers = [kit.address, peer(folder.path())];
    let both = |ask: &dyn Fn(Client) -> Vec<u8>| {
        let answers = servers.map(|server| {
            let mut client = kit.client();
            client.server = server;
            ask(client)
        });
        assert!(answers[0] == answers[1], "{:?}", answers.map(|answer| answer.len()));
    };
    let options: [&[(&str, &str)]; 5] = [
        &[],
        &[("tsize", "0")],
        &[("blksize", "1468")],
        &[("blksize", "1024"), ("windowsize", "8")],
        &[("x-unknown", "1"), ("tsize", "0"), ("BLKSIZE", "8192")],
    ];
    for options in options {
        for size in SIZES {
            let name = format!("boot/{size}");
            both(&|mut client| client.fetch(&name, options, |_| false));
        }
    }
    for name in ["boot/missing", "/boot/missing", "missing/1"] {
        both(&|mut client| {
            client.ask(name, "octet", &[]);
            client.receive().error().to_be_bytes().into()
        });
    }
    let first_answer = |server, options: &[(&str, &str)]| {
        let mut client = kit.client();
        client.server = server;
        client.ask("boot/1024", "octet", options);
        match client.receive() {
            Got::Oack(options) => options.into_iter().collect::<HashMap<_, _>>(),
            _ => HashMap::new(),
        }
    };
    for options in options {
        let [ours, theirs] = servers.map(|server| first_answer(server, options));
        assert_eq!(ours, theirs, "the OACK for {options:?}");
    }
}
