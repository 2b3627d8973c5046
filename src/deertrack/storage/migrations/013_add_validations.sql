-- Evidence for a cut-over: what a comparison of two embedding versions found. Rows are added, never changed.
CREATE TABLE IF NOT EXISTS validations (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    new_version  VARCHAR(20) NOT NULL REFERENCES embedding_versions (name),
    old_version  VARCHAR(20) NOT NULL REFERENCES embedding_versions (name),
    fingerprints JSONB NOT NULL,
    weights      JSONB NOT NULL,
    outcome      TEXT NOT NULL CHECK (outcome IN ('pass', 'fail', 'not enough data')),
    report       JSONB NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS ix_validations_versions ON validations (new_version, old_version, id);

CREATE OR REPLACE TRIGGER immutable BEFORE UPDATE ON validations FOR EACH ROW EXECUTE FUNCTION refuse_update();

COMMENT ON COLUMN validations.fingerprints IS 'The models that each version compared, by version name and column of deer.';
COMMENT ON COLUMN validations.weights IS 'Shares of the multi-scale and the partner vector in an ensemble similarity.';
COMMENT ON COLUMN validations.report IS 'Everything that was found, as `deertrack reid validate --json` prints it.';
