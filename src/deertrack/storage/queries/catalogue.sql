-- name: totals
-- Each count is of one index, and none looks at the rows.
SELECT (SELECT count(*) FROM images) AS photos,
       (SELECT count(*) FROM sightings) AS tracks,
       (SELECT count(*) FROM deer WHERE status = 'active') AS individuals,
       (SELECT count(*) FROM sightings WHERE state = 'review') AS waiting,
       (SELECT count(*) FROM stations) AS stations

-- name: more_totals
-- What only few ask for, and takes as long.
SELECT (SELECT count(*) FROM images WHERE error IS NOT NULL)
         + (SELECT count(*) FROM files WHERE error IS NOT NULL) AS unreadable,
       (SELECT count(*) FROM detections) - (SELECT count(*) FROM detections WHERE rejected) AS detections,
       (SELECT count(*) FROM encounters) AS encounters

-- name: list_deer
SELECT d.id, d.number, d.name, d.sex, d.status, d.notes, d.sighting_count, d.embedding_version,
       d.profile_detection_id, t.first_seen, t.last_seen, t.photos, t.stations
FROM deer d LEFT JOIN LATERAL (
  SELECT min(i.taken_at) AS first_seen, max(i.taken_at) AS last_seen, count(*) AS photos,
         array_agg(DISTINCT s.name) AS stations
  FROM sightings g JOIN detections x ON x.sighting_id = g.id
  JOIN images i ON i.id = x.image_id JOIN stations s ON s.id = i.station_id
  WHERE g.deer_id = d.id) t ON true
WHERE (%(status)s = 'all' OR d.status = %(status)s) AND (%(id)s::bigint IS NULL OR d.id = %(id)s)
ORDER BY d.number

-- name: find_deer
-- By name before number; an alias finds its individual too, a merged one only itself.
SELECT id FROM deer
WHERE lower(name) = lower(%(text)s) OR number::text = %(text)s
   OR (aliases <> '{}' AND EXISTS (SELECT FROM unnest(aliases) a WHERE lower(a) = lower(%(text)s)))
ORDER BY lower(name) = lower(%(text)s) DESC, number::text = %(text)s DESC, number LIMIT 1

-- name: described
SELECT notes, sex, sex_said, age_class, aliases, status FROM deer WHERE id = %(id)s

-- name: describe_deer
UPDATE deer SET notes = %(notes)s, sex = %(sex)s, sex_said = %(sex_said)s, age_class = %(age_class)s,
                aliases = %(aliases)s, status = %(status)s WHERE id = %(id)s

-- name: rename_deer
UPDATE deer SET name = %(name)s WHERE id = %(id)s

-- name: sightings_with_photos
-- Every sighting, or those of one individual, with its photos: for pages and reports.
SELECT g.id AS sighting_id, g.deer_id, g.state, s.name AS station, s.timezone, e.id AS encounter_id,
       e.started_at, l.outcome, l.probability, l.candidates, coalesce(l.actor <> 'machine', false) AS by_person,
       x.id AS detection_id, x.confidence, x.bbox_x AS x, x.bbox_y AS y, x.bbox_width AS width,
       x.bbox_height AS height, i.id AS image_id, i.taken_at,
       (SELECT array_agg(f.path ORDER BY f.path) FROM files f WHERE f.image_id = i.id) AS paths
FROM sightings g
JOIN encounters e ON e.id = g.encounter_id
JOIN stations s ON s.id = e.station_id
JOIN detections x ON x.sighting_id = g.id
JOIN images i ON i.id = x.image_id
LEFT JOIN LATERAL (SELECT actor, outcome, probability, candidates FROM decisions c
                   WHERE c.sighting_id = g.id ORDER BY c.id DESC LIMIT 1) l ON true
WHERE %(deer_id)s::bigint IS NULL OR g.deer_id = %(deer_id)s
ORDER BY e.started_at NULLS LAST, g.id, i.taken_at, i.id, x.id

-- name: problems
-- Every file that could not be used, with its reason: either it is no photo, or its photo cannot be read.
SELECT path, error AS reason FROM files WHERE error IS NOT NULL
UNION ALL
SELECT f.path, i.error FROM images i JOIN files f ON f.image_id = i.id WHERE i.error IS NOT NULL
ORDER BY path

-- name: drawn_photos
SELECT 1 FROM images WHERE camera ILIKE '%%drawn sample%%' LIMIT 1

-- name: add_event
INSERT INTO events (actor, kind, subject, detail) VALUES (%(actor)s, %(kind)s, %(subject)s, %(detail)s)

-- name: last_event
SELECT kind, detail, actor, at FROM events WHERE subject = %(subject)s ORDER BY id DESC LIMIT 1

-- name: get_setting
SELECT value FROM settings WHERE key = %(key)s

-- name: settings_changed_at
SELECT max(updated_at) AS at FROM settings WHERE NOT key = ANY(%(passing)s)

-- name: put_setting
INSERT INTO settings (key, value) VALUES (%(key)s, %(value)s)
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, updated_at = now()
