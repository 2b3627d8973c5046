-- name: stations_to_group
SELECT DISTINCT s.id, s.name FROM detections d
JOIN images i ON i.id = d.image_id JOIN stations s ON s.id = i.station_id
WHERE d.sighting_id IS NULL AND NOT d.rejected AND i.error IS NULL ORDER BY s.name

-- name: ungrouped_detections
-- Only what is fully embedded: the rest waits for its vectors. In the order in which it was taken; a camera
-- writes file names in order, which tells photos of one second apart.
SELECT d.id AS detection_id, d.image_id, i.taken_at, d.sex,
       d.bbox_x AS x, d.bbox_y AS y, d.bbox_width AS width, d.bbox_height AS height
FROM detections d JOIN images i ON i.id = d.image_id
WHERE d.sighting_id IS NULL AND NOT d.rejected AND i.error IS NULL AND i.station_id = %(station_id)s
  AND (SELECT count(*) FROM detection_embeddings e
       WHERE e.detection_id = d.id AND e.model_id = ANY(%(models)s)) = cardinality(%(models)s)
ORDER BY i.taken_at NULLS LAST, i.id, d.id

-- name: encounter_near
-- An encounter that late photos continue: the earliest within a pause of them.
SELECT id FROM encounters
WHERE station_id = %(station_id)s
  AND ended_at > %(first)s::timestamptz - %(gap)s::interval
  AND started_at < %(last)s::timestamptz + %(gap)s::interval
ORDER BY started_at, id LIMIT 1

-- name: add_encounter
INSERT INTO encounters (station_id, started_at, ended_at) VALUES (%(station_id)s, %(first)s, %(last)s)
RETURNING id

-- name: extend_encounter
UPDATE encounters SET started_at = LEAST(started_at, %(first)s), ended_at = GREATEST(ended_at, %(last)s)
WHERE id = %(id)s

-- name: encounter_shots
SELECT g.id AS sighting_id, d.id AS detection_id, d.image_id, i.taken_at, d.sex,
       d.bbox_x AS x, d.bbox_y AS y, d.bbox_width AS width, d.bbox_height AS height
FROM sightings g JOIN detections d ON d.sighting_id = g.id JOIN images i ON i.id = d.image_id
WHERE g.encounter_id = %(encounter_id)s
  AND (SELECT count(*) FROM detection_embeddings e
       WHERE e.detection_id = d.id AND e.model_id = ANY(%(models)s)) = cardinality(%(models)s)
ORDER BY g.id, i.taken_at, i.id

-- name: add_sighting
INSERT INTO sightings (encounter_id, sex) VALUES (%(encounter_id)s, %(sex)s) RETURNING id

-- name: set_sighting_sex
UPDATE sightings SET sex = %(sex)s WHERE id = %(id)s AND sex <> %(sex)s AND NOT sex_said

-- name: attach_detections
UPDATE detections SET sighting_id = %(sighting_id)s WHERE id = ANY(%(detection_ids)s)

-- name: undecided_encounters
-- In time, so that a catalogue fills the way the herd was met. Photos without a time come last.
SELECT e.id FROM encounters e JOIN stations s ON s.id = e.station_id
WHERE EXISTS (SELECT 1 FROM sightings g WHERE g.encounter_id = e.id AND g.state = 'undecided')
ORDER BY e.started_at NULLS LAST, s.name, e.id

-- name: encounter_sightings
-- Every sighting of an encounter with its detections: what is decided already vetoes the rest.
SELECT g.id AS sighting_id, g.state, g.deer_id, g.sex, d.id AS detection_id, d.image_id,
       d.confidence, d.bbox_width * d.bbox_height AS area
FROM sightings g JOIN detections d ON d.sighting_id = g.id
WHERE g.encounter_id = %(encounter_id)s ORDER BY g.id, d.id

-- name: rejections
SELECT sighting_id, deer_id FROM rejections WHERE sighting_id = ANY(%(sighting_ids)s)

-- name: out_of_reach
-- Of these individuals, those seen at another station too far away for the time between (haversine, in metres).
SELECT DISTINCT g.deer_id
FROM encounters e
JOIN stations s ON s.id = e.station_id AND s.latitude IS NOT NULL
JOIN sightings g ON g.deer_id = ANY(%(deer_ids)s)
JOIN encounters o ON o.id = g.encounter_id
 AND o.ended_at > e.started_at - %(horizon)s AND o.started_at < e.ended_at + %(horizon)s
JOIN stations t ON t.id = o.station_id AND t.latitude IS NOT NULL
CROSS JOIN LATERAL (
  SELECT 2 * 6371000 * asin(least(1, sqrt(
           sin(radians(t.latitude - s.latitude) / 2) ^ 2
           + cos(radians(s.latitude)) * cos(radians(t.latitude)) * sin(radians(t.longitude - s.longitude) / 2) ^ 2
         ))) AS metres,
         greatest(o.started_at - e.ended_at, e.started_at - o.ended_at, interval '0') AS pause) d
WHERE e.id = %(encounter_id)s AND d.metres > %(speed)s * extract(epoch FROM d.pause + %(clock_error)s)

-- name: encounter_of
SELECT encounter_id FROM sightings WHERE id = %(id)s

-- name: decide_lock
-- Search-then-insert must not run twice at once, or two workers make one animal twice.
SELECT pg_advisory_xact_lock(%(key)s)

-- name: lock_patience
SELECT set_config('lock_timeout', %(patience)s, true)

-- name: set_sighting_state
UPDATE sightings SET state = %(state)s, deer_id = %(deer_id)s, priority = %(priority)s WHERE id = %(sighting_id)s

-- name: add_decision
INSERT INTO decisions (sighting_id, outcome, deer_id, probability, new_probability, version, fingerprints,
                       policy, candidates, arm, milliseconds)
VALUES (%(sighting_id)s, %(outcome)s, %(deer_id)s, %(probability)s, %(new_probability)s, %(version)s,
        %(fingerprints)s, %(policy)s, %(candidates)s, %(arm)s, %(milliseconds)s)

-- name: placed_in_files
-- Every detection that belongs to a sighting, with the files of its photo: to meet it with a truth file.
SELECT d.id AS detection_id, e.id AS encounter_id, d.sighting_id, g.deer_id, d.confidence,
       d.bbox_x AS x, d.bbox_y AS y, d.bbox_width AS width, d.bbox_height AS height, e.started_at,
       array_agg(f.path) AS paths
FROM detections d
JOIN sightings g ON g.id = d.sighting_id
JOIN encounters e ON e.id = g.encounter_id
JOIN files f ON f.image_id = d.image_id
GROUP BY d.id, g.id, e.id ORDER BY e.started_at NULLS LAST, g.id, d.id
