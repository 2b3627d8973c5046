-- name: profile_columns
-- Naming deer takes its lock until the transaction ends, though no row of it is read: nobody drops or renames a
-- column between this answer and the query that is made of it. Without parameters it is planned once.
SELECT attname AS name FROM pg_attribute
WHERE attrelid = 'deer'::regclass AND starts_with(attname, 'feature_vector') AND NOT attisdropped
  AND NOT EXISTS (SELECT FROM deer WHERE false)

-- name: is_cleaned
SELECT to_regclass('deer') IS NOT NULL AND NOT EXISTS (
  SELECT FROM pg_attribute
  WHERE attrelid = to_regclass('deer') AND attname = 'feature_vector' AND NOT attisdropped) AS cleaned

-- name: lacks
-- Whether an individual cannot be compared by one vector. Where this is used, deer goes by its own name.
deer.{vector} IS NULL OR deer.{model} IS DISTINCT FROM {wanted}

-- name: last_drop
SELECT at, detail->>'backup' AS backup FROM events
WHERE subject = 'catalogue' AND kind = 'clean up' AND detail->'dropped' <> '[]'
ORDER BY id DESC LIMIT 1

-- name: any_vector
SELECT 1 FROM detection_embeddings WHERE model_id = ANY(%(models)s) LIMIT 1
