-- What agents say of themselves.
CREATE TABLE agents (
    id            TEXT PRIMARY KEY, -- a UUID made here, and so unique over clusters
    cluster       TEXT    NOT NULL,
    first_seen_ns INTEGER NOT NULL,
    last_seen_ns  INTEGER NOT NULL,
    hello         BLOB    NOT NULL, -- sensorv1.Hello
    status        BLOB    NOT NULL, -- sensorv1.AgentStatus; empty: there is none
    apply_error   TEXT    NOT NULL
);
