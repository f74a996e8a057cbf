//! What several tests need: databases of either engine, a running journal, an inventory.

use std::{path::Path, sync::Arc};

use firstlight::{config::Config, db::Db, journal::Journal};
use tempfile::TempDir;

mod postgres;

/// The engines that every database test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}
pub use Engine::{Postgres, Sqlite};

/// A new, empty, migrated database; gone when dropped, also by a panic.
pub struct Database {
    pub db: Db,
    /// What `database` would be in the configuration.
    pub address: String,
    dir: TempDir,
    // Last: the connections end first.
    _postgres: Option<postgres::Scratch>,
}

impl Engine {
    pub async fn database(self) -> Database {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let postgres = (self == Engine::Postgres).then(postgres::Scratch::create);
        let address = postgres.as_ref().map_or("sqlite".to_owned(), |p| p.address.clone());
        let db = Db::open(&address, dir.path()).await.expect("a new database opens");
        Database { db, address, dir, _postgres: postgres }
    }
}

impl Database {
    /// The data directory; an SQLite database is in it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The same database, opened as a restarted daemon would.
    pub async fn again(&self) -> Db {
        Db::open(&self.address, self.dir()).await.expect("an existing database opens")
    }

    /// A journal on this database.
    pub async fn journal(&self) -> Journal {
        let config = Arc::new(Config::parse(CONFIG).expect("the configuration is right"));
        Journal::start(self.db.clone(), config).await.expect("the journal starts").0
    }
}

pub const CONFIG: &str = r#"
site = "test"
[boot]
interfaces = ["br0"]
[[subnet]]
cidr = "10.12.0.0/16"
gateway = "10.12.0.254"
pool = ["10.12.9.1-10.12.9.250"]
"#;

/// A rack of three blades with a cluster of all of them.
pub const THREE_BLADES: &str = r#"
[[rack]]
name = "r1"
[[rack.chassis]]
name = "c1"
slots = 14
bmc_first = "10.202.0.1"
ip_first = "10.12.1.1"
[[blade]]
name = "b1"
slot = { rack = "r1", chassis = "c1", slot = 1 }
macs = ["52:54:00:00:01:01"]
[[blade]]
name = "b2"
slot = { rack = "r1", chassis = "c1", slot = 2 }
macs = ["52:54:00:00:01:02", "52:54:00:00:02:02"]
[[blade]]
name = "b3"
slot = { rack = "r1", chassis = "c1", slot = 3 }
macs = ["52:54:00:00:01:03"]
ip = "10.12.3.3"
[[cluster]]
name = "prod"
topology = "small-cluster"
[cluster.roles]
small-cluster = ["b[1-3]"]
"#;
