//! A backup: every row of every table as lines of JSON, the same from either engine, so that a
//! site can also move from SQLite to PostgreSQL and back.

use futures_util::TryFutureExt;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row as _};

use super::{Db, DbError, Result, Tx, on};

#[derive(Clone, Copy, PartialEq)]
enum Column {
    Text(&'static str),
    Int(&'static str),
}
use Column::{Int, Text};

impl Column {
    fn name(self) -> &'static str {
        match self {
            Text(name) | Int(name) => name,
        }
    }

    fn takes(self, value: &Value) -> bool {
        match self {
            _ if value.is_null() => true,
            Text(_) => value.is_string(),
            Int(_) => value.is_i64(),
        }
    }
}

/// Tables in an order that satisfies their references, with all columns; kept complete by a test.
const TABLES: &[(&str, &[Column])] = &[
    ("racks", &[Text("name"), Int("position")]),
    (
        "chassis",
        &[
            Text("rack"),
            Text("name"),
            Int("position"),
            Int("slots"),
            Text("bmc_first"),
            Text("ip_first"),
            Text("ip6_first"),
        ],
    ),
    (
        "blades",
        &[
            Text("name"),
            Int("position"),
            Text("rack"),
            Text("chassis"),
            Int("slot"),
            Text("arch"),
            Text("ip"),
            Text("bmc"),
            Text("disk"),
            Text("boot"),
            Text("ip6"),
            Text("duid"),
        ],
    ),
    ("boot_rules", &[Text("name"), Int("position"), Text("rule")]),
    ("reservations", &[Text("mac"), Text("blade"), Int("position"), Text("ip")]),
    (
        "clusters",
        &[Text("name"), Int("position"), Text("topology"), Text("image"), Text("parameters")],
    ),
    ("cluster_blades", &[Text("blade"), Text("cluster"), Text("role"), Int("position")]),
    ("holds", &[Text("blade"), Int("at"), Text("why")]),
    ("choices", &[Text("mac"), Text("entry"), Int("at")]),
    ("whereabouts", &[Text("mac"), Text("ip"), Text("relay"), Text("port"), Int("at")]),
    ("leases", &[Text("ip"), Text("mac"), Text("state"), Int("until"), Text("hostname")]),
    (
        "machines",
        &[
            Text("mac"),
            Text("ip"),
            Int("first_seen"),
            Int("reported"),
            Int("last_seen"),
            Text("report"),
        ],
    ),
    (
        "attempts",
        &[
            Text("id"),
            Text("blade"),
            Text("cluster"),
            Text("role"),
            Int("number"),
            Int("try"),
            Text("phase"),
            Text("outcome"),
            Text("reason"),
            Int("started"),
            Int("phase_since"),
            Int("last_seen"),
            Int("ended"),
            Int("bytes_done"),
            Int("bytes_total"),
            Text("hello"),
            Text("host_keys"),
        ],
    ),
    (
        "power_requests",
        &[Int("id"), Text("blade"), Text("op"), Int("at"), Int("done"), Text("result")],
    ),
    (
        "events",
        &[
            Int("id"),
            Int("at"),
            Text("kind"),
            Text("blade"),
            Text("mac"),
            Text("attempt"),
            Int("seq"),
            Text("phase"),
            Text("text"),
            Text("detail"),
        ],
    ),
];

const HEADER: &str = "firstlight-backup-1";

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name()).collect::<Vec<_>>().join(", ")
}

/// One consistent state of the database, one JSON array a line: a header, then `[table, v, v …]`.
pub async fn dump(db: &Db) -> Result<String> {
    let mut tx = db.read().await?;
    let mut text = format!("[\"{HEADER}\"]\n");
    for (table, columns) in TABLES {
        let query = format!("SELECT {} FROM {table} ORDER BY 1", names(columns));
        let by_text = matches!(columns[0], Text(_));
        // The text is made of the constants above alone.
        let mut lines: Vec<String> = match &mut tx {
            Tx::Lite(tx) => {
                let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(&mut **tx).await?;
                rows.iter()
                    .map(|row| line(table, columns, |i| row.try_get(i), |i| row.try_get(i)))
                    .collect::<Result<_>>()?
            }
            Tx::Pg(tx) => {
                let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(&mut **tx).await?;
                rows.iter()
                    .map(|row| line(table, columns, |i| row.try_get(i), |i| row.try_get(i)))
                    .collect::<Result<_>>()?
            }
        };
        if by_text {
            // Each engine and locale sorts text its own way; a backup is the same from all.
            lines.sort_unstable();
        }
        text.extend(lines);
    }
    Ok(text)
}

fn line(
    table: &str,
    columns: &[Column],
    text: impl Fn(usize) -> sqlx::Result<Option<String>>,
    int: impl Fn(usize) -> sqlx::Result<Option<i64>>,
) -> Result<String> {
    let mut values = vec![Value::from(table)];
    for (index, column) in columns.iter().enumerate() {
        values.push(match column {
            Text(_) => text(index)?.map_or(Value::Null, Value::from),
            Int(_) => int(index)?.map_or(Value::Null, Value::from),
        });
    }
    Ok(format!("{}\n", Value::Array(values)))
}

/// Writes a dump into an empty database, all or nothing.
pub async fn load(db: &Db, dump: &str) -> Result<()> {
    let bad =
        |line: usize, what: &str| DbError::Backup(format!("backup, line {}: {what}", line + 1));
    let mut lines = dump.lines().enumerate();
    if lines.next().map(|(_, line)| line) != Some(&format!("[\"{HEADER}\"]")) {
        return Err(bad(0, "this is no backup of Firstlight, or one of another version"));
    }
    let mut tx = db.begin().await?;
    for (table, _) in TABLES {
        let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        let count: i64 = on!(&mut tx, conn => sqlx::query_scalar(count).fetch_one(conn))?;
        if count != 0 {
            return Err(DbError::Backup(format!(
                "the database is not empty (it has {table}); restore needs a new data_dir or database"
            )));
        }
    }
    for (number, line) in lines {
        let values: Vec<Value> =
            serde_json::from_str(line).map_err(|_| bad(number, "is not a JSON array"))?;
        let table = values.first().and_then(Value::as_str).unwrap_or_default();
        let (table, columns) = TABLES
            .iter()
            .find(|(name, _)| *name == table)
            .ok_or_else(|| bad(number, "names no table"))?;
        if values.len() != columns.len() + 1 {
            return Err(bad(number, "has the wrong number of columns"));
        }
        for (column, value) in columns.iter().zip(&values[1..]) {
            if !column.takes(value) {
                return Err(bad(number, &format!("has a wrong {} of {table}", column.name())));
            }
        }
        insert(&mut tx, table, columns, &values[1..]).await.map_err(|error| match error {
            DbError::Sql(error) => bad(number, &format!("does not fit: {error}")),
            other => other,
        })?;
    }
    if let Tx::Pg(tx) = &mut tx {
        // Identity columns do not follow values that were given to them.
        for table in ["events", "power_requests"] {
            let next = format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT COALESCE(MAX(id), 0) + 1 FROM {table}), false)"
            );
            sqlx::query(AssertSqlSafe(next)).execute(&mut **tx).await?;
        }
    }
    tx.commit().await
}

async fn insert(tx: &mut Tx, table: &str, columns: &[Column], values: &[Value]) -> Result<()> {
    let holes: Vec<String> = (1..=columns.len()).map(|n| format!("${n}")).collect();
    let text = format!("INSERT INTO {table} ({}) VALUES ({})", names(columns), holes.join(", "));
    on!(tx, conn => {
        let mut query = sqlx::query(AssertSqlSafe(text));
        for (column, value) in columns.iter().zip(values) {
            query = match column {
                Text(_) => query.bind(value.as_str().map(str::to_owned)),
                Int(_) => query.bind(value.as_i64()),
            };
        }
        query.execute(conn).map_ok(drop)
    })?;
    Ok(())
}

/// The tables a backup holds, and their columns.
pub fn backed_up_tables() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    TABLES.iter().map(|(table, columns)| (*table, columns.iter().map(|c| c.name()).collect()))
}
