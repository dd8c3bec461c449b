-- The coordinator's durable state. A repair is one row; its steps and its event log hang on it.

CREATE TABLE IF NOT EXISTS repairs (
    name           TEXT PRIMARY KEY,
    project        TEXT NOT NULL,
    spec           TEXT NOT NULL,              -- the request as accepted, JSON of the contract
    resolved       TEXT NOT NULL,              -- content digest or commit of every reference, JSON
    state          TEXT NOT NULL,
    verdict        TEXT NOT NULL DEFAULT '',
    error          TEXT,                       -- reason, message, metadata, step; JSON
    dossier_digest TEXT NOT NULL DEFAULT '',   -- what the report is made of, once everything else is there
    created        TEXT NOT NULL,              -- RFC 3339, UTC
    started        TEXT,
    ended          TEXT,
    fence          INTEGER NOT NULL DEFAULT 0, -- counts takeovers; a write with an older number is refused
    lease_owner    TEXT NOT NULL DEFAULT '',
    lease_until    REAL NOT NULL DEFAULT 0     -- seconds since the epoch
) STRICT;

CREATE INDEX IF NOT EXISTS repairs_by_time ON repairs (project, created DESC, name);

CREATE TABLE IF NOT EXISTS requests (
    project     TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    body_digest TEXT NOT NULL,
    repair      TEXT NOT NULL,
    PRIMARY KEY (project, request_id)
) STRICT;

CREATE TABLE IF NOT EXISTS steps (
    repair   TEXT NOT NULL,
    name     TEXT NOT NULL,
    position INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    record   TEXT NOT NULL,                    -- state, key, attempts, usage, outputs, summary; JSON
    PRIMARY KEY (repair, name)
) STRICT;

CREATE TABLE IF NOT EXISTS events (
    repair   TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    time     TEXT NOT NULL,
    kind     TEXT NOT NULL,                    -- state_changed, step_changed or step_noted
    payload  TEXT NOT NULL,
    PRIMARY KEY (repair, sequence)
) STRICT;
