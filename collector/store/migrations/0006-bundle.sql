-- The bundle that agents are sent: the last one that was pushed.
CREATE TABLE bundles (
    only      INTEGER PRIMARY KEY CHECK (only = 1),
    serial    INTEGER NOT NULL,
    signed    BLOB    NOT NULL, -- sensorv1.SignedBundle, as it came
    pushed_ns INTEGER NOT NULL,
    pushed_by TEXT    NOT NULL  -- the client's name
);
