-- name: weight
-- Bytes on disk of a column's vectors, and of its index.
SELECT coalesce(sum(pg_column_size({vector})), 0)::bigint AS vectors,
       coalesce(pg_relation_size(to_regclass({index})), 0) AS index
FROM deer

-- name: only_here
-- Retired and merged individuals that have a vector in this column and in no other.
SELECT count(*) AS deer FROM deer WHERE status <> 'active' AND {vector} IS NOT NULL AND NOT ({others})

-- name: dependents
-- What in the database hangs on a column besides its index: views, constraints, triggers, other indexes…  Rules
-- are named by their view.
SELECT DISTINCT CASE WHEN d.classid = 'pg_rewrite'::regclass
                     THEN pg_describe_object('pg_class'::regclass, r.ev_class, 0)
                     ELSE pg_describe_object(d.classid, d.objid, d.objsubid) END AS what
FROM pg_depend d
JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid AND a.attname = %(column)s
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = 'deer'::regclass
  AND (d.classid, d.objid) IS DISTINCT FROM ('pg_class'::regclass, to_regclass(%(index)s)::oid)
ORDER BY what

-- name: functions
-- Functions whose text names one of these columns: PostgreSQL itself does not know that they need it.
SELECT 'function ' || p.oid::regprocedure AS what
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND p.prosrc ~ ('\m(' || array_to_string(%(columns)s::text[], '|') || ')\M')
ORDER BY what

-- name: patience
SELECT set_config('lock_timeout', %(patience)s, true)

-- name: lock_table
LOCK TABLE deer IN ACCESS EXCLUSIVE MODE

-- name: relabel
-- Who says a version that searched the dropped column, and has all vectors of the active one, says that one now.
UPDATE deer SET embedding_version = %(version)s
WHERE embedding_version IN (SELECT name FROM embedding_versions WHERE stage = 1) AND NOT {lacks}

-- name: drop_column
ALTER TABLE deer DROP COLUMN {column}

-- name: rename_column
ALTER TABLE deer RENAME COLUMN {column} TO {name}
