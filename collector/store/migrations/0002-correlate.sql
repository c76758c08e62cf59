-- What correlation remembers: one row for its place in the log, each high-water mark,
-- each agent and each anchor. They are only ever read all at once, at the start.
CREATE TABLE correlate_state (
    kind TEXT NOT NULL,
    key  TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (kind, key)
);
