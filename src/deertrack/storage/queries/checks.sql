-- Each check returns what is wrong, one row a finding: "subject" and "finding". No row is good news.
-- Those with {vector} run once for each column of profiles that there is; {output} is what its models make.

-- name: profile_norms
-- The specification's own check, ABS(1 - (v <#> v)), is 2 for a perfect vector: <#> is the negative inner product.
SELECT 'deer ' || id AS subject, {name} || ' has length ' || round(sqrt(-({vector} <#> {vector}))::numeric, 6) AS finding
FROM deer WHERE abs(1 - sqrt(-({vector} <#> {vector}))) >= 0.0001

-- name: detection_norms
SELECT 'detection ' || detection_id AS subject,
       'vector of model ' || model_id || ' has length ' || round(sqrt(-(embedding <#> embedding))::numeric, 6) AS finding
FROM detection_embeddings WHERE abs(1 - sqrt(-(embedding <#> embedding))) >= 0.0001

-- name: missing_vectors
-- Sighted individuals that a search with the active version would pass over.
SELECT 'deer ' || id AS subject, name || ' lacks vectors of ' || {version} AS finding
FROM deer WHERE status = 'active' AND sighting_count > 0 AND {lacks}

-- name: version_consistency
SELECT 'deer ' || d.id AS subject,
       CASE WHEN v.name IS NULL THEN 'has the unknown version ' || coalesce(d.embedding_version, 'NULL')
            ELSE 'says ' || v.name || ' but its vectors are of other models' END AS finding
FROM deer d LEFT JOIN embedding_versions v ON v.name = d.embedding_version
WHERE d.sighting_count > 0 AND (v.name IS NULL
  OR (v.stage = 1 AND d.single_model_id IS DISTINCT FROM v.single_model_id)
  OR (v.stage >= 2 AND d.multiscale_model_id IS DISTINCT FROM v.multiscale_model_id)
  OR (v.stage = 3 AND d.partner_model_id IS DISTINCT FROM v.partner_model_id))

-- name: model_columns
-- A vector without a model, a model without a vector, or a model that makes another kind of vector.
SELECT 'deer ' || deer.id AS subject, {name} || ': vector and model do not belong together' AS finding
FROM deer LEFT JOIN models m ON m.id = deer.{model}
WHERE ({vector} IS NULL) <> ({model} IS NULL) OR m.output <> {output}

-- name: profile_sources
-- A profile vector must be the mean of the individual's sightings (as profiles.sql makes it), up to rounding. Who lost
-- all sightings keeps what it had.
SELECT 'deer ' || deer.id AS subject, {name} || ' is not the mean of its sightings' AS finding
FROM deer CROSS JOIN LATERAL (
  SELECT l2_normalize(avg(seen.pooled)) AS embedding
  FROM (SELECT l2_normalize(avg(e.embedding)) AS pooled
        FROM sightings g
        JOIN detections d ON d.sighting_id = g.id
        JOIN detection_embeddings e ON e.detection_id = d.id AND e.model_id = deer.{model}
        WHERE g.deer_id = deer.id GROUP BY g.id) seen) mean
WHERE {vector} IS NOT NULL AND {model} IS NOT NULL AND deer.sighting_count > 0
  AND (mean.embedding IS NULL OR {vector} <-> mean.embedding > 0.001)

-- name: sighting_counts
SELECT 'deer ' || d.id AS subject, 'counts ' || d.sighting_count || ' sightings, has ' || count(s.id) AS finding
FROM deer d LEFT JOIN sightings s ON s.deer_id = d.id
GROUP BY d.id HAVING d.sighting_count <> count(s.id)

-- name: orphans
SELECT 'sighting ' || s.id AS subject, 'has no detection' AS finding
FROM sightings s WHERE s.state <> 'no animal' AND NOT EXISTS (SELECT FROM detections d WHERE d.sighting_id = s.id)
UNION ALL
SELECT 'encounter ' || e.id, 'has no sighting'
FROM encounters e WHERE NOT EXISTS (SELECT FROM sightings s WHERE s.encounter_id = e.id)
UNION ALL
SELECT 'image ' || i.id, 'has no file' FROM images i WHERE NOT EXISTS (SELECT FROM files f WHERE f.image_id = i.id)
UNION ALL
SELECT 'sighting ' || s.id, 'belongs to ' || d.name || ', who is ' || d.status
FROM sightings s JOIN deer d ON d.id = s.deer_id WHERE d.status = 'merged'
UNION ALL
SELECT 'sighting ' || s.id, 'was decided without a line in the decision log'
FROM sightings s WHERE s.state NOT IN ('undecided', 'no animal')
  AND NOT EXISTS (SELECT FROM decisions c WHERE c.sighting_id = s.id)

-- name: indexes
-- Indexes that the specification and the hot query need, missing or left invalid by an interrupted build.
SELECT w.name AS subject,
       CASE WHEN i.indexrelid IS NULL THEN 'is missing' ELSE 'is invalid' END AS finding
FROM unnest(%(wanted)s::text[]) AS w (name)
LEFT JOIN pg_class c ON c.relname = w.name AND c.relkind = 'i'
LEFT JOIN pg_index i ON i.indexrelid = c.oid
WHERE i.indexrelid IS NULL OR NOT i.indisvalid OR NOT i.indisready
UNION ALL
SELECT c.relname, 'is invalid' FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
WHERE NOT i.indisvalid AND c.relname <> ALL (%(wanted)s::text[])

-- name: versions_in_use
-- Specification, "Version Consistency".
SELECT embedding_version AS version, count(*) AS deer FROM deer GROUP BY 1 ORDER BY 1

-- name: any_profile
-- Some individual to search for: whether the hot query walks its index does not depend on whom.
SELECT sex, {vectors} FROM deer WHERE status = 'active' AND NOT {lacks} LIMIT 1

-- name: abandoned_indexes
-- What REINDEX CONCURRENTLY leaves when it is interrupted: invalid twins called …_ccnew or …_ccold.
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)\d*$'
