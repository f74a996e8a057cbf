-- Times are milliseconds since the Unix epoch. Columns and their order are the same in
-- migrations/postgres; only the types' names differ.
CREATE TABLE racks (
    name     TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT;

CREATE TABLE chassis (
    rack      TEXT NOT NULL REFERENCES racks (name) ON DELETE CASCADE,
    name      TEXT NOT NULL,
    position  INTEGER NOT NULL,
    slots     INTEGER NOT NULL,
    bmc_first TEXT,
    ip_first  TEXT,
    PRIMARY KEY (rack, name)
) STRICT;

CREATE TABLE blades (
    name     TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    rack     TEXT,
    chassis  TEXT,
    slot     INTEGER,
    arch     TEXT,
    ip       TEXT,
    bmc      TEXT,
    disk     TEXT,
    UNIQUE (rack, chassis, slot)
) STRICT;

-- A blade's MAC and the static address that belongs to it: written, or given by the rule.
CREATE TABLE reservations (
    mac      TEXT PRIMARY KEY,
    blade    TEXT NOT NULL REFERENCES blades (name) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    ip       TEXT
) STRICT;

CREATE TABLE clusters (
    name       TEXT PRIMARY KEY,
    position   INTEGER NOT NULL,
    topology   TEXT NOT NULL,
    image      TEXT,
    parameters TEXT NOT NULL
) STRICT;

CREATE TABLE cluster_blades (
    blade    TEXT PRIMARY KEY REFERENCES blades (name) ON DELETE CASCADE,
    cluster  TEXT NOT NULL REFERENCES clusters (name) ON DELETE CASCADE,
    role     TEXT NOT NULL,
    position INTEGER NOT NULL
) STRICT;

-- Kept apart from blades, so that `apply` never touches what an operator or a console said.
CREATE TABLE holds (
    blade TEXT PRIMARY KEY,
    at    INTEGER NOT NULL,
    why   TEXT NOT NULL
) STRICT;

CREATE TABLE choices (
    mac   TEXT PRIMARY KEY,
    entry TEXT NOT NULL,
    at    INTEGER NOT NULL
) STRICT;

CREATE TABLE leases (
    ip       TEXT PRIMARY KEY,
    mac      TEXT NOT NULL,
    state    TEXT NOT NULL,
    until    INTEGER NOT NULL,
    hostname TEXT
) STRICT;
CREATE INDEX leases_by_mac ON leases (mac);

CREATE TABLE attempts (
    id          TEXT PRIMARY KEY,
    blade       TEXT NOT NULL,
    cluster     TEXT NOT NULL,
    role        TEXT NOT NULL,
    number      INTEGER NOT NULL,
    try         INTEGER NOT NULL,
    phase       TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    reason      TEXT,
    started     INTEGER NOT NULL,
    phase_since INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    ended       INTEGER,
    bytes_done  INTEGER NOT NULL,
    bytes_total INTEGER NOT NULL,
    hello       TEXT,
    host_keys   TEXT,
    UNIQUE (blade, number)
) STRICT;

CREATE TABLE power_requests (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    blade  TEXT NOT NULL,
    op     TEXT NOT NULL,
    at     INTEGER NOT NULL,
    done   INTEGER,
    result TEXT
) STRICT;

-- The journal: append-only.
CREATE TABLE events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    blade   TEXT,
    mac     TEXT,
    attempt TEXT,
    seq     INTEGER,
    phase   TEXT,
    text    TEXT NOT NULL,
    detail  TEXT
) STRICT;
CREATE UNIQUE INDEX events_once ON events (attempt, seq);
CREATE INDEX events_by_blade ON events (blade, id);
CREATE INDEX events_by_mac ON events (mac, id);
