-- The rollback that the specification gives with this migration.
BEGIN;
DROP INDEX IF EXISTS ix_deer_feature_vector_multiscale_hnsw;
DROP INDEX IF EXISTS ix_deer_feature_vector_efficientnet_hnsw;
DROP INDEX IF EXISTS ix_deer_embedding_version;
ALTER TABLE deer DROP COLUMN IF EXISTS feature_vector_multiscale;
ALTER TABLE deer DROP COLUMN IF EXISTS feature_vector_efficientnet;
ALTER TABLE deer DROP COLUMN IF EXISTS embedding_version;
COMMIT;
