-- Join tokens. Of the secret only the hash is kept.
CREATE TABLE join_tokens (
    id          TEXT PRIMARY KEY,
    secret_hash BLOB    NOT NULL,
    created_ns  INTEGER NOT NULL,
    expires_ns  INTEGER NOT NULL,
    uses_left   INTEGER NOT NULL
);

-- Who was let in, and by what. Rows stay: they say which agents there may be.
CREATE TABLE enrolments (
    agent_id        TEXT PRIMARY KEY,
    token_id        TEXT    NOT NULL, -- this or
    service_account TEXT    NOT NULL, -- that, namespace/name; the other is empty
    key_hash        BLOB    NOT NULL,
    node            TEXT    NOT NULL,
    machine_id      TEXT    NOT NULL,
    at_ns           INTEGER NOT NULL,
    revoked_ns      INTEGER NOT NULL, -- 0: it is not
    UNIQUE (token_id, service_account, key_hash)
);
