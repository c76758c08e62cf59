-- The latest revision of each alert.
CREATE TABLE alerts (
    id             TEXT PRIMARY KEY,
    revision       INTEGER NOT NULL,
    first_position INTEGER NOT NULL, -- of revision 1: the order of listing
    kind           TEXT    NOT NULL,
    cluster        TEXT    NOT NULL,
    namespace      TEXT    NOT NULL,
    severity       INTEGER NOT NULL,
    last_ns        INTEGER NOT NULL, -- the last fact
    stored_ns      INTEGER NOT NULL,
    body           BLOB    NOT NULL  -- alertv1.Alert
);
CREATE UNIQUE INDEX alerts_by_first_position ON alerts (first_position);
CREATE INDEX alerts_by_stored ON alerts (stored_ns);

-- The last episode of each identity. It outlives the alerts: an id is never given twice.
CREATE TABLE alert_episodes (
    identity TEXT PRIMARY KEY,
    episode  INTEGER NOT NULL
);

-- Every revision, once. Positions rise by one without holes: cursors run over them.
CREATE TABLE revisions (
    position  INTEGER PRIMARY KEY,
    alert_id  TEXT    NOT NULL,
    revision  INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    cluster   TEXT    NOT NULL,
    namespace TEXT    NOT NULL,
    severity  INTEGER NOT NULL,
    stored_ns INTEGER NOT NULL,
    body      BLOB    NOT NULL,
    UNIQUE (alert_id, revision)
);

-- The last position given. A row and not a sequence: a sequence leaves holes, and lets a
-- later position be seen before an earlier one is committed.
CREATE TABLE revision_position (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    position INTEGER NOT NULL
);
INSERT INTO revision_position (only, position) VALUES (1, 0);

-- How far each reader has come.
CREATE TABLE subscriptions (
    client   TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (client, name)
);
