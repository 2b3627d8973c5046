ALTER TABLE deer
    DROP COLUMN IF EXISTS single_model_id,
    DROP COLUMN IF EXISTS multiscale_model_id,
    DROP COLUMN IF EXISTS partner_model_id;
DROP INDEX IF EXISTS deer_ensemble_hnsw;
