-- name: page
-- Individuals by name, number, alias, sex, station and status. Only those of the page are looked at closely.
WITH matching AS MATERIALIZED (
  SELECT d.id, d.number, d.name, d.sighting_count
  FROM deer d
  WHERE (%(status)s = 'all' OR d.status = %(status)s) AND (%(only)s::bigint IS NULL OR d.id = %(only)s)
    AND (%(sex)s::text IS NULL OR d.sex = %(sex)s)
    AND (%(search)s::text IS NULL OR d.name ILIKE %(search)s OR d.number::text = %(exactly)s OR d.notes ILIKE %(search)s
         OR EXISTS (SELECT FROM unnest(d.aliases) a WHERE a ILIKE %(search)s))
    AND (%(station)s::text IS NULL OR d.id IN (
           SELECT g.deer_id FROM stations s JOIN encounters e ON e.station_id = s.id
           JOIN sightings g ON g.encounter_id = e.id WHERE s.name = %(station)s))),
chosen AS MATERIALIZED (
  SELECT m.* FROM {ranked} m ORDER BY {order} LIMIT %(limit)s OFFSET %(offset)s)
SELECT (SELECT count(*) FROM matching) AS total, d.id, d.number, d.name, d.sex, d.age_class, d.status, d.notes, d.aliases, d.sighting_count,
       d.profile_detection_id, d.embedding_version, m.number AS merged_into, d.sex_said,
       t.first_seen, t.last_seen, t.photos, t.stations, t.timezone
FROM chosen c
JOIN deer d ON d.id = c.id
LEFT JOIN deer m ON m.id = d.merged_into
LEFT JOIN LATERAL (
  SELECT min(i.taken_at) AS first_seen, max(i.taken_at) AS last_seen, count(*) AS photos,
         array_agg(DISTINCT s.name ORDER BY s.name) AS stations,
         (array_agg(s.timezone ORDER BY i.taken_at DESC NULLS LAST))[1] AS timezone
  FROM sightings g JOIN detections x ON x.sighting_id = g.id
  JOIN images i ON i.id = x.image_id JOIN stations s ON s.id = i.station_id
  WHERE g.deer_id = d.id) t ON true
ORDER BY {order_again}

-- name: seen_lately
-- Part of the above: when individuals were last met, those of the last so many encounters. Whoever else there is was
-- met last before them.
(SELECT m.*, l.last_seen
 FROM matching m
 JOIN (SELECT g.deer_id, max(e.started_at) AS last_seen
       FROM (SELECT id, started_at FROM encounters WHERE started_at IS NOT NULL
             ORDER BY started_at DESC FETCH FIRST (%(lately)s) ROWS WITH TIES) e
       JOIN sightings g ON g.encounter_id = e.id
       GROUP BY g.deer_id) l ON l.deer_id = m.id)

-- name: seen_ever
-- Part of the above: when individuals were last met.
(SELECT m.*, l.last_seen
 FROM matching m
 LEFT JOIN (SELECT g.deer_id, max(e.started_at) AS last_seen
            FROM sightings g JOIN encounters e ON e.id = g.encounter_id
            WHERE g.deer_id IN (SELECT id FROM matching) GROUP BY g.deer_id) l ON l.deer_id = m.id)

-- name: best_photos
-- The best photo of each flank (specification, phase 2: highest confidence, then largest box), and of all.
SELECT DISTINCT ON (x.flank) x.flank, x.id AS detection_id
FROM sightings g JOIN detections x ON x.sighting_id = g.id
WHERE g.deer_id = %(id)s
ORDER BY x.flank, x.confidence DESC, x.bbox_width * x.bbox_height DESC, x.id

-- name: companions
-- Who was in the same encounters.
SELECT r.number, r.name, r.profile_detection_id, count(DISTINCT g.encounter_id) AS encounters
FROM sightings g
JOIN sightings o ON o.encounter_id = g.encounter_id AND o.deer_id <> g.deer_id
JOIN deer r ON r.id = o.deer_id
WHERE g.deer_id = %(id)s GROUP BY r.id ORDER BY 4 DESC, r.number LIMIT %(limit)s

-- name: activity
-- Encounters by the hour of the day and by month, as the clock of the station showed them.
SELECT extract(hour FROM e.started_at AT TIME ZONE s.timezone)::int AS hour,
       extract(month FROM e.started_at AT TIME ZONE s.timezone)::int AS month, count(DISTINCT e.id) AS encounters
FROM sightings g JOIN encounters e ON e.id = g.encounter_id JOIN stations s ON s.id = e.station_id
WHERE g.deer_id = %(id)s AND e.started_at IS NOT NULL GROUP BY 1, 2

-- name: places
-- Every station with a place, and those where the individual was, with its sightings there.
SELECT s.id, s.name, s.latitude, s.longitude, s.timezone, count(g.id) AS sightings,
       min(e.started_at) AS first_seen, max(e.started_at) AS last_seen
FROM stations s
LEFT JOIN (encounters e JOIN sightings g ON g.encounter_id = e.id AND g.deer_id = %(id)s) ON e.station_id = s.id
GROUP BY s.id HAVING count(g.id) > 0 OR s.latitude IS NOT NULL ORDER BY s.name

-- name: met
-- An individual's sightings, newest first, with their photos.
WITH chosen AS MATERIALIZED (
  SELECT g.id, g.sex, e.started_at, s.name AS station, s.timezone, count(*) OVER () AS total
  FROM sightings g JOIN encounters e ON e.id = g.encounter_id JOIN stations s ON s.id = e.station_id
  WHERE g.deer_id = %(id)s
  ORDER BY e.started_at DESC NULLS LAST, g.id DESC LIMIT %(limit)s OFFSET %(offset)s)
SELECT c.total, c.id AS sighting_id, c.sex, c.started_at, c.station, c.timezone,
       coalesce(l.actor <> 'machine', false) AS by_person, l.actor,
       CASE WHEN l.actor = 'machine' AND l.outcome = 'assign' THEN l.probability END AS probability,
       x.id AS detection_id, x.image_id, x.flank, i.taken_at
FROM chosen c
JOIN detections x ON x.sighting_id = c.id
JOIN images i ON i.id = x.image_id
LEFT JOIN LATERAL (SELECT actor, outcome, probability FROM decisions d
                   WHERE d.sighting_id = c.id ORDER BY d.id DESC LIMIT 1) l ON true
ORDER BY c.started_at DESC NULLS LAST, c.id DESC, i.taken_at, x.id

-- name: instants
-- Every encounter of an individual, for its time line.
SELECT s.name AS station, s.timezone, e.started_at
FROM sightings g JOIN encounters e ON e.id = g.encounter_id JOIN stations s ON s.id = e.station_id
WHERE g.deer_id = %(id)s AND e.started_at IS NOT NULL ORDER BY e.started_at LIMIT %(limit)s
