-- name: search_column
-- Exact order comes from the index scan itself (cosine), so no second ranking is needed.
SELECT id AS deer_id, 1 - ({vector} <=> %(query)b) AS similarity
FROM deer
WHERE status = 'active' AND {model} = %(model)s
  AND (%(sex)s = 'unknown' OR sex IN (%(sex)s, 'unknown'))
ORDER BY {vector} <=> %(query)b
LIMIT %(limit)s

-- name: search_ensemble
-- One walk of one index for any weights (query = w1·q1 ‖ w2·q2), then an exact ranking of the nearest forty:
-- the index holds half-precision vectors. The expression must stay that of deer_ensemble_hnsw.
WITH nearest AS MATERIALIZED (
  SELECT id, {multiscale} AS multiscale, {partner} AS partner
  FROM deer
  WHERE status = 'active' AND multiscale_model_id = %(multiscale_model)s
    AND partner_model_id = %(partner_model)s
    AND (%(sex)s = 'unknown' OR sex IN (%(sex)s, 'unknown'))
  ORDER BY ({multiscale} || {partner})::halfvec(1024) <#> %(query)b::vector(1024)::halfvec(1024)
  LIMIT GREATEST(40, %(limit)s))
SELECT id AS deer_id,
       %(multiscale_weight)s::float8 * (1 - (multiscale <=> %(multiscale)b))
       + %(partner_weight)s::float8 * (1 - (partner <=> %(partner)b)) AS similarity
FROM nearest ORDER BY similarity DESC, id LIMIT %(limit)s

-- name: gallery_size
SELECT count(*) AS size FROM deer
WHERE status = 'active' AND (%(sex)s = 'unknown' OR sex IN (%(sex)s, 'unknown'))

-- name: not_comparable
-- Active individuals that a search cannot see. Anything but 0 must be said aloud.
SELECT count(*) AS missing FROM deer WHERE status = 'active' AND {lacks}

-- name: next_number
SELECT coalesce(max(number), 0) + 1 AS number FROM deer

-- name: name_taken
-- In any case, because people find individuals by name in any case.
SELECT 1 FROM deer WHERE lower(name) = lower(%(name)s)

-- name: add_deer
INSERT INTO deer (number, name, sex, profile_detection_id, embedding_version, {columns})
VALUES (%(number)s, %(name)s, %(sex)s, %(profile_detection_id)s, %(version)s, {values})
RETURNING id

-- name: learn_sex
UPDATE deer SET sex = %(sex)s WHERE id = %(deer_id)s AND sex = 'unknown' AND %(sex)s <> 'unknown'

-- name: count_sightings
UPDATE deer SET sighting_count = (SELECT count(*) FROM sightings WHERE deer_id = %(deer_id)s)
WHERE id = %(deer_id)s
