-- name: profiles_to_embed
-- For each active individual its best detection (spec, phase 2: highest confidence, then largest box) among
-- readable photos, where that detection still lacks vectors of the target's models.
WITH best AS (
  SELECT DISTINCT ON (g.deer_id) g.deer_id, d.id AS detection_id
  FROM sightings g
  JOIN deer r ON r.id = g.deer_id AND r.status = 'active'
  JOIN detections d ON d.sighting_id = g.id
  JOIN images i ON i.id = d.image_id AND i.error IS NULL
  WHERE (%(deer_ids)s::bigint[] IS NULL OR g.deer_id = ANY(%(deer_ids)s))
    AND d.image_id <> ALL(%(unreachable)s)
  ORDER BY g.deer_id, d.confidence DESC, d.bbox_width * d.bbox_height DESC, d.id)
SELECT b.deer_id, b.detection_id FROM best b
WHERE (SELECT count(*) FROM detection_embeddings e
       WHERE e.detection_id = b.detection_id AND e.model_id = ANY(%(models)s)) < cardinality(%(models)s)
ORDER BY b.deer_id LIMIT %(limit)s

-- name: put_profiles
-- Profiles out of stored vectors, for each active individual with a detection that has all of them; the best such
-- detection is its portrait. Columns that the target does not search keep what they hold.
WITH best AS (
  SELECT DISTINCT ON (g.deer_id) g.deer_id, d.id AS detection_id
  FROM sightings g
  JOIN deer r ON r.id = g.deer_id AND r.status = 'active'
  JOIN detections d ON d.sighting_id = g.id
  WHERE (%(deer_ids)s::bigint[] IS NULL OR g.deer_id = ANY(%(deer_ids)s))
    AND (SELECT count(*) FROM detection_embeddings e
         WHERE e.detection_id = d.id AND e.model_id = ANY(%(models)s)) = cardinality(%(models)s)
  ORDER BY g.deer_id, d.confidence DESC, d.bbox_width * d.bbox_height DESC, d.id)
UPDATE deer SET {assignments}, profile_detection_id = b.detection_id, embedding_version = %(version)s
FROM best b {sources}
WHERE deer.id = b.deer_id
  -- A version of a higher stage with the same models serves the target already, and keeps its name.
  AND (coalesce((SELECT stage FROM embedding_versions v WHERE v.name = deer.embedding_version), 0) < %(stage)s
       OR {lacks})
RETURNING deer.id

-- name: assignment
{vector} = {source}.embedding, {model} = {wanted}

-- name: refresh_profiles
-- Every column anew, in vectors of the model that it holds, and the best detection as the portrait.
UPDATE deer SET {assignments}, profile_detection_id = (
  SELECT d.id FROM sightings g JOIN detections d ON d.sighting_id = g.id WHERE g.deer_id = b.deer_id
  ORDER BY d.confidence DESC, d.bbox_width * d.bbox_height DESC, d.id LIMIT 1)
FROM (SELECT id AS deer_id, {models} FROM deer WHERE sighting_count > 0) b {sources}
WHERE deer.id = b.deer_id AND (%(deer_ids)s::bigint[] IS NULL OR b.deer_id = ANY(%(deer_ids)s)) AND ({changed})
RETURNING deer.id

-- name: refreshed
{vector} = coalesce({source}.embedding, deer.{vector})

-- name: changed
-- By more than the order of summation.
deer.{vector} <=> {source}.embedding > 0.000001

-- name: source
-- An individual's vector of one model: the direction of the mean of its sightings, each the direction of the mean
-- of its photos, so that a long burst counts no more than a single photo.
CROSS JOIN LATERAL (
  SELECT l2_normalize(avg(seen.pooled)) AS embedding
  FROM (SELECT l2_normalize(avg(e.embedding)) AS pooled
        FROM sightings g
        JOIN detections d ON d.sighting_id = g.id
        JOIN detection_embeddings e ON e.detection_id = d.id AND e.model_id = {wanted}
        WHERE g.deer_id = b.deer_id GROUP BY g.id) seen) {source}

-- name: individuals_in
SELECT DISTINCT g.deer_id FROM sightings g JOIN detections d ON d.sighting_id = g.id
WHERE d.image_id = ANY(%(image_ids)s) AND g.deer_id IS NOT NULL

-- name: coverage
-- How many active, sighted individuals have profile vectors of the target's models, and how many could have:
-- those with a detection that holds all of them.
SELECT count(*) AS deer,
       count(*) FILTER (WHERE NOT {lacks}) AS in_profile,
       count(*) FILTER (WHERE EXISTS (
         SELECT FROM sightings g JOIN detections d ON d.sighting_id = g.id
         WHERE g.deer_id = deer.id
           AND (SELECT count(*) FROM detection_embeddings e
                WHERE e.detection_id = d.id AND e.model_id = ANY(%(models)s)) = cardinality(%(models)s))) AS embedded
FROM deer WHERE status = 'active' AND sighting_count > 0

-- name: detections_to_embed
-- Photos of these detections, as pending_photos gives them.
SELECT i.id AS image_id, array_agg(d.id ORDER BY d.id) AS detection_ids,
       array_agg(ARRAY[d.bbox_x, d.bbox_y, d.bbox_width, d.bbox_height] ORDER BY d.id) AS boxes,
       (SELECT array_agg(f.path ORDER BY f.path) FROM files f WHERE f.image_id = i.id) AS paths
FROM detections d JOIN images i ON i.id = d.image_id
WHERE d.id = ANY(%(detection_ids)s)
GROUP BY i.id ORDER BY i.id
