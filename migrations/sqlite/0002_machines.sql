-- What machines report of themselves from the live system: those that wait to be put into the
-- inventory, and what was learned of blades. `report` is JSON.
CREATE TABLE machines (
    mac        TEXT PRIMARY KEY,
    ip         TEXT,
    first_seen INTEGER NOT NULL,
    reported   INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    report     TEXT NOT NULL
);
