-- Keys with the role of an operator, with a scope, a name, and what became of them. A check cannot be changed in place, so the table is made anew.
CREATE TABLE keys_with_scopes (
    id          TEXT PRIMARY KEY NOT NULL,              -- public part of the key, 16 hex digits
    tenant      TEXT NOT NULL,
    role        TEXT NOT NULL CHECK (role IN ('ingest', 'dashboard', 'operator', 'admin')),
    name        TEXT NOT NULL DEFAULT '',               -- for people
    scope       TEXT CHECK (scope IS NULL OR json_valid(scope)), -- what of its tenant exists for it; absent: everything
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    created_ms  INTEGER NOT NULL,
    rotated_ms  INTEGER,                                -- when its secret was last replaced
    revoked_ms  INTEGER                                 -- good for nothing since
) STRICT;
INSERT INTO keys_with_scopes (id, tenant, role, secret_hash, created_ms) SELECT id, tenant, role, secret_hash, created_ms FROM keys;
DROP TABLE keys;
ALTER TABLE keys_with_scopes RENAME TO keys;
CREATE INDEX keys_by_tenant ON keys (tenant, id);

-- Tokens of others (JWT) that are good no more before their time, by the `jti` that they claim.
CREATE TABLE revoked_tokens (
    tenant   TEXT NOT NULL,
    jti      TEXT NOT NULL,
    until_ms INTEGER NOT NULL,                          -- no token is good for longer, so the row may go then
    PRIMARY KEY (tenant, jti)
) STRICT, WITHOUT ROWID;
