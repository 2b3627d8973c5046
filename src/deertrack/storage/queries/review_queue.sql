-- name: queue
-- Sightings that wait for a person, as many as a page shows. "individual" is one that the machine thought of.
WITH open AS MATERIALIZED (
  SELECT g.id, g.sex, g.priority, e.started_at, s.name AS station, s.timezone, count(*) OVER () AS total
  FROM sightings g JOIN encounters e ON e.id = g.encounter_id JOIN stations s ON s.id = e.station_id
  WHERE g.state = 'review'
    AND (%(station)s::text IS NULL OR s.name = %(station)s)
    AND (%(sex)s::text IS NULL OR g.sex = %(sex)s)
    AND (%(since)s::timestamptz IS NULL OR e.started_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR e.started_at < %(until)s)
    AND (%(deer_id)s::bigint IS NULL OR EXISTS (
           SELECT FROM (SELECT candidates FROM decisions c WHERE c.sighting_id = g.id AND c.actor = 'machine'
                        ORDER BY c.id DESC LIMIT 1) l
           WHERE l.candidates @> jsonb_build_array(jsonb_build_object('deer_id', %(deer_id)s::bigint))))
  ORDER BY {order}, g.id LIMIT %(limit)s OFFSET %(offset)s)
SELECT o.total, o.id, o.station, o.timezone, o.started_at, o.sex, o.priority, l.new_probability,
       r.number AS likeliest_number, r.name AS likeliest_name, l.probability AS likeliest_probability,
       p.photos, p.best_detection
FROM open o
LEFT JOIN LATERAL (SELECT new_probability, probability, (candidates -> 0 ->> 'deer_id')::bigint AS deer_id
                   FROM decisions c WHERE c.sighting_id = o.id AND c.actor = 'machine'
                   ORDER BY c.id DESC LIMIT 1) l ON true
LEFT JOIN deer r ON r.id = l.deer_id
CROSS JOIN LATERAL (
  SELECT count(*) AS photos,
         (array_agg(d.id ORDER BY d.confidence DESC, d.bbox_width * d.bbox_height DESC, d.id))[1] AS best_detection
  FROM detections d WHERE d.sighting_id = o.id) p
ORDER BY {order_again}, o.id

-- name: count_waiting
SELECT count(*) AS waiting FROM sightings WHERE state = 'review'

-- name: pace
-- How long people take for an answer, lately: the pauses between one person's answers, long ones left out.
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY pause) AS seconds, count(*) AS answers
FROM (SELECT extract(epoch FROM at - lag(at) OVER (PARTITION BY actor ORDER BY id)) AS pause
      FROM (SELECT id, at, actor FROM edits WHERE kind IN ('assign', 'new', 'reject', 'unidentifiable')
            ORDER BY id DESC LIMIT 200) lately) p
WHERE pause BETWEEN 0.5 AND 120

-- name: sighting
SELECT g.id, g.encounter_id, g.state, g.sex, g.sex_said, g.deer_id, r.number, r.name, e.started_at,
       s.name AS station, s.timezone, l.new_probability, l.version
FROM sightings g
JOIN encounters e ON e.id = g.encounter_id
JOIN stations s ON s.id = e.station_id
LEFT JOIN deer r ON r.id = g.deer_id
LEFT JOIN LATERAL (SELECT new_probability, version FROM decisions c WHERE c.sighting_id = g.id AND c.actor = 'machine'
                   ORDER BY c.id DESC LIMIT 1) l ON true
WHERE g.id = %(id)s

-- name: frames
-- A sighting's photos in time.
SELECT d.id AS detection_id, d.image_id, i.taken_at, d.confidence, d.flank, i.width, i.height,
       d.bbox_x AS x, d.bbox_y AS y, d.bbox_width AS box_width, d.bbox_height AS box_height,
       (SELECT min(f.path) FROM files f WHERE f.image_id = i.id) AS path
FROM detections d JOIN images i ON i.id = d.image_id
WHERE d.sighting_id = %(id)s ORDER BY i.taken_at, i.id, d.id

-- name: beside
-- The other sightings of the encounter, and whether they share a photo with this one: then they are others.
SELECT o.id, o.state, r.number, r.name,
       EXISTS (SELECT FROM detections a JOIN detections b ON b.image_id = a.image_id
               WHERE a.sighting_id = g.id AND b.sighting_id = o.id) AS side_by_side
FROM sightings g
JOIN sightings o ON o.encounter_id = g.encounter_id AND o.id <> g.id
LEFT JOIN deer r ON r.id = o.deer_id
WHERE g.id = %(id)s ORDER BY o.id

-- name: candidates
-- What a person wants to know of candidates: who, how often and where last.
SELECT r.id AS deer_id, r.number, r.name, r.sex, r.sighting_count, r.profile_detection_id,
       t.started_at AS last_seen, t.station, t.timezone
FROM deer r
LEFT JOIN LATERAL (
  SELECT e.started_at, s.name AS station, s.timezone
  FROM sightings g JOIN encounters e ON e.id = g.encounter_id JOIN stations s ON s.id = e.station_id
  WHERE g.deer_id = r.id ORDER BY e.started_at DESC NULLS LAST LIMIT 1) t ON true
WHERE r.id = ANY(%(deer_ids)s)

-- name: look_alikes
-- The photos of each candidate that look most like the best frames of the sighting: the same flank first, if both
-- are known, and never the other one before one that nobody knows.
WITH asked AS MATERIALIZED (
  SELECT d.id, d.flank, d.confidence FROM detections d WHERE d.sighting_id = %(id)s
  ORDER BY d.confidence DESC, d.id LIMIT 3),
shown AS MATERIALIZED (
  SELECT r.deer_id, x.id, x.image_id, x.flank
  FROM unnest(%(deer_ids)s::bigint[]) AS r (deer_id)
  CROSS JOIN LATERAL (
    SELECT d.id, d.image_id, d.flank FROM sightings g JOIN detections d ON d.sighting_id = g.id
    WHERE g.deer_id = r.deer_id AND g.id <> %(id)s
    ORDER BY d.confidence DESC, d.id LIMIT 60) x),
compared AS (
  SELECT s.deer_id, s.id AS detection_id, s.image_id, s.flank, a.id AS query_detection_id,
         sum(m.weight * (1 - (v.embedding <=> q.embedding))) AS similarity,
         CASE WHEN s.flank = 'unknown' OR a.flank = 'unknown' THEN 1 WHEN s.flank = a.flank THEN 0 ELSE 2 END AS side
  FROM unnest(%(models)s::smallint[], %(weights)s::float8[]) AS m (model_id, weight)
  JOIN detection_embeddings q ON q.model_id = m.model_id AND q.detection_id IN (SELECT id FROM asked)
  JOIN asked a ON a.id = q.detection_id
  JOIN detection_embeddings v ON v.model_id = m.model_id AND v.detection_id IN (SELECT id FROM shown)
  JOIN shown s ON s.id = v.detection_id
  GROUP BY s.deer_id, s.id, s.image_id, s.flank, a.id, a.flank),
best AS (
  SELECT DISTINCT ON (detection_id) * FROM compared ORDER BY detection_id, side, similarity DESC)
SELECT deer_id, detection_id, image_id, flank, query_detection_id, similarity
FROM (SELECT *, row_number() OVER (PARTITION BY deer_id ORDER BY side, similarity DESC, detection_id) AS place
      FROM best) b
WHERE place <= %(each)s ORDER BY deer_id, place
