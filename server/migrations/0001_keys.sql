-- API keys. The secret itself is never stored: only its SHA-256.
CREATE TABLE keys (
    id          TEXT PRIMARY KEY NOT NULL,              -- public part of the key, 16 hex digits
    tenant      TEXT NOT NULL,
    role        TEXT NOT NULL CHECK (role IN ('ingest', 'dashboard', 'admin')),
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    created_ms  INTEGER NOT NULL
) STRICT;
