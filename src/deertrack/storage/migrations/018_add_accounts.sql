-- Who may use a catalogue that is served to several people. Nothing here holds a secret that could be used as it is.
CREATE TABLE IF NOT EXISTS users (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       TEXT NOT NULL CHECK (char_length(name) BETWEEN 1 AND 40),
    key        TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL CHECK (role IN ('viewer', 'reviewer', 'admin')),
    password   TEXT NOT NULL,
    enabled    BOOLEAN NOT NULL DEFAULT true,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

COMMENT ON COLUMN users.key IS 'The name without upper case: two accounts never differ in that alone.';
COMMENT ON COLUMN users.password IS 'scrypt$n$r$p$salt$hash; never the password.';

CREATE TABLE IF NOT EXISTS sessions (
    hash       BYTEA PRIMARY KEY,
    user_id    BIGINT NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    seen_at    TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS ix_sessions_user ON sessions (user_id);
COMMENT ON COLUMN sessions.hash IS 'SHA-256 of what the browser holds.';

CREATE TABLE IF NOT EXISTS tokens (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    BIGINT NOT NULL REFERENCES users ON DELETE CASCADE,
    label      TEXT NOT NULL DEFAULT '',
    hash       BYTEA NOT NULL UNIQUE,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at TIMESTAMPTZ,
    used_at    TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ
);

CREATE INDEX IF NOT EXISTS ix_tokens_user ON tokens (user_id);
COMMENT ON COLUMN tokens.hash IS 'SHA-256 of what the script sends; shown once and never kept.';

-- Failed attempts to log in. In the database, so that a restart forgives nothing and all processes count together.
CREATE TABLE IF NOT EXISTS login_failures (
    subject       BYTEA PRIMARY KEY,
    failures      INT NOT NULL,
    last_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    blocked_until TIMESTAMPTZ NOT NULL DEFAULT now()
);

COMMENT ON COLUMN login_failures.subject IS 'SHA-256 of a name or an address: people type passwords into the wrong field.';

-- Answers to requests with an Idempotency-Key: the same request again gets the same answer and changes nothing.
CREATE TABLE IF NOT EXISTS answers (
    who     TEXT NOT NULL,
    key     TEXT NOT NULL,
    request BYTEA NOT NULL,
    status  INT,
    body    BYTEA,
    at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (who, key)
);

COMMENT ON COLUMN answers.request IS 'SHA-256 of method, path, query and body.';
COMMENT ON COLUMN answers.status IS 'NULL while the first request is being worked on.';
