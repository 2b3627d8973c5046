-- name: search_single
-- Exact order comes from the index scan itself (cosine), so no second ranking is needed.
SELECT id AS deer_id, 1 - (feature_vector <=> %(feature_vector)b) AS similarity
FROM deer
WHERE status = 'active' AND single_model_id = %(feature_vector_model)s
  AND (%(sex)s = 'unknown' OR sex IN (%(sex)s, 'unknown'))
ORDER BY feature_vector <=> %(feature_vector)b
LIMIT %(limit)s

-- name: search_multiscale
SELECT id AS deer_id, 1 - (feature_vector_multiscale <=> %(feature_vector_multiscale)b) AS similarity
FROM deer
WHERE status = 'active' AND multiscale_model_id = %(feature_vector_multiscale_model)s
  AND (%(sex)s = 'unknown' OR sex IN (%(sex)s, 'unknown'))
ORDER BY feature_vector_multiscale <=> %(feature_vector_multiscale)b
LIMIT %(limit)s

-- name: search_ensemble
-- One walk of one index for any weights (query = w1·q1 ‖ w2·q2), then an exact ranking of the nearest forty:
-- the index holds half-precision vectors. The expression must stay letter for letter that of deer_ensemble_hnsw.
WITH nearest AS MATERIALIZED (
  SELECT id, feature_vector_multiscale AS multiscale, feature_vector_efficientnet AS partner
  FROM deer
  WHERE status = 'active' AND multiscale_model_id = %(feature_vector_multiscale_model)s
    AND partner_model_id = %(feature_vector_efficientnet_model)s
    AND (%(sex)s = 'unknown' OR sex IN (%(sex)s, 'unknown'))
  ORDER BY (feature_vector_multiscale || feature_vector_efficientnet)::halfvec(1024)
           <#> %(query)b::vector(1024)::halfvec(1024)
  LIMIT GREATEST(40, %(limit)s))
SELECT id AS deer_id,
       %(multiscale_weight)s::float8 * (1 - (multiscale <=> %(feature_vector_multiscale)b))
       + %(partner_weight)s::float8 * (1 - (partner <=> %(feature_vector_efficientnet)b)) AS similarity
FROM nearest ORDER BY similarity DESC, id LIMIT %(limit)s

-- name: gallery_size
SELECT count(*) AS size FROM deer
WHERE status = 'active' AND (%(sex)s = 'unknown' OR sex IN (%(sex)s, 'unknown'))

-- name: not_comparable
-- Active individuals that a search with these models cannot see. Anything but 0 must be said aloud.
SELECT count(*) AS missing FROM deer
WHERE status = 'active' AND (
  (%(feature_vector_model)s::int IS NOT NULL AND single_model_id IS DISTINCT FROM %(feature_vector_model)s)
  OR (%(feature_vector_multiscale_model)s::int IS NOT NULL
      AND multiscale_model_id IS DISTINCT FROM %(feature_vector_multiscale_model)s)
  OR (%(feature_vector_efficientnet_model)s::int IS NOT NULL
      AND partner_model_id IS DISTINCT FROM %(feature_vector_efficientnet_model)s))

-- name: next_number
SELECT coalesce(max(number), 0) + 1 AS number FROM deer

-- name: name_taken
-- In any case, because people find individuals by name in any case.
SELECT 1 FROM deer WHERE lower(name) = lower(%(name)s)

-- name: add_deer
INSERT INTO deer (number, name, sex, profile_detection_id, embedding_version,
                  feature_vector, feature_vector_multiscale, feature_vector_efficientnet,
                  single_model_id, multiscale_model_id, partner_model_id)
VALUES (%(number)s, %(name)s, %(sex)s, %(profile_detection_id)s, %(version)s,
        %(feature_vector)b, %(feature_vector_multiscale)b, %(feature_vector_efficientnet)b,
        %(feature_vector_model)s, %(feature_vector_multiscale_model)s, %(feature_vector_efficientnet_model)s)
RETURNING id

-- name: learn_sex
UPDATE deer SET sex = %(sex)s WHERE id = %(deer_id)s AND sex = 'unknown' AND %(sex)s <> 'unknown'

-- name: count_sightings
UPDATE deer SET sighting_count = (SELECT count(*) FROM sightings WHERE deer_id = %(deer_id)s)
WHERE id = %(deer_id)s
