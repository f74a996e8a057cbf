-- What a blade's firmware is to load: model, Secure Boot and loader as JSON.
ALTER TABLE blades ADD COLUMN boot TEXT;

CREATE TABLE boot_rules (
    name     TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    rule     TEXT NOT NULL
) STRICT;
