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
-- Profiles out of stored vectors: for each active individual the best detection that has all of them. Columns
-- that the target does not search keep what they hold.
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
{vector} = {source}.embedding, {model} = {source}.model_id

-- name: source
JOIN detection_embeddings {source} ON {source}.detection_id = b.detection_id AND {source}.model_id = {wanted}

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
