-- pgvector gives the VECTOR type and HNSW indexes. 0.8.0 brought iterative index scans, without which a
-- filtered search (sex = …) can silently return too few rows.
CREATE EXTENSION IF NOT EXISTS vector;

DO $$
DECLARE
    installed TEXT := (SELECT extversion FROM pg_extension WHERE extname = 'vector');
BEGIN
    IF string_to_array(installed, '.')::int[] < ARRAY[0, 8, 0] THEN
        RAISE EXCEPTION 'pgvector % is too old: 0.8.0 or newer is needed. Run: ALTER EXTENSION vector UPDATE;', installed;
    END IF;
END
$$;
