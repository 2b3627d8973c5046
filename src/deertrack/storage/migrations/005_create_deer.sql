-- A known individual. Retired or merged, never deleted: names and notes survive everything.
CREATE TABLE IF NOT EXISTS deer (
    id                   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number               INTEGER NOT NULL UNIQUE CHECK (number > 0),
    name                 TEXT NOT NULL UNIQUE CHECK (name <> ''),
    sex                  TEXT NOT NULL DEFAULT 'unknown' CHECK (sex IN ('male', 'female', 'unknown')),
    status               TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'retired', 'merged')),
    notes                TEXT NOT NULL DEFAULT '',
    sighting_count       INTEGER NOT NULL DEFAULT 0,
    profile_detection_id BIGINT REFERENCES detections,
    feature_vector       VECTOR(512),
    created_at           TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS ix_deer_feature_vector_hnsw ON deer
USING hnsw (feature_vector vector_cosine_ops)
WITH (m = 16, ef_construction = 64);

COMMENT ON COLUMN deer.number IS 'Order of discovery; the first name is made from it and both stay.';
COMMENT ON COLUMN deer.profile_detection_id IS 'The best-quality detection (highest confidence, then largest box): whose vectors these are.';
COMMENT ON COLUMN deer.feature_vector IS 'Single-layer embedding. 512 dimensions, L2 normalized.';
