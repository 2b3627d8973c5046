DROP TABLE IF EXISTS detection_embeddings;
DROP TABLE IF EXISTS embedding_versions;
DROP TABLE IF EXISTS models;
DROP FUNCTION IF EXISTS refuse_update;
