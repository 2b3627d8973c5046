-- The audit trail: what happened to the catalogue, who did it, and what it was before.
CREATE TABLE IF NOT EXISTS events (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    actor   TEXT NOT NULL,
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  JSONB NOT NULL DEFAULT '{}'
);

CREATE INDEX IF NOT EXISTS ix_events_subject ON events (subject, at);

CREATE OR REPLACE TRIGGER immutable BEFORE UPDATE ON events FOR EACH ROW EXECUTE FUNCTION refuse_update();

COMMENT ON COLUMN events.subject IS 'What it happened to, e.g. deer:12 or station:3.';
