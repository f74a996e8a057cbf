-- Where a blade's MAC was last seen on the network: the address it uses where that is not the
-- reserved one, and the switch port by the words of its relay. One row for each MAC.
CREATE TABLE whereabouts (
    mac   TEXT PRIMARY KEY,
    ip    TEXT,
    relay TEXT,
    port  TEXT,
    at    BIGINT NOT NULL
);
