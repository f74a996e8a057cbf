//! Databases on PostgreSQL: on the server that FIRSTLIGHT_TEST_POSTGRES names (see
//! `tests/with-postgres`), else each on a server of its own from Debian's `postgresql`.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, geteuid},
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, postgres::PgConnectOptions};
use tempfile::TempDir;

/// A database that is dropped at the end of the test.
pub struct Scratch {
    pub address: String,
    name: String,
    admin: String,
    _server: Option<Server>,
}

impl Scratch {
    pub fn create() -> Scratch {
        let server = std::env::var("FIRSTLIGHT_TEST_POSTGRES").is_err().then(Server::start);
        let admin = match &server {
            Some(server) => server.address.clone(),
            None => std::env::var("FIRSTLIGHT_TEST_POSTGRES").expect("it was there"),
        };
        let name = format!("firstlight_{}", uuid::Uuid::now_v7().simple());
        // template0: template1 cannot be copied while anybody is connected to it.
        run(&admin, format!("CREATE DATABASE {name} TEMPLATE template0"));
        Scratch { address: with_database(&admin, &name), name, admin, _server: server }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self._server.is_none() {
            run(&self.admin, format!("DROP DATABASE {} WITH (FORCE)", self.name));
        }
    }
}

/// The same address with another database.
fn with_database(address: &str, name: &str) -> String {
    let (main, query) = address.split_once('?').unwrap_or((address, ""));
    let (server, _) = main.rsplit_once('/').expect("an address like postgres://user@host/db");
    format!("{server}/{name}?{query}")
}

/// Runs one statement. On a thread of its own, because tests and drops run inside of a runtime.
fn run(address: &str, statement: String) {
    let address = address.to_owned();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connection = address.parse::<PgConnectOptions>()?.connect().await?;
            connection.execute(AssertSqlSafe(statement)).await?;
            connection.close().await
        })
    };
    let result: Result<(), sqlx::Error> = thread::spawn(work).join().expect("no panic in there");
    if let Err(error) = result {
        // A second panic while one is under way would hide the first.
        assert!(thread::panicking(), "PostgreSQL: {error}");
    }
}

/// A PostgreSQL server on a Unix socket in a temporary directory.
struct Server {
    child: Child,
    address: String,
    _dir: TempDir,
}

impl Server {
    fn start() -> Server {
        let bin = newest_bin();
        // Sockets' paths have at most 107 bytes (unix(7)), so not below a deep TMPDIR.
        let dir = tempfile::Builder::new().prefix("firstlight-pg.").tempdir_in("/tmp").unwrap();
        if geteuid().is_root() {
            let user = User::from_name("postgres").unwrap().expect("user postgres of postgresql");
            chown(dir.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
        let data = dir.path().join("data");
        let init = as_postgres(&bin.join("initdb"), dir.path())
            .arg("--pgdata")
            .arg(&data)
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--no-sync"])
            .output()
            .unwrap();
        assert!(init.status.success(), "initdb: {}", String::from_utf8_lossy(&init.stderr));
        let log = dir.path().join("log");
        let child = as_postgres(&bin.join("postgres"), dir.path())
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(dir.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let address =
            format!("postgres://postgres@localhost/postgres?host={}", dir.path().display());
        let mut server = Server { child, address, _dir: dir };
        server.wait_until_it_answers(&log);
        server
    }

    fn wait_until_it_answers(&mut self, log: &Path) {
        let told = || fs::read_to_string(log).unwrap_or_default();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !told().contains("ready to accept connections") {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "postgres ended ({ended:?}): {}", told());
            assert!(Instant::now() < deadline, "postgres does not answer: {}", told());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGQUIT: at once; nothing in there is worth keeping.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        }
        let _ = self.child.wait();
    }
}

fn newest_bin() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .max_by_key(|bin| bin.metadata().map(|found| found.mtime()).unwrap_or_default());
    newest.expect("PostgreSQL is not installed: apt-get install postgresql")
}

/// PostgreSQL refuses to run as root. The signal ends it even if this process is killed.
fn as_postgres(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if geteuid().is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "QUIT"]).arg(program).current_dir(dir);
    command
}
