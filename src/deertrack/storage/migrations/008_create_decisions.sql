-- Every decision, with all that led to it. Rows are added, never changed.
CREATE TABLE IF NOT EXISTS decisions (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sighting_id     BIGINT NOT NULL REFERENCES sightings,
    outcome         TEXT NOT NULL CHECK (outcome IN ('assign', 'new', 'review')),
    deer_id         BIGINT REFERENCES deer,
    probability     DOUBLE PRECISION CHECK (probability BETWEEN 0 AND 1),
    new_probability DOUBLE PRECISION CHECK (new_probability BETWEEN 0 AND 1),
    version         VARCHAR(20) NOT NULL REFERENCES embedding_versions (name),
    fingerprints    JSONB NOT NULL,
    policy          JSONB NOT NULL,
    candidates      JSONB NOT NULL,
    actor           TEXT NOT NULL DEFAULT 'machine',
    decided_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    CHECK ((outcome = 'review') = (deer_id IS NULL))
);

CREATE INDEX IF NOT EXISTS ix_decisions_sighting_id ON decisions (sighting_id);

CREATE OR REPLACE TRIGGER immutable BEFORE UPDATE ON decisions FOR EACH ROW EXECUTE FUNCTION refuse_update();

COMMENT ON COLUMN decisions.probability IS 'Calibrated probability that the best candidate is this animal; NULL where the gallery was empty.';
COMMENT ON COLUMN decisions.new_probability IS 'Probability that the animal is none of the known individuals.';
COMMENT ON COLUMN decisions.candidates IS 'Best first: deer_id, similarity (raw, weighted cosine) and probability of each.';
