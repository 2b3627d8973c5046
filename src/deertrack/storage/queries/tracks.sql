-- name: tracks
-- Sightings in these states that show themselves to a version: at least one detection has vectors of all its models.
-- In time and not as they were filed, so that the order of import does not matter; the best of those detections (spec,
-- phase 2) beside. "person" is the outcome of the last decision where a person made it.
SELECT g.id AS sighting_id, g.encounter_id, g.state, g.deer_id, g.sex, b.photos, b.detection_id, b.confidence,
       l.outcome AS person
FROM sightings g
JOIN encounters e ON e.id = g.encounter_id
JOIN stations s ON s.id = e.station_id
CROSS JOIN LATERAL (
  SELECT count(*) OVER () AS photos, d.id AS detection_id, d.confidence,
         d.bbox_width * d.bbox_height AS area
  FROM detections d
  WHERE d.sighting_id = g.id
    AND (SELECT count(*) FROM detection_embeddings v
         WHERE v.detection_id = d.id AND v.model_id = ANY(%(models)s)) = cardinality(%(models)s)
  ORDER BY d.confidence DESC, area DESC, d.id LIMIT 1) b
LEFT JOIN LATERAL (SELECT CASE WHEN c.actor <> 'machine' THEN c.outcome END AS outcome FROM decisions c
                   WHERE c.sighting_id = g.id ORDER BY c.id DESC LIMIT 1) l ON true
WHERE g.state = ANY(%(states)s) AND (%(sighting_ids)s::bigint[] IS NULL OR g.id = ANY(%(sighting_ids)s))
ORDER BY e.started_at NULLS LAST, s.name, e.id, g.id

-- name: pooled
-- One vector of each sighting and model: the direction of the mean of its detections that have all vectors.
SELECT d.sighting_id, v.model_id, l2_normalize(avg(v.embedding)) AS embedding
FROM detections d JOIN detection_embeddings v ON v.detection_id = d.id AND v.model_id = ANY(%(wanted)s)
WHERE d.sighting_id = ANY(%(sighting_ids)s)
  AND (SELECT count(*) FROM detection_embeddings a
       WHERE a.detection_id = d.id AND a.model_id = ANY(%(models)s)) = cardinality(%(models)s)
GROUP BY d.sighting_id, v.model_id

-- name: side_by_side
-- Pairs of sightings that share a photo: two animals.
SELECT DISTINCT a.sighting_id AS first, b.sighting_id AS second
FROM detections a JOIN detections b ON b.image_id = a.image_id AND b.sighting_id > a.sighting_id
WHERE a.sighting_id = ANY(%(sighting_ids)s) AND b.sighting_id = ANY(%(sighting_ids)s)
ORDER BY 1, 2

-- name: too_far_apart
-- Pairs of sightings too far apart for the time between (haversine, in metres): as out_of_reach in sightings.sql.
WITH met AS MATERIALIZED (
  SELECT e.id, e.started_at, e.ended_at, s.latitude, s.longitude, array_agg(g.id) AS sightings
  FROM sightings g JOIN encounters e ON e.id = g.encounter_id JOIN stations s ON s.id = e.station_id
  WHERE g.id = ANY(%(sighting_ids)s) AND s.latitude IS NOT NULL AND e.started_at IS NOT NULL
  GROUP BY e.id, s.id)
SELECT x.sighting AS first, y.sighting AS second
FROM met e
JOIN met o ON o.id > e.id
 AND o.ended_at > e.started_at - %(horizon)s AND o.started_at < e.ended_at + %(horizon)s
CROSS JOIN LATERAL (
  SELECT 2 * 6371000 * asin(least(1, sqrt(
           sin(radians(o.latitude - e.latitude) / 2) ^ 2
           + cos(radians(e.latitude)) * cos(radians(o.latitude)) * sin(radians(o.longitude - e.longitude) / 2) ^ 2
         ))) AS metres,
         greatest(o.started_at - e.ended_at, e.started_at - o.ended_at, interval '0') AS pause) d
CROSS JOIN unnest(e.sightings) AS x (sighting)
CROSS JOIN unnest(o.sightings) AS y (sighting)
WHERE d.metres > %(speed)s * extract(epoch FROM d.pause + %(clock_error)s)
ORDER BY 1, 2

-- name: founding
-- For which sighting each individual was made, as the log says for good.
SELECT DISTINCT ON (c.deer_id) c.deer_id, c.sighting_id
FROM decisions c WHERE c.outcome = 'new' ORDER BY c.deer_id, c.id

-- name: rejections
SELECT sighting_id, deer_id FROM rejections ORDER BY 1, 2

-- name: merge_away
-- Who lost all sightings to one other individual.
UPDATE deer SET status = 'merged', merged_into = %(into)s WHERE id = %(deer_id)s AND sighting_count = 0
