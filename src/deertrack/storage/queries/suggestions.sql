-- name: profiles
-- Active individuals that a version can compare, by number, with their profile vectors; some at a time.
SELECT id, number, name, sex, profile_detection_id, sighting_count, {vectors}
FROM deer WHERE status = 'active' AND sighting_count > 0 AND NOT ({lacks}) AND number > %(after)s
ORDER BY number LIMIT %(limit)s

-- name: seen_together
-- Pairs of individuals that share a photo: two animals.
SELECT DISTINCT a.deer_id AS first, b.deer_id AS second
FROM detections x
JOIN detections y ON y.image_id = x.image_id AND y.id <> x.id
JOIN sightings a ON a.id = x.sighting_id
JOIN sightings b ON b.id = y.sighting_id AND b.deer_id > a.deer_id
WHERE a.deer_id = ANY(%(deer_ids)s) AND b.deer_id = ANY(%(deer_ids)s)

-- name: said_to_differ
-- Pairs of individuals of which a person said that a sighting of the one is not the other.
SELECT DISTINCT least(g.deer_id, j.deer_id) AS first, greatest(g.deer_id, j.deer_id) AS second
FROM rejections j JOIN sightings g ON g.id = j.sighting_id
WHERE g.deer_id <> j.deer_id AND g.deer_id = ANY(%(deer_ids)s) AND j.deer_id = ANY(%(deer_ids)s)

-- name: doubtful
-- Individuals with several sightings of which the machine made some: those with most of these first.
SELECT r.id, r.number, r.name, r.profile_detection_id, array_agg(g.id ORDER BY g.id) AS sightings
FROM deer r
JOIN sightings g ON g.deer_id = r.id
JOIN LATERAL (SELECT actor FROM decisions c WHERE c.sighting_id = g.id ORDER BY c.id DESC LIMIT 1) l ON true
WHERE r.status = 'active' AND r.sighting_count BETWEEN %(least)s AND %(most)s
GROUP BY r.id HAVING bool_or(l.actor = 'machine')
ORDER BY count(*) FILTER (WHERE l.actor = 'machine') DESC, r.number LIMIT %(limit)s
