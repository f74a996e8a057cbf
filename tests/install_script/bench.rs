//! What the installer is run against: a server that can be told to stumble, and a target disk.

use std::{
    fs,
    ops::Range,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Path as UrlPath, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub const MIB: usize = 1_048_576;
const TOKEN: &str = "bt_8d1f.Very-Secret_0042";
const ATTEMPT: &str = "0192f0aa-0000-7000-8000-000000000001";
/// Where the tests' image has its root file system.
const ROOT_START: usize = 13 * MIB;
const TARGET_SIZE: u64 = 96 * MIB as u64;

/// How the server misbehaves.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Of all requests these, counted from 0, are answered 503.
    pub unavailable: Range<usize>,
    /// Every second answer with a part of the image ends in its middle.
    pub break_off: bool,
    /// This byte of the image is wrong.
    pub flip: Option<usize>,
    /// The attempt is over once this phase begins; with this status.
    pub over: Option<(&'static str, u16)>,
}

#[derive(Debug, Clone, Copy)]
pub enum Shell {
    Dash,
    Bash,
    /// With busybox's tools alone, as in the live image: no curl.
    Busybox,
}

pub struct Run {
    pub code: i32,
    /// Both outputs, as they would stand on the console.
    pub output: String,
}

struct Server {
    faults: Faults,
    image: Vec<u8>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: usize,
    parts: usize,
    events: Vec<Value>,
    finished: usize,
}

pub struct Bench {
    dir: TempDir,
    url: String,
    unpacked: Vec<u8>,
    sha256: String,
    server: Arc<Server>,
}

impl Bench {
    pub async fn start(faults: Faults) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let (unpacked, mut image) = make_image(dir.path());
        let sha256 = hex::encode(Sha256::digest(&image));
        if let Some(at) = faults.flip {
            image[at] ^= 0x10;
        }
        for name in ["mounted", "sys", "dev", "busybox"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::File::create(dir.path().join("target")).unwrap().set_len(TARGET_SIZE).unwrap();
        let server = Arc::new(Server { faults, image, seen: Mutex::default() });
        let app = Router::new()
            .route("/config/small-cluster/{name}", get(document))
            .route("/images/disk", get(image_part))
            .route("/api/v1/attempts/{attempt}/events", post(event))
            .route("/notify/finish", post(finish))
            .layer(axum::middleware::from_fn_with_state(server.clone(), stumble))
            .with_state(server.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Bench { dir, url, unpacked, sha256, server }
    }

    /// Runs the installer to its end; `more` variables overrule the usual ones.
    pub async fn install(&self, shell: Shell, more: &[(&'static str, String)]) -> Run {
        let path = |name: &str| self.path(name).display().to_string();
        let mut variables = vec![
            ("FL_URL", self.url.clone()),
            ("FL_ATTEMPT", ATTEMPT.into()),
            ("FL_TOKEN", TOKEN.into()),
            ("FL_MENU", "small-cluster".into()),
            ("FL_BLADE", "b1".into()),
            ("FL_ARCH", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }.into()),
            ("FL_OS", "debian".into()),
            ("FL_IMAGE_URL", format!("{}/images/disk", self.url)),
            ("FL_IMAGE_SIZE", self.image_size().to_string()),
            ("FL_IMAGE_SHA256", self.sha256.clone()),
            ("FL_IMAGE_COMPRESSION", "gzip".into()),
            ("FL_IMAGE_UNPACKED_SIZE", self.unpacked.len().to_string()),
            ("FL_ROOT_PARTITION", "3".into()),
            ("FL_MIN_RAM_MB", "64".into()),
            ("FL_DISK", String::new()),
            ("FL_WIPE", "confirm".into()),
            ("FL_TARGET", path("target")),
            ("FL_MOUNT", path("mounted")),
            ("FL_NO_REBOOT", "1".into()),
        ];
        variables.extend(more.iter().cloned());
        self.run(shell, "install.sh", &variables).await
    }

    /// Runs the first stage; the installer it fetches only says that it runs.
    pub async fn setup(&self, shell: Shell) -> Run {
        let url = format!("{}/config/small-cluster/pxe.sh?token={TOKEN}", self.url);
        let variables = [("FL_PXE_URL", url), ("FL_TOKEN", TOKEN.into())];
        self.run(shell, "setup.sh", &variables).await
    }

    async fn run(&self, shell: Shell, script: &str, variables: &[(&str, String)]) -> Run {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("cloud-configs").join(script);
        let quoted = |value: &str| format!("'{}'", value.replace('\'', r"'\''"));
        let header: String =
            variables.iter().map(|(name, value)| format!("{name}={}\n", quoted(value))).collect();
        let whole = format!("#!/bin/sh\n{header}{}", fs::read_to_string(source).unwrap());
        fs::write(self.path("pxe.sh"), whole).unwrap();
        let work = self.path("work");
        let _ = fs::remove_dir_all(&work);
        fs::create_dir(&work).unwrap();
        let mut command = self.shell(shell);
        command.arg(self.path("pxe.sh")).env("FL_WORK", &work).env("FL_RUN", &work);
        let answer = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        let Output { status, stdout, stderr } = answer.expect("the shell is there");
        let output = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Run { code: status.code().unwrap_or(-1), output: output.concat() }
    }

    fn shell(&self, shell: Shell) -> Command {
        match shell {
            Shell::Dash => Command::new("dash"),
            Shell::Bash => Command::new("bash"),
            Shell::Busybox => {
                let tools = self.path("busybox");
                let list = output("busybox", &["--list"]);
                for applet in String::from_utf8(list).unwrap().lines() {
                    let _ = symlink(which("busybox"), tools.join(applet));
                }
                for tool in ["sfdisk", "resize2fs", "e2fsck"] {
                    let _ = symlink(which(tool), tools.join(tool));
                }
                let mut command = Command::new(tools.join("ash"));
                command.env("PATH", &tools);
                command
            }
        }
    }

    /// A disk of `mib` MiB under the stand-ins for /sys/block and /dev.
    pub fn disk(&self, name: &str, mib: u64, attributes: &[(&str, &str)]) {
        self.disk_at(&self.path("sys").join(name), name, mib, attributes);
    }

    pub fn usb_disk(&self, name: &str, mib: u64) {
        let device = self.path("devices/pci0000:00/usb1/1-1/block").join(name);
        self.disk_at(&device, name, mib, &[]);
        symlink(device, self.path("sys").join(name)).unwrap();
    }

    fn disk_at(&self, dir: &Path, name: &str, mib: u64, attributes: &[(&str, &str)]) {
        let sectors = (mib * 2048).to_string();
        for (attribute, value) in attributes.iter().chain(&[("size", sectors.as_str())]) {
            let file = dir.join(attribute);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, format!("{value}\n")).unwrap();
        }
        fs::File::create(self.device(name)).unwrap().set_len(mib * MIB as u64).unwrap();
    }

    /// Variables that make the installer choose among [`Bench::disk`]s.
    pub fn real_disks(&self, rule: &str) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.path(name).display().to_string();
        vec![
            ("FL_TARGET", String::new()),
            ("FL_SYS", path("sys")),
            ("FL_DEV", path("dev")),
            ("FL_TIME_URL", format!("{}/nothing-here", self.url)),
            ("FL_DISK", rule.to_owned()),
        ]
    }

    pub fn assert_no_token(&self, run: &Run) {
        assert!(!run.output.contains(TOKEN), "the console shows the token: {}", run.output);
        let log = fs::read_to_string(self.path("work/log")).unwrap_or_default();
        assert!(!log.contains(TOKEN), "the log holds the token: {log}");
        for event in self.events() {
            assert!(!event.to_string().contains(TOKEN), "an event holds the token: {event}");
        }
    }

    /// A file of the installed system, read from the target without mounting it.
    pub fn read_inside(&self, path: &str) -> String {
        let whole = fs::read(self.target()).unwrap();
        let image = self.path("root.img");
        fs::write(&image, &whole[ROOT_START..]).unwrap();
        let request = format!("cat {path}");
        let image = image.display().to_string();
        String::from_utf8(output("/sbin/debugfs", &["-R", &request, &image])).unwrap()
    }

    pub fn events(&self) -> Vec<Value> {
        self.server.seen.lock().unwrap().events.clone()
    }

    pub fn finished(&self) -> usize {
        self.server.seen.lock().unwrap().finished
    }

    pub fn image_size(&self) -> u64 {
        self.server.image.len() as u64
    }

    pub fn unpacked(&self) -> &[u8] {
        &self.unpacked
    }

    pub fn target(&self) -> PathBuf {
        self.path("target")
    }

    pub fn mounted(&self) -> PathBuf {
        self.path("mounted")
    }

    pub fn device(&self, name: &str) -> PathBuf {
        self.path("dev").join(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

pub fn can_mount() -> bool {
    nix::unistd::geteuid().is_root()
        && Command::new("losetup").arg("-f").output().is_ok_and(|answer| answer.status.success())
}

/// A disk with a partition of noise and one with an empty ext4: unpacked, and as gzip packs it.
fn make_image(dir: &Path) -> (Vec<u8>, Vec<u8>) {
    let mut state = 7_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    });
    fs::write(dir.join("noise"), noise.take(9 * MIB).collect::<Vec<u8>>()).unwrap();
    let script = r#"
        set -eu
        PATH=$PATH:/usr/sbin:/sbin
        truncate -s 32M image
        printf 'label: gpt\nstart=2048,size=2048\nstart=4096,size=22528\nstart=26624,size=34816\n' | sfdisk -q image
        truncate -s 17M root && mke2fs -q -t ext4 root
        dd if=noise of=image bs=1M seek=2 conv=notrunc status=none
        dd if=root of=image bs=1M seek=13 conv=notrunc status=none
        gzip -n -1 -k image
    "#;
    let answer = Command::new("sh").args(["-c", script]).current_dir(dir).output().unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let read = |name: &str| fs::read(dir.join(name)).unwrap();
    let whole = (read("image"), read("image.gz"));
    for name in ["image", "image.gz", "root", "noise"] {
        fs::remove_file(dir.join(name)).unwrap();
    }
    whole
}

fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    Command::new(program).args(arguments).output().expect(program).stdout
}

fn which(program: &str) -> PathBuf {
    let known = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&known).collect();
    dirs.extend(["/usr/sbin".into(), "/sbin".into()]);
    let found = dirs.into_iter().map(|dir| dir.join(program)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{program} is missing"))
}

async fn stumble(
    State(server): State<Arc<Server>>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    let number = {
        let mut seen = server.seen.lock().unwrap();
        seen.requests += 1;
        seen.requests - 1
    };
    if server.faults.unavailable.contains(&number) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let expected = format!("Bearer {TOKEN}");
    if request.headers().get(header::AUTHORIZATION).is_none_or(|value| *value != *expected) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    next.run(request).await
}

async fn document(UrlPath(name): UrlPath<String>) -> String {
    match name.as_str() {
        "pxe.sh" => "#!/bin/sh\nmain() { echo the installer runs; }\nmain\n".to_owned(),
        _ => format!("{name} of b1\n"),
    }
}

async fn image_part(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (first, last) = range
        .and_then(|range| range.strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
        .map(|(first, last)| (first.parse().unwrap(), last.parse::<usize>().unwrap()))
        .expect("the installer asks for parts");
    let part = Bytes::copy_from_slice(&server.image[first..=last]);
    let number = {
        let mut seen = server.seen.lock().unwrap();
        seen.parts += 1;
        seen.parts
    };
    let content = format!("bytes {first}-{last}/{}", server.image.len());
    let length = part.len().to_string();
    let head = [(header::CONTENT_RANGE, content), (header::CONTENT_LENGTH, length)];
    let body = if server.faults.break_off && number % 2 == 1 {
        let half = part.slice(..part.len() / 2);
        let pieces = [Ok(half), Err(std::io::Error::other("the server is gone"))];
        Body::from_stream(futures_util::stream::iter(pieces))
    } else {
        Body::from(part)
    };
    (StatusCode::PARTIAL_CONTENT, head, body).into_response()
}

async fn event(
    State(server): State<Arc<Server>>,
    UrlPath(attempt): UrlPath<String>,
    body: String,
) -> StatusCode {
    assert_eq!(attempt, ATTEMPT);
    assert!(body.len() <= 32 * 1024);
    let Ok(event) = serde_json::from_str::<Value>(&body) else {
        panic!("not JSON: {body}");
    };
    let mut seen = server.seen.lock().unwrap();
    let over = server.faults.over.filter(|(phase, _)| event["phase"] == *phase);
    if !seen.events.iter().any(|known| known["seq"] == event["seq"]) {
        seen.events.push(event);
    }
    match over {
        Some((_, status)) => StatusCode::from_u16(status).unwrap(),
        None => StatusCode::OK,
    }
}

async fn finish(State(server): State<Arc<Server>>, body: String) -> StatusCode {
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["attempt"], ATTEMPT);
    server.seen.lock().unwrap().finished += 1;
    StatusCode::OK
}
