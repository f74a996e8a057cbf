//! The pages as a browser without JavaScript uses them: links, forms, redirects.

use std::{fs, sync::Arc};

use firstlight::{
    blade::{Kind, Mac, Phase, Report, ReportState, Step},
    http::{App, BootKey, Scripts, people_router, serve},
    images::{Images, Loaders},
    inventory::Machine,
    journal::{Begun, Journal, Sighting},
    topology::{Catalogue, embedded},
};
use reqwest::{StatusCode, redirect::Policy};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{Database, Sqlite, THREE_BLADES};

const SSH_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPpvkdS5Z7H0lDZy4mFnZ8YqSxzWWlb9UuDvjkK5RrBf ops";

/// The UI listener of a site with three blades, a cluster of them and a boot image.
struct Site {
    base: String,
    client: reqwest::Client,
    journal: Journal,
    database: Database,
    _stop: DropGuard,
}

/// An answer: status, headers worth a look, text.
struct Page {
    status: StatusCode,
    location: String,
    cookie: String,
    text: String,
}

impl Site {
    async fn new() -> Site {
        let database = Sqlite.database().await;
        let journal = database.journal().await;
        let images = Images::open(database.dir()).unwrap();
        images.import(&bundle(&database), &mut |_, _| {}).unwrap();
        let stop = CancellationToken::new();
        let app = Arc::new(App {
            snapshot: journal.snapshot(),
            journal: journal.clone(),
            catalogue: Catalogue::from_sources(embedded()).unwrap(),
            images,
            loaders: Loaders::open(database.dir()),
            key: BootKey::open(database.dir()).unwrap(),
            boot_url: Some("http://10.12.0.1".to_owned()),
            scripts: Scripts::default(),
            told: firstlight::http::Repeats::default(),
            shutdown: stop.clone(),
            rehearse: Arc::new(|_, _| Vec::new()),
            rehearse6: Arc::new(|_, _| Vec::new()),
            metrics: Arc::new(String::new),
            check: Arc::new(Vec::new),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, people_router(app), stop.clone()));
        let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        let site = Site { base, client, journal, database, _stop: stop.drop_guard() };
        let inventory =
            format!("{THREE_BLADES}\n[cluster.parameters]\nssh_keys = [\"{SSH_KEY}\"]\n").replace(
                "[cluster.roles]\nsmall-cluster = [\"b[1-3]\"]",
                "roles = { small-cluster = [\"b1\", \"b2\", \"b3\"] }",
            );
        let request = json!({ "files": [["site.toml", inventory]] });
        let applied =
            site.client.post(site.url("/api/v1/apply")).json(&request).send().await.unwrap();
        assert_eq!(applied.status(), StatusCode::OK, "{}", applied.text().await.unwrap());
        site
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn get(&self, path: &str) -> Page {
        self.ask(self.client.get(self.url(path)).header("accept", "text/html")).await
    }

    async fn post(&self, path: &str, form: &'static str) -> Page {
        let request = self
            .client
            .post(self.url(path))
            .header("content-type", "application/x-www-form-urlencoded");
        self.ask(request.header("sec-fetch-site", "same-origin").body(form)).await
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Page {
        let answer = request.send().await.unwrap();
        let header = |name: &str| {
            answer
                .headers()
                .get(name)
                .map_or(String::new(), |value| value.to_str().unwrap().to_owned())
        };
        let (status, location, cookie) =
            (answer.status(), header("location"), header("set-cookie"));
        Page { status, location, cookie, text: answer.text().await.unwrap() }
    }

    /// A machine that waits.
    async fn stranger(&self, n: u8, report: serde_json::Value) -> Mac {
        let mac = Mac([0x52, 0x54, 0, 9, 9, n]);
        let machine = Machine::read(report.to_string().as_bytes()).unwrap();
        self.journal.discovered(mac, None, None, machine).await.unwrap();
        mac
    }

    /// An attempt of b1 that has told of its hardware and writes.
    async fn writing(&self) -> Begun {
        let order = ("b1".parse().unwrap(), "prod".parse().unwrap(), "small-cluster".to_owned());
        let begun = self.journal.begin(vec![order], Phase::Off, "test").await.unwrap().remove(0);
        let hello = json!({ "serial": "CN77<b>", "ram_mb": 2048, "disks": [{ "name": "vda", "size": 10_000_000_000_i64, "model": "QEMU", "serial": "QM01" }] });
        for (seq, phase, hello) in [(1, Phase::Live, Some(hello)), (2, Phase::Write, None)] {
            let report = Report {
                attempt: begun.id,
                seq,
                phase,
                state: ReportState::Progress,
                bytes_done: Some(500),
                bytes_total: Some(1000),
                mono_ms: None,
                msg: "<script>alert(1)</script>".to_owned(),
                code: None,
                log_tail: None,
                hello,
                host_keys: None,
            };
            self.journal.report(report).await.unwrap();
        }
        begun
    }
}

fn bundle(database: &Database) -> std::path::PathBuf {
    let folder = database.dir().join("bundle");
    fs::create_dir_all(&folder).unwrap();
    let mut manifest = "[bundle]\nname = \"debian-12\"\nversion = \"1\"\nos = \"debian\"\nos_version = \"12\"\ncreated = \"2026-11-20T00:00:00Z\"\n".to_owned();
    for kind in ["kernel", "initrd", "image"] {
        fs::write(folder.join(kind), kind).unwrap();
        let digest = hex::encode(Sha256::digest(kind));
        manifest += &format!(
            "[[artifact]]\npath = \"{kind}\"\nkind = \"{kind}\"\narch = \"amd64\"\nsize = {}\nsha256 = \"{digest}\"\n",
            kind.len()
        );
        if kind == "image" {
            manifest += &format!(
                "compression = \"none\"\nunpacked_size = 5\nunpacked_sha256 = \"{digest}\"\nroot_partition = 1\nmin_ram_mb = 384\n"
            );
        }
    }
    fs::write(folder.join("bundle.toml"), manifest).unwrap();
    folder
}

#[tokio::test]
async fn every_page_of_the_navigation_is_there_in_both_languages() {
    let site = Site::new().await;
    site.writing().await;
    for path in [
        "/",
        "/?blade=b1",
        "/clusters",
        "/clusters/prod",
        "/topologies",
        "/images",
        "/events",
        "/blades/b1",
        "/blades/b1/documents",
        "/?q=r1",
    ] {
        let page = site.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        assert!(page.text.contains("<html lang=\"en\">") && page.text.contains("中文"), "{path}");
        assert!(!page.text.contains("<script>"), "{path}");
        let chinese =
            site.get(&format!("{path}{}lang=zh", if path.contains('?') { '&' } else { '?' })).await;
        assert!(
            chinese.text.contains("<html lang=\"zh-CN\">") && chinese.text.contains("机架"),
            "{path}"
        );
        assert!(chinese.cookie.starts_with("lang=zh;"), "{path}");
    }
    for path in
        ["/blades/b9", "/blades/%3Cscript%3E", "/clusters/none", "/nothing", "/blades/b1/explode"]
    {
        let page = site.get(path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!page.text.contains("<script>"), "{path}");
    }
}

#[tokio::test]
async fn a_blade_being_installed_shows_its_phase_and_its_bytes() {
    let site = Site::new().await;
    site.writing().await;
    let page = site.get("/").await.text;
    assert!(page.contains("slot 1, b1: Installing · Write image 37 %"), "{page}");
    assert!(page.contains("1 on their way"));
    let page = site.get("/blades/b1").await.text;
    assert!(
        page.contains("500 B of 1.0 kB")
            && page.contains("CN77&#60;b&#62;")
            && page.contains("vda 10 GB QEMU QM01"),
        "{page}"
    );
}

#[tokio::test]
async fn a_stalled_blade_says_why_and_what_to_do() {
    let site = Site::new().await;
    let begun = site.writing().await;
    site.journal
        .step(begun.id, Kind::Attempt, Step::Stall, "stalled in write: silent for 61 s".into())
        .await
        .unwrap();
    for path in ["/?blade=b1", "/blades/b1"] {
        let page = site.get(path).await.text;
        assert!(
            page.contains("Why it is stuck")
                && page.contains("silent for 61 s")
                && page.contains("is the disk healthy?"),
            "{page}"
        );
    }
    let page = site.get("/?lang=zh").await.text;
    assert!(page.contains("停滞 · 写入镜像"), "{page}");
}

#[tokio::test]
async fn a_blade_is_found_by_mac_and_by_address() {
    let site = Site::new().await;
    for query in ["52-54-00-00-02-02", "525400000202", "10.12.1.2", "b2"] {
        let page = site.get(&format!("/?q={query}")).await;
        assert_eq!(
            (page.status, page.location.as_str()),
            (StatusCode::SEE_OTHER, "/blades/b2"),
            "{query}"
        );
    }
    assert!(site.get("/?q=%3Cimg%3E").await.text.contains("No blade matches “&#60;img&#62;”"));
}

#[tokio::test]
async fn a_cluster_is_deployed_only_after_its_name_was_typed() {
    let site = Site::new().await;
    let plan = site.get("/clusters/prod").await.text;
    assert!(plan.contains("Nothing stands in the way") && plan.contains("10.12.3.3"), "{plan}");
    let ask = site.get("/clusters/prod/deploy").await.text;
    assert!(
        ask.contains("The disks of 3 blades will be erased") && ask.contains(">b2</b>"),
        "{ask}"
    );
    let wrong = site.post("/clusters/prod/deploy", "confirm=pro").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.text.contains("Nothing was done"));
    assert!(site.get("/").await.text.contains("slot 1, b1: Off"));
    let right = site.post("/clusters/prod/deploy", "confirm=prod").await;
    assert_eq!(
        (right.status, right.location.as_str()),
        (StatusCode::SEE_OTHER, "/"),
        "{}",
        right.text
    );
    assert!(site.get("/blades/b2").await.text.contains("attempt 1"));
}

#[tokio::test]
async fn what_destroys_is_asked_before_and_says_what_is_lost() {
    let site = Site::new().await;
    let begun = site.writing().await;
    let ask = site.get("/blades/b1/reinstall").await.text;
    assert!(ask.contains("vda 10 GB QEMU QM01") && ask.contains("it will be given up"), "{ask}");
    let ask = site.get("/blades/b1/power?op=cycle").await.text;
    assert!(ask.contains("that attempt will be lost"), "{ask}");
    let done = site.post("/blades/b1/reinstall", "").await;
    assert_eq!(
        (done.status, done.location.as_str()),
        (StatusCode::SEE_OTHER, "/blades/b1"),
        "{}",
        done.text
    );
    assert!(site.get("/blades/b1").await.text.contains(&format!("attempt {}", begun.number + 1)));
}

#[tokio::test]
async fn a_blade_is_held_and_released_by_forms() {
    let site = Site::new().await;
    site.writing().await;
    assert_eq!(site.post("/blades/b1/hold", "why=look+at+it").await.status, StatusCode::SEE_OTHER);
    let page = site.get("/blades/b1").await.text;
    assert!(page.contains("Held · Write image") && page.contains("/blades/b1/release"), "{page}");
    assert_eq!(site.post("/blades/b1/release", "").await.status, StatusCode::SEE_OTHER);
    assert!(site.get("/blades/b1").await.text.contains("Installing · Write image"));
    assert_eq!(site.post("/blades/b9/hold", "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_page_of_another_site_can_press_no_button() {
    let site = Site::new().await;
    let request = site
        .client
        .post(site.url("/blades/b1/hold"))
        .header("sec-fetch-site", "cross-site")
        .body("");
    assert_eq!(site.ask(request).await.status, StatusCode::FORBIDDEN);
    assert!(!site.get("/blades/b1").await.text.contains("/release"));
}

#[tokio::test]
async fn the_journal_is_read_back_page_by_page() {
    let site = Site::new().await;
    for n in 0..450 {
        let text = format!("packet {n} <i>");
        site.journal.saw(Sighting {
            kind: Kind::Dhcp,
            blade: None,
            mac: None,
            phase: None,
            text,
            detail: json!(null),
        });
    }
    // Written in order: when this is durable, so are those before it.
    site.writing().await;
    let first = site.get("/events").await.text;
    assert!(first.contains("packet 449 &#60;i&#62;") && !first.contains("packet 200 "));
    let (_, older) = first.split_once("/events?before=").unwrap();
    let (older, _) = older.split_once('"').unwrap();
    let second = site.get(&format!("/events?before={older}")).await.text;
    assert!(second.contains("packet 200 ") && !second.contains("packet 449 "));
    assert!(!second.contains("data-after"), "an old page stays as it is");
    assert!(site.database.dir().exists());
}

#[tokio::test]
async fn a_machine_that_waits_is_racked_by_one_form_and_takes_a_slot_over_only_when_asked_to() {
    let site = Site::new().await;
    assert!(!site.get("/").await.text.contains("Waiting to be racked"));
    let evil = "\"'><script>alert(1)</script>";
    let report = json!({
        "manufacturer": evil, "model": "M630", "serial": "CN<b>", "secure_boot": true, "firmware": "uefi",
        "nics": [{ "name": evil, "mac": "52:54:00:09:09:01", "driver": evil }],
        "disks": [{ "name": "sda", "size": 1_u64 << 40, "serial": "D1", "holds": evil }],
    });
    let one = site.stranger(1, report.clone()).await;
    let other = site.stranger(2, report).await;
    let home = site.get("/").await.text;
    assert!(home.contains("Waiting to be racked") && home.contains("M630"), "{home}");
    assert!(home.contains("Its serial CN&#60;b&#62; is also that of"), "{home}");
    assert!(!home.contains("<script>alert"), "{home}");
    assert!(site.get("/?lang=zh").await.text.contains("等待上架"));
    let page = site.get(&format!("/discovered/{one}?slot=r1/c1/5")).await;
    assert!(page.text.contains("Secure Boot on") && !page.text.contains("<script>alert"));
    assert!(page.text.contains("<option value=\"r1/c1/5\" selected>"), "{}", page.text);

    let done = site.post(&format!("/discovered/{one}/rack"), "slot=r1/c1/5&disk=D1").await;
    assert_eq!(
        (done.status, done.location.as_str()),
        (StatusCode::SEE_OTHER, "/?blade=r1-c1-b05#blade"),
        "{}",
        done.text
    );
    let blade = site.get("/blades/r1-c1-b05").await.text;
    assert!(blade.contains("serial=D1") && blade.contains("CN&#60;b&#62;"), "{blade}");

    let rack = format!("/discovered/{other}/rack");
    let asked = site.post(&rack, "slot=r1/c1/1").await;
    assert!(asked.text.contains("Put this machine in the place of b1?"), "{}", asked.text);
    assert!(asked.text.contains("52:54:00:00:01:01"), "which machine goes: {}", asked.text);
    let done = site.post(&rack, "slot=r1/c1/1&take_over=true").await;
    assert_eq!(done.location, "/?blade=b1#blade", "{}", done.text);
    assert!(!site.get("/").await.text.contains("Waiting to be racked"));
    let gone = site.post(&rack, "slot=r1/c1/6").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND, "{}", gone.text);
    for (path, form) in [("/discovered/x/rack", "slot=r1/c1/6"), ("/discovered/x/forget", "")] {
        assert_eq!(site.post(path, form).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_machine_that_is_forgotten_is_gone_from_the_page() {
    let site = Site::new().await;
    let mac = site.stranger(1, json!({})).await;
    let nonsense = site.post(&format!("/discovered/{mac}/rack"), "slot=nonsense").await;
    assert_eq!(nonsense.status, StatusCode::CONFLICT, "{}", nonsense.text);
    let done = site.post(&format!("/discovered/{mac}/forget"), "").await;
    assert_eq!(done.location, "/");
    assert!(!site.get("/").await.text.contains("Waiting to be racked"));
}
