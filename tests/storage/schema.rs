//! One schema in two dialects.

use std::{collections::BTreeSet, fs, path::Path};

use firstlight::db::{self, Db};
use rstest::rstest;

use crate::support::{Engine, Postgres, Sqlite};

#[rstest]
#[tokio::test]
async fn every_statement_is_understood(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let mut count = 0;
    for (name, text) in db::statements() {
        base.db.prepare(text).await.unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
        count += 1;
    }
    assert!(count > 40, "only {count} statements are listed");
}

/// Table, column, kind of value, and whether it may be missing.
type Column = (String, String, String, bool);

async fn columns(db: &Db) -> BTreeSet<Column> {
    let columns: Vec<Column> = match db {
        Db::Lite { reader, .. } => sqlx::query_as(
            r#"SELECT t.name, c.name, c.type, c."notnull" = 0 AND c.pk = 0
               FROM sqlite_master t JOIN pragma_table_info(t.name) c
               WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name NOT LIKE '_sqlx%'"#,
        )
        .fetch_all(reader)
        .await
        .unwrap(),
        Db::Pg(pool) => sqlx::query_as(
            "SELECT table_name::text, column_name::text, \
                CASE data_type WHEN 'text' THEN 'TEXT' WHEN 'bigint' THEN 'INTEGER' \
                ELSE data_type::text END, is_nullable = 'YES' \
             FROM information_schema.columns \
             WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'",
        )
        .fetch_all(pool)
        .await
        .unwrap(),
    };
    columns.into_iter().collect()
}

#[tokio::test]
async fn both_migration_folders_make_the_same_tables() {
    let (lite, pg) = (Sqlite.database().await, Postgres.database().await);
    assert_eq!(columns(&lite.db).await, columns(&pg.db).await);

    let names = |folder: &str| -> BTreeSet<_> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(names("sqlite"), names("postgres"));
}

#[rstest]
#[tokio::test]
async fn a_backup_holds_every_column_of_every_table(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let stored = columns(&base.db).await.into_iter().map(|(table, column, ..)| (table, column));
    let kept = db::backed_up_tables()
        .flat_map(|(table, columns)| columns.into_iter().map(move |c| (table.into(), c.into())));
    let (stored, kept): (BTreeSet<(String, String)>, BTreeSet<_>) =
        (stored.collect(), kept.collect());
    assert_eq!(kept, stored);
}

#[rstest]
#[tokio::test]
async fn opening_again_changes_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let before = db::dump(&base.db).await.unwrap();
    assert_eq!(db::dump(&base.again().await).await.unwrap(), before);
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_named_without_its_password() {
    let dir = tempfile::tempdir().unwrap();
    let address = "postgres://ops:geheim@localhost/none?host=/nonexistent";
    let Err(error) = Db::open(address, dir.path()).await else { panic!("it opened") };
    let error = error.to_string();
    assert!(error.contains("postgres://localhost/none") && !error.contains("geheim"), "{error}");

    let missing = dir.path().join("none");
    let Err(error) = Db::open("sqlite", &missing).await else { panic!("it opened") };
    assert!(error.to_string().contains("none/firstlight.sqlite"), "{error}");
}
