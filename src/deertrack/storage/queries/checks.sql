-- Each check returns what is wrong, one row a finding: "subject" and "finding". No row is good news.

-- name: profile_norms
-- The specification's own check, ABS(1 - (v <#> v)), is 2 for a perfect vector: <#> is the negative inner product.
SELECT 'deer ' || id AS subject, what || ' has length ' || round(sqrt(-self)::numeric, 6) AS finding
FROM (
  SELECT id, 'feature_vector' AS what, feature_vector <#> feature_vector AS self FROM deer
  UNION ALL
  SELECT id, 'feature_vector_multiscale', feature_vector_multiscale <#> feature_vector_multiscale FROM deer
  UNION ALL
  SELECT id, 'feature_vector_efficientnet', feature_vector_efficientnet <#> feature_vector_efficientnet FROM deer) v
WHERE abs(1 - sqrt(-self)) >= 0.0001

-- name: detection_norms
SELECT 'detection ' || detection_id AS subject,
       'vector of model ' || model_id || ' has length ' || round(sqrt(-(embedding <#> embedding))::numeric, 6) AS finding
FROM detection_embeddings WHERE abs(1 - sqrt(-(embedding <#> embedding))) >= 0.0001

-- name: missing_vectors
-- Sighted individuals that a search with the active version would pass over.
SELECT 'deer ' || d.id AS subject, d.name || ' lacks vectors of ' || v.name AS finding
FROM deer d, embedding_versions v
WHERE v.name = %(version)s AND d.status = 'active' AND d.sighting_count > 0 AND (
  (v.stage = 1 AND (d.feature_vector IS NULL OR d.single_model_id IS DISTINCT FROM v.single_model_id))
  OR (v.stage >= 2 AND (d.feature_vector_multiscale IS NULL
                        OR d.multiscale_model_id IS DISTINCT FROM v.multiscale_model_id))
  OR (v.stage = 3 AND (d.feature_vector_efficientnet IS NULL
                       OR d.partner_model_id IS DISTINCT FROM v.partner_model_id)))

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
SELECT 'deer ' || p.id AS subject, p.what || ': vector and model do not belong together' AS finding
FROM (
  SELECT id, 'feature_vector' AS what, feature_vector IS NOT NULL AS filled, single_model_id AS model_id FROM deer
  UNION ALL
  SELECT id, 'feature_vector_multiscale', feature_vector_multiscale IS NOT NULL, multiscale_model_id FROM deer
  UNION ALL
  SELECT id, 'feature_vector_efficientnet', feature_vector_efficientnet IS NOT NULL, partner_model_id FROM deer) p
LEFT JOIN models m ON m.id = p.model_id
WHERE p.filled <> (p.model_id IS NOT NULL) OR (m.id IS NOT NULL AND m.output <> p.what)

-- name: profile_sources
-- A profile vector must be, bit for bit, that of one of the individual's detections under the same model.
SELECT 'deer ' || p.id AS subject, p.what || ' is of none of its detections' AS finding
FROM (
  SELECT id, 'feature_vector' AS what, feature_vector AS v, single_model_id AS model_id FROM deer
  UNION ALL
  SELECT id, 'feature_vector_multiscale', feature_vector_multiscale, multiscale_model_id FROM deer
  UNION ALL
  SELECT id, 'feature_vector_efficientnet', feature_vector_efficientnet, partner_model_id FROM deer) p
WHERE p.v IS NOT NULL AND p.model_id IS NOT NULL AND NOT EXISTS (
  SELECT FROM sightings s JOIN detections d ON d.sighting_id = s.id
  JOIN detection_embeddings e ON e.detection_id = d.id AND e.model_id = p.model_id
  WHERE s.deer_id = p.id AND e.embedding = p.v)

-- name: sighting_counts
SELECT 'deer ' || d.id AS subject, 'counts ' || d.sighting_count || ' sightings, has ' || count(s.id) AS finding
FROM deer d LEFT JOIN sightings s ON s.deer_id = d.id
GROUP BY d.id HAVING d.sighting_count <> count(s.id)

-- name: orphans
SELECT 'sighting ' || s.id AS subject, 'has no detection' AS finding
FROM sightings s WHERE NOT EXISTS (SELECT FROM detections d WHERE d.sighting_id = s.id)
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
FROM sightings s WHERE s.state <> 'undecided' AND NOT EXISTS (SELECT FROM decisions c WHERE c.sighting_id = s.id)

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
SELECT sex, feature_vector, feature_vector_multiscale, feature_vector_efficientnet FROM deer
WHERE status = 'active' AND (%(feature_vector_model)s::int IS NULL OR feature_vector IS NOT NULL)
  AND (%(feature_vector_multiscale_model)s::int IS NULL OR feature_vector_multiscale IS NOT NULL)
  AND (%(feature_vector_efficientnet_model)s::int IS NULL OR feature_vector_efficientnet IS NOT NULL)
LIMIT 1

-- name: abandoned_indexes
-- What REINDEX CONCURRENTLY leaves when it is interrupted: invalid twins called …_ccnew or …_ccold.
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)\d*$'
