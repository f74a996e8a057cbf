//! The two stages before the disk, and the report from the installed system.
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::Command,
    thread,
};

use firstlight::{
    blade::{Arch, Phase, Report, ReportState},
    topology::{Os, Target, Wipe, pxe_sh, pxe_yml, validate_coreos},
};
use serde_json::Value;

use super::{KEY, boot, every_document, judges, name};

const SETUP_SH: &str = "wget -q -O- \"$FL_PXE_URL\" | sh\n";

fn target() -> Target {
    Target {
        blade: name("n21"),
        arch: Arch::Amd64,
        os: Os::Debian,
        image_url: "http://10.12.1.55/images/0a1b".into(),
        image_size: 123_456_789,
        image_sha256: "0a1b".repeat(16),
        compression: "gzip".into(),
        unpacked_size: 2_147_483_648,
        root_partition: 2,
        min_ram_mb: 512,
        disk: "serial=it's $HOME `here` \\".into(),
        wipe: Wipe::Refuse,
    }
}

#[test]
fn stage_one_is_a_cloud_config_that_starts_setup_from_ram() {
    let text = pxe_yml(&boot(), &name("small-10-12-1-21"), &[KEY.to_owned()], SETUP_SH);
    assert_eq!(validate_coreos(&text), []);
    let read = judges::py_yaml(&text);
    let file = &read["write_files"][0];
    assert_eq!(file["path"], "/run/firstlight/setup.sh");
    assert_eq!(file["permissions"], "0755");
    let script = file["content"].as_str().unwrap();
    assert!(script.ends_with(SETUP_SH));
    assert!(script.contains("FL_PXE_URL='http://10.12.1.55/config/small-cluster/pxe.sh'\n"));
    assert!(script.contains(&format!("FL_TOKEN='{}'\n", boot().token)));
    let unit = &read["coreos"]["units"][0];
    assert_eq!((&unit["name"], &unit["command"]), (&"setup.service".into(), &"start".into()));
    assert!(unit["content"].as_str().unwrap().contains("ExecStart=/bin/sh /run/firstlight/setup"));
    insta::assert_snapshot!("pxe_yml", text);
}

#[test]
fn no_value_leaves_its_quotes_in_stage_two() {
    let text = pxe_sh(&boot(), &target(), "set | grep ^FL_ >/dev/null; printf '%s' \"$FL_DISK\"\n");
    let run = Command::new("sh").arg("-c").arg(&text).output().unwrap();
    assert_eq!(String::from_utf8(run.stdout).unwrap(), target().disk);
    assert_eq!(run.stderr, b"");
    insta::assert_snapshot!("pxe_sh", text);
}

/// No private key, no join token, no password of any kind is in what a blade is sent.
#[test]
fn boot_documents_hold_no_secret_but_the_boot_token_c31() {
    let mut texts = vec![
        pxe_yml(&boot(), &name("n21"), &[KEY.to_owned()], SETUP_SH),
        pxe_sh(&boot(), &target(), ""),
    ];
    for document in every_document() {
        let seed = document.cloud_init(Some(&boot()));
        texts.extend([seed.user_data, seed.meta_data, seed.network_config]);
        texts.extend([document.coreos(Some(&boot())), document.ignition(Some(&boot()))]);
    }
    for text in texts {
        for secret in ["PRIVATE KEY", "certificateKey", "passwd:", "hashed_passwd", "$6$", "$y$"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

/// The reporter of a rendered document, moved from / to a directory.
fn up_script(root: &str, url: &str) -> String {
    let mut boot = boot();
    boot.url = url.into();
    let user_data = every_document()[0].cloud_init(Some(&boot)).user_data;
    let data: Value = serde_json::from_str(user_data.split_once('\n').unwrap().1).unwrap();
    for file in data["write_files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap().rsplit('/').next().unwrap();
        let content = file["content"].as_str().unwrap();
        let moved = ["/etc/firstlight", "/var/lib/firstlight", "/etc/ssh"]
            .iter()
            .fold(content.to_owned(), |text, old| text.replace(old, root));
        fs::write(format!("{root}/{path}"), moved).unwrap();
    }
    format!("{root}/up.sh")
}

/// Answers one request per status; gives each request's head and body.
fn server(
    statuses: &'static [&'static str],
) -> (String, thread::JoinHandle<Vec<(String, String)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = move || {
        let one = |status: &&str| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0);
            }
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let mut body = vec![0; length.unwrap().parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .unwrap();
            (head, String::from_utf8(body).unwrap())
        };
        statuses.iter().map(one).collect()
    };
    (url, thread::spawn(serve))
}

#[test]
fn the_installed_system_reports_up_until_the_server_has_it_then_never_again() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().to_str().unwrap();
    let (url, served) = server(&["503 Busy", "200 OK"]);
    let script = up_script(root, &url);
    let run = || Command::new("sh").arg(&script).output().unwrap();
    let said = run();
    assert!(!said.status.success(), "without host keys the system is not up");
    assert!(String::from_utf8_lossy(&said.stderr).contains("no SSH host key yet"));
    fs::write(format!("{root}/ssh_host_ed25519_key.pub"), format!("{KEY}\n")).unwrap();
    fs::write(format!("{root}/ssh_host_rsa_key.pub"), "ssh-rsa \"}],\"x\": bad\n").unwrap();
    assert!(!run().status.success(), "503: again");
    let said = run();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(run().status.success(), "done, though nobody listens any more");
    let requests = served.join().unwrap();
    for (head, body) in &requests {
        let path = format!("POST /api/v1/attempts/{}/events HTTP/1.1", boot().attempt);
        assert_eq!(head.lines().next(), Some(&path[..]));
        assert!(head.contains(&format!("Authorization: Bearer {}\r\n", boot().token)), "{head}");
        let report: Report = serde_json::from_str(body).unwrap();
        assert_eq!((report.phase, report.state), (Phase::Up, ReportState::Ok));
        assert_eq!(report.seq, 1_000_001, "behind all that the installer reported");
        let keys: Vec<String> = report.host_keys.unwrap();
        assert_eq!(keys, [KEY.rsplit_once(' ').unwrap().0], "well-formed keys only");
    }
    assert_eq!(requests.len(), 2);
}
