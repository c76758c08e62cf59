-- Clients that may not come any more with certificates made up to a time. Certificates
-- themselves are not kept: the CA knows its own.
CREATE TABLE revoked_clients (
    name       TEXT PRIMARY KEY,
    revoked_ns INTEGER NOT NULL
);
-- Asked for every second.
CREATE INDEX enrolments_revoked ON enrolments (agent_id) WHERE revoked_ns <> 0;
