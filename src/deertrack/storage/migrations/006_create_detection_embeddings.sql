-- Who makes vectors: one row per network output, known by the hash of all that shapes it.
CREATE TABLE IF NOT EXISTS models (
    id          SMALLINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE CHECK (fingerprint ~ '^[0-9a-f]{64}$'),
    output      TEXT NOT NULL CHECK (output IN ('feature_vector', 'feature_vector_multiscale', 'feature_vector_efficientnet')),
    pack        TEXT NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- A version names the models that a search with it compares. Once registered, a name never changes meaning.
CREATE TABLE IF NOT EXISTS embedding_versions (
    name                VARCHAR(20) PRIMARY KEY,
    stage               SMALLINT NOT NULL CHECK (stage IN (1, 2, 3)),
    pack                TEXT NOT NULL,
    single_model_id     SMALLINT REFERENCES models,
    multiscale_model_id SMALLINT REFERENCES models,
    partner_model_id    SMALLINT REFERENCES models,
    created_at          TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- A vector belongs to (detection, model) and is immutable.
CREATE TABLE IF NOT EXISTS detection_embeddings (
    detection_id BIGINT NOT NULL REFERENCES detections,
    model_id     SMALLINT NOT NULL REFERENCES models,
    embedding    VECTOR(512) NOT NULL,
    PRIMARY KEY (detection_id, model_id)
);

CREATE OR REPLACE FUNCTION refuse_update() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% rows are immutable', TG_TABLE_NAME;
END
$$;

CREATE OR REPLACE TRIGGER immutable BEFORE UPDATE ON models FOR EACH ROW EXECUTE FUNCTION refuse_update();
CREATE OR REPLACE TRIGGER immutable BEFORE UPDATE ON embedding_versions FOR EACH ROW EXECUTE FUNCTION refuse_update();
CREATE OR REPLACE TRIGGER immutable BEFORE UPDATE ON detection_embeddings FOR EACH ROW EXECUTE FUNCTION refuse_update();
