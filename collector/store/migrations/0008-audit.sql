-- How far the log of a file source was read.
CREATE TABLE audit_positions (
    source    TEXT PRIMARY KEY, -- its name in the settings
    file      TEXT    NOT NULL, -- the hash of the file's beginning
    at_offset INTEGER NOT NULL
);

-- What a source has brought, in nanoseconds; 0: nothing.
CREATE TABLE audit_sources (
    source      TEXT PRIMARY KEY,
    condition   INTEGER NOT NULL, -- collectorv1.AuditCondition
    since_ns    INTEGER NOT NULL,
    oldest_ns   INTEGER NOT NULL, -- stage times
    newest_ns   INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    silence_ns  INTEGER NOT NULL, -- the longest that is usual
    paused_ns   INTEGER NOT NULL  -- the longest distance of stage times that is usual
);

-- Times between stage times that a source brought nothing of.
CREATE TABLE audit_holes (
    source   TEXT    NOT NULL,
    since_ns INTEGER NOT NULL,
    until_ns INTEGER NOT NULL,
    bound_ns INTEGER NOT NULL, -- no longer than that it is none
    reason   TEXT    NOT NULL,
    PRIMARY KEY (source, since_ns)
);

-- Gaps that were told.
CREATE TABLE audit_gaps (
    id       INTEGER PRIMARY KEY,
    source   TEXT    NOT NULL, -- empty: of no one in particular
    since_ns INTEGER NOT NULL,
    until_ns INTEGER NOT NULL,
    reason   TEXT    NOT NULL,
    count    INTEGER NOT NULL,
    filled   INTEGER NOT NULL
);

-- How all sources together were when that was last told.
CREATE TABLE audit_condition (
    only      INTEGER PRIMARY KEY CHECK (only = 1),
    condition INTEGER NOT NULL,
    since_ns  INTEGER NOT NULL
);
