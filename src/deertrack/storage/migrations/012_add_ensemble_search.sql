-- The ensemble is one inner product: with unit vectors, w1·cos(a, qa) + w2·cos(b, qb) is the inner product of
-- a‖b with (w1·qa)‖(w2·qb). One index over the concatenation serves every choice of weights at query time.
-- halfvec takes a third of the index of vector(1024) at the same recall.
CREATE INDEX IF NOT EXISTS deer_ensemble_hnsw ON deer
USING hnsw (((feature_vector_multiscale || feature_vector_efficientnet)::halfvec(1024)) halfvec_ip_ops)
WITH (m = 16, ef_construction = 64);

-- Which model made each profile vector. Searches compare these, so that vectors of different models never meet.
ALTER TABLE deer
    ADD COLUMN IF NOT EXISTS single_model_id     SMALLINT REFERENCES models,
    ADD COLUMN IF NOT EXISTS multiscale_model_id SMALLINT REFERENCES models,
    ADD COLUMN IF NOT EXISTS partner_model_id    SMALLINT REFERENCES models;
