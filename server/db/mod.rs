//! Every SQL statement (layer 2): free functions over plain structs, one text per query for
//! SQLite and PostgreSQL, listed so that a test prepares each on both.

use std::{path::Path, str::FromStr, time::Duration};

use futures_util::TryFutureExt;
use sqlx::{
    Connection, PgPool, Postgres, Sqlite, SqlitePool, Transaction,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

mod attempts;
mod backup;
mod events;
mod inventory;
mod leases;
mod machines;
mod power;
mod whereabouts;

pub use attempts::*;
pub use backup::*;
pub use events::*;
pub use inventory::*;
pub use leases::*;
pub use machines::*;
pub use power::*;
pub use whereabouts::*;

/// Why the database could not do it; the text says what and where, for logs and operators.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("database {place}: {message}")]
    Open { place: String, message: String },
    #[error("database: {table} {key}: {message}; was it changed by hand?")]
    Corrupt { table: &'static str, key: String, message: String },
    #[error("{0}")]
    Backup(String),
    /// A journal entry that was rolled back, with the reason.
    #[error("{0}")]
    Undone(String),
}

pub type Result<T> = std::result::Result<T, DbError>;

/// A connected, migrated database.
#[derive(Clone)]
pub enum Db {
    Lite { writer: SqlitePool, reader: SqlitePool },
    Pg(PgPool),
}

/// A transaction on either engine. SQLite has one writer, so transactions queue there.
pub enum Tx {
    Lite(Transaction<'static, Sqlite>),
    Pg(Transaction<'static, Postgres>),
}

/// Runs the same statement on whichever engine it is: `on!(tx, c => query.execute(c))`.
macro_rules! on {
    ($tx:expr, $conn:ident => $run:expr) => {
        match $tx {
            $crate::db::Tx::Lite(tx) => {
                let $conn = &mut **tx;
                $run.await
            }
            $crate::db::Tx::Pg(tx) => {
                let $conn = &mut **tx;
                $run.await
            }
        }
    };
}
pub(crate) use on;

/// Names SQL texts and lists them in `STATEMENTS` for the test that prepares every one.
macro_rules! sql {
    ($($name:ident = $text:expr;)*) => {
        $(const $name: &str = $text;)*
        pub(super) const STATEMENTS: &[(&str, &str)] = &[$((stringify!($name), $text)),*];
    };
}
pub(crate) use sql;

/// Every statement of the house, by module and name.
pub fn statements() -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        attempts::STATEMENTS,
        events::STATEMENTS,
        inventory::STATEMENTS,
        leases::STATEMENTS,
        machines::STATEMENTS,
        power::STATEMENTS,
        whereabouts::STATEMENTS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

static LITE: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");
static PG: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

impl Db {
    /// Opens `database` (`sqlite`: a file in `data_dir`; or `postgres://…`) and brings its
    /// schema up to date. An address with a password is never repeated in the error.
    pub async fn open(database: &str, data_dir: &Path) -> Result<Db> {
        if database == "sqlite" {
            return Db::open_sqlite(&data_dir.join("firstlight.sqlite")).await;
        }
        let place = place_of(database);
        let failed = |message: String| DbError::Open { place: place.clone(), message };
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(10))
            .connect(database)
            .await
            .map_err(|error| failed(error.to_string()))?;
        PG.run(&pool).await.map_err(|error| failed(error.to_string()))?;
        Ok(Db::Pg(pool))
    }

    async fn open_sqlite(file: &Path) -> Result<Db> {
        let place = file.display().to_string();
        let failed = |message: String| DbError::Open { place: place.clone(), message };
        let options = SqliteConnectOptions::from_str("sqlite://")?
            .filename(file)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An ACK or a 200 depends on each commit: FULL syncs the WAL before it returns.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            // A full disk makes SQLite end a transaction by itself, and sqlx then believes for
            // ever that it runs: such a connection is thrown away.
            .before_acquire(|connection, _| {
                Box::pin(async move { Ok(!connection.is_in_transaction()) })
            })
            .connect_with(options.clone())
            .await
            .map_err(|error| failed(error.to_string()))?;
        LITE.run(&writer).await.map_err(|error| failed(error.to_string()))?;
        let reader = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok(Db::Lite { writer, reader })
    }

    /// Can `database` be opened? Changes nothing: no schema is made. Says what is there.
    pub async fn reachable(database: &str, data_dir: &Path) -> Result<String> {
        use sqlx::{Connection, PgConnection, SqliteConnection};
        let file = data_dir.join("firstlight.sqlite");
        let lite = database == "sqlite";
        let place = if lite { file.display().to_string() } else { place_of(database) };
        if lite && !file.exists() {
            return Ok(format!("{place} is not there yet; serve makes it"));
        }
        let asked = async {
            if lite {
                let options = SqliteConnectOptions::new().filename(&file).read_only(true);
                SqliteConnection::connect_with(&options).await?.close().await
            } else {
                PgConnection::connect(database).await?.close().await
            }
        };
        let asked = tokio::time::timeout(Duration::from_secs(10), asked).await;
        let asked = asked.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut));
        match asked {
            Ok(()) => Ok(format!("{place} answers")),
            Err(error) => Err(DbError::Open { place, message: error.to_string() }),
        }
    }

    /// A transaction that may write.
    pub async fn begin(&self) -> Result<Tx> {
        Ok(match self {
            // IMMEDIATE: the write lock at once, instead of a busy error half-way.
            Db::Lite { writer, .. } => Tx::Lite(writer.begin_with("BEGIN IMMEDIATE").await?),
            Db::Pg(pool) => Tx::Pg(pool.begin().await?),
        })
    }

    /// A transaction that only reads, and sees one state of the database.
    pub async fn read(&self) -> Result<Tx> {
        Ok(match self {
            Db::Lite { reader, .. } => Tx::Lite(reader.begin().await?),
            Db::Pg(pool) => {
                Tx::Pg(pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?)
            }
        })
    }

    /// Checks that `statement` is understood by this engine.
    pub async fn prepare(&self, statement: &'static str) -> Result<()> {
        use sqlx::{Executor, SqlSafeStr};
        match self {
            Db::Lite { writer, .. } => writer.prepare(statement.into_sql_str()).await.map(drop)?,
            Db::Pg(pool) => pool.prepare(statement.into_sql_str()).await.map(drop)?,
        }
        Ok(())
    }

    /// Finishes what is under way and closes all connections.
    pub async fn close(&self) {
        match self {
            Db::Lite { writer, reader } => {
                reader.close().await;
                writer.close().await;
            }
            Db::Pg(pool) => pool.close().await,
        }
    }
}

impl Tx {
    /// Makes it durable: when this returns `Ok`, it survives `kill -9` and power loss.
    pub async fn commit(self) -> Result<()> {
        match self {
            Tx::Lite(tx) => tx.commit().await?,
            Tx::Pg(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

/// A database address without user and password.
fn place_of(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{}", host.split('?').next().unwrap_or(host))
}

/// Reads a column that was written by us: a failure means that somebody else changed it.
fn parsed<T: FromStr>(table: &'static str, key: &str, text: &str) -> Result<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| DbError::Corrupt {
        table,
        key: key.to_owned(),
        message: error.to_string(),
    })
}

fn parsed_option<T: FromStr>(
    table: &'static str,
    key: &str,
    text: Option<&str>,
) -> Result<Option<T>>
where
    T::Err: std::fmt::Display,
{
    text.map(|text| parsed(table, key, text)).transpose()
}

/// PostgreSQL's TEXT cannot hold NUL, which a hostile blade may send.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Marks a point that `rollback_savepoint` returns to.
pub async fn savepoint(tx: &mut Tx) -> Result<()> {
    on!(tx, conn => sqlx::query("SAVEPOINT job").execute(conn).map_ok(drop))?;
    Ok(())
}

pub async fn release_savepoint(tx: &mut Tx) -> Result<()> {
    on!(tx, conn => sqlx::query("RELEASE SAVEPOINT job").execute(conn).map_ok(drop))?;
    Ok(())
}

/// Undoes all since `savepoint`.
pub async fn rollback_savepoint(tx: &mut Tx) -> Result<()> {
    on!(tx, conn => sqlx::query("ROLLBACK TO SAVEPOINT job").execute(conn).map_ok(drop))?;
    release_savepoint(tx).await
}
