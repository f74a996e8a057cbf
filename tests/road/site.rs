//! A site to test: a virtual rack, a daemon inside its network, and its API.

use std::{
    fs,
    future::Future,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::small;
use crate::lab::Lab;

/// Cheap to clone; the last one takes daemon and rack down.
#[derive(Clone)]
pub struct Site(Arc<Inner>);

impl std::ops::Deref for Site {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

pub struct Inner {
    daemon: Mutex<Child>,
    url: Mutex<String>,
    client: reqwest::Client,
    /// Unmounted before the rack goes.
    _disk: Option<small::Disk>,
    pub lab: Lab,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let daemon = self.daemon.get_mut().unwrap();
        let _ = daemon.kill();
        let _ = daemon.wait();
        if std::thread::panicking() {
            eprintln!(
                "--- the daemon's log\n{}",
                fs::read_to_string(self.lab.file("daemon.log")).unwrap_or_default()
            );
        }
    }
}

pub fn image() -> PathBuf {
    built("images/debian-12", "make images")
}

/// What is built before the tests are run.
pub fn built(part: &str, by: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("build").join(part);
    assert!(dir.join(".stamp").exists(), "there is nothing in {}: run `{by}`", dir.display());
    dir
}

fn firstlight(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_firstlight")).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "firstlight {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Starts the daemon in the lab's network with its page on a free port of the host.
fn start(lab: &Lab) -> (Child, String) {
    let config = lab.file("firstlight.toml");
    let binary = env!("CARGO_BIN_EXE_firstlight");
    let mut daemon = lab
        .command(
            "exec",
            &[
                "--listen",
                "127.0.0.1:0",
                "--",
                binary,
                "serve",
                "--config",
                config.to_str().unwrap(),
            ],
        )
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(daemon.stderr.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    let address = first.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    let path = lab.file("daemon.log");
    std::thread::spawn(move || {
        let mut log = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        let _ = std::io::copy(&mut lines.by_ref(), &mut log);
    });
    assert!(first.contains("listening on"), "the daemon did not start: {first}");
    (daemon, format!("http://{address}"))
}

impl Site {
    pub async fn up(name: &str, options: &[&str]) -> Site {
        Site::up_with(name, options, "").await
    }

    /// `extra` is put before the tables of the daemon's configuration; `KEY` in it is replaced
    /// by the public key of the test.
    pub async fn up_with(name: &str, options: &[&str], extra: &str) -> Site {
        let (image, lab) = (image(), Lab::up(name, options));
        Site::serve(lab, &image, extra, None).await
    }

    /// Without the power to boot anything: a boot image of a few bytes, blades that are started
    /// by hand. `data_dir` is a disk of its own with so many megabytes, if any are given.
    pub async fn small(name: &str, extra: &str, megabytes: Option<u32>) -> Site {
        let lab = Lab::up(name, &["--blades", "3"]);
        fs::create_dir_all(lab.file("data")).unwrap();
        let disk = megabytes.map(|size| small::Disk::mount(&lab.file("data"), size));
        let image = small::image(&lab.file("bundle"));
        small::by_hand(&lab.file("inventory.toml"));
        Site::serve(lab, &image, extra, disk).await
    }

    pub async fn serve(lab: Lab, image: &Path, extra: &str, disk: Option<small::Disk>) -> Site {
        let key = lab.file("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
            .arg(&key)
            .status();
        assert!(made.unwrap().success());
        let public = fs::read_to_string(key.with_extension("pub")).unwrap();
        let config = lab.file("firstlight.toml");
        let text = fs::read_to_string(&config).unwrap();
        let (head, tables) = text.split_once("\n[boot]").unwrap();
        // Keys of the top level stand before the first table, the tables after the last.
        let (top, own) = extra.split_at(extra.find('[').unwrap_or(extra.len()));
        let own = own.replace("KEY", public.trim());
        fs::write(&config, format!("{head}\n{top}\n[boot]{tables}\n{own}")).unwrap();
        let data = lab.file("data");
        firstlight(&[
            "image",
            "import",
            "--data-dir",
            data.to_str().unwrap(),
            image.to_str().unwrap(),
        ]);
        let (daemon, url) = start(&lab);
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            // The daemon closes an idle connection after ten seconds; a request sent at that
            // moment would be lost (RFC 9112 §9.3.1).
            .pool_idle_timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let site = Site(Arc::new(Inner {
            daemon: Mutex::new(daemon),
            url: Mutex::new(url),
            client,
            _disk: disk,
            lab,
        }));
        site.until(Duration::from_secs(30), "the daemon answers", |site| async move {
            site.answers().await
        })
        .await;
        site
    }

    async fn answers(&self) -> bool {
        let url = self.url.lock().unwrap().clone();
        self.client
            .get(format!("{url}/readyz"))
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
    }

    /// `kill -9`, then a new daemon on the same data.
    pub async fn kill_and_restart(&mut self) {
        {
            let mut daemon = self.daemon.lock().unwrap();
            // `lab exec` has become the daemon: the same process.
            daemon.kill().unwrap();
            daemon.wait().unwrap();
            let (child, url) = start(&self.lab);
            *daemon = child;
            *self.url.lock().unwrap() = url;
        }
        self.until(Duration::from_secs(30), "the daemon answers again", |site| async move {
            site.answers().await
        })
        .await;
    }

    /// Waits for a condition; panics with its name when `limit` has passed.
    pub async fn until<F, Fut>(&self, limit: Duration, what: &str, condition: F)
    where
        F: Fn(Site) -> Fut,
        Fut: Future<Output = bool>,
    {
        let begin = Instant::now();
        while !condition(self.clone()).await {
            assert!(
                begin.elapsed() < limit,
                "in vain waited {limit:?} until {what}\n{}",
                self.story().await
            );
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    pub async fn until_ready(&self, blades: &[&str], limit: Duration) {
        let names: Vec<String> = blades.iter().map(|name| (*name).to_owned()).collect();
        self.until(limit, "all blades are ready", |site| {
            let names = names.clone();
            async move {
                for name in &names {
                    let blade = site.blade(name).await;
                    assert_ne!(
                        blade["class"],
                        "failed",
                        "{name} failed: {}\n{}",
                        blade["reason"],
                        site.story().await
                    );
                    if blade["class"] != "ready" {
                        return false;
                    }
                }
                true
            }
        })
        .await;
    }

    /// The end of the journal, for a failed test's message.
    async fn story(&self) -> String {
        if !self.answers().await {
            return "the daemon does not answer".to_owned();
        }
        let events = self.events().await;
        let line = |event: &Value| {
            format!("{} {} {} {}", event["id"], event["blade"], event["kind"], event["text"])
        };
        events.iter().rev().take(40).rev().map(line).collect::<Vec<_>>().join("\n")
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, text) = self.page(&format!("/api/v1/{path}")).await;
        assert_eq!(status, 200, "GET {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Status and text of anything that people can see.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let answer = self.client.get(format!("{}{path}", self.url())).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub fn url(&self) -> String {
        self.url.lock().unwrap().clone()
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (status, value) = self.ask(path, body).await;
        assert!((200..300).contains(&status), "POST {path}: {status} {value}");
        value
    }

    /// Like `post`, where a refusal is an answer too.
    pub async fn ask(&self, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/api/v1/{path}", self.url());
        let answer = self.client.post(url).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    pub async fn events(&self) -> Vec<Value> {
        match self.get("events?after=0&limit=5000").await {
            Value::Array(events) => events,
            other => panic!("no list of events: {other}"),
        }
    }

    pub async fn blade(&self, name: &str) -> Value {
        self.get(&format!("blades/{name}")).await["blade"].take()
    }

    pub async fn power(&self, blade: &str, op: &str) {
        self.post(&format!("blades/{blade}/power"), json!({ "op": op })).await;
    }

    /// The TOML of a cluster with the test's key.
    pub fn cluster(&self, name: &str, topology: &str, roles: &str) -> String {
        let key = fs::read_to_string(self.lab.file("key.pub")).unwrap();
        let key = key.trim();
        format!(
            "[[cluster]]\nname = \"{name}\"\ntopology = \"{topology}\"\n[cluster.parameters]\nssh_keys = [\"{key}\"]\n[cluster.roles]\n{roles}\n"
        )
    }

    /// Applies the rack's inventory and what is given beside it.
    pub async fn apply(&self, more: &[&str]) {
        let rack = fs::read_to_string(self.lab.file("inventory.toml")).unwrap();
        let mut files = vec![("inventory.toml".to_owned(), rack)];
        files.extend(
            more.iter().enumerate().map(|(n, text)| (format!("{n}.toml"), (*text).to_owned())),
        );
        self.post("apply", json!({ "files": files })).await;
    }

    pub fn console(&self, blade: &str) -> String {
        self.lab.console(blade)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.lab.file("daemon.log")).unwrap_or_default()
    }

    /// Memory of the daemon itself, without the boot images it maps: those are the page cache.
    pub fn memory_kib(&self) -> u64 {
        let pid = self.daemon.lock().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Asks etcd with etcdctl over ssh on a blade: every member healthy, as many as asked.
    pub fn etcd_is_healthy_as_asked_on_a_blade(&self, address: &str, members: usize) {
        let key = self.lab.file("key");
        let endpoints: Vec<String> =
            (1..=members).map(|n| format!("http://10.12.1.{n}:2379")).collect();
        let ask = format!(
            "ETCDCTL_API=3 etcdctl --endpoints={} endpoint health 2>&1",
            endpoints.join(",")
        );
        let options = "-q -o BatchMode=yes -o ConnectTimeout=60 -o StrictHostKeyChecking=no \
                       -o UserKnownHostsFile=/dev/null -i";
        let (key, person) = (key.to_str().unwrap(), format!("core@{address}"));
        let ssh = ["--", "ssh"].into_iter().chain(options.split_whitespace());
        let ssh: Vec<&str> = ssh.chain([key, &person, &ask]).collect();
        let output = self.lab.command("exec", &ssh).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(said.matches("is healthy").count(), members, "{said}");
    }

    /// Random octets to every port that blades reach, from inside the rack's network.
    pub fn throw_garbage(&self, round: u64) {
        let script = format!(
            r"
import os, socket, random
random.seed({round})
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
dhcp = bytes([1, 1, 255, 0]) + os.urandom(232) + bytes([99, 130, 83, 99])
for port in (67, 69):
    for _ in range(50):
        udp.sendto(os.urandom(random.randrange(0, 1400)), ('10.12.0.1', port))
    udp.sendto(dhcp + bytes([53, 1, 1, 255]), ('10.12.0.1', port))
    udp.sendto(dhcp.replace(bytes([255]), bytes([6]), 1) + bytes([53, 1, 1, 61, 200, 1]), ('10.12.0.1', port))
    udp.sendto(b'\x00\x01' + b'A' * 1300, ('10.12.0.1', port))
for payload in (os.urandom(4096), b'GET / HTTP/1.1\r\nHost: x\r\nX: ' + b'A' * (1 << 20), b'GET /../../etc/passwd HTTP/1.0\r\n\r\n'):
    try:
        tcp = socket.create_connection(('10.12.0.1', 80), 2)
        tcp.sendall(payload)
        tcp.settimeout(1)
        answer = tcp.recv(4096)
        assert b'root:' not in answer
        tcp.close()
    except OSError:
        pass
"
        );
        let output = self.lab.command("exec", &["--", "python3", "-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
