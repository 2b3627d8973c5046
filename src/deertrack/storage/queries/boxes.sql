-- name: photo
-- A photo for a person: where and when, its files, and its neighbours in time at the station.
SELECT i.id, i.width, i.height, i.taken_at, i.camera, i.detector, i.error, s.id AS station_id, s.name AS station,
       s.timezone, (SELECT array_agg(f.path ORDER BY f.path) FROM files f WHERE f.image_id = i.id) AS paths,
       (SELECT o.id FROM images o WHERE o.station_id = i.station_id AND (o.taken_at, o.id) < (i.taken_at, i.id)
        ORDER BY o.taken_at DESC, o.id DESC LIMIT 1) AS before,
       (SELECT o.id FROM images o WHERE o.station_id = i.station_id AND (o.taken_at, o.id) > (i.taken_at, i.id)
        ORDER BY o.taken_at, o.id LIMIT 1) AS after
FROM images i JOIN stations s ON s.id = i.station_id WHERE i.id = %(id)s

-- name: boxes
SELECT d.id, d.image_id, d.bbox_x AS x, d.bbox_y AS y, d.bbox_width AS width, d.bbox_height AS height,
       d.confidence, d.label, d.sex, d.age_class, d.flank, d.rejected, d.drawn_by,
       d.sighting_id, g.encounter_id, g.state, g.deer_id, r.number, r.name
FROM detections d LEFT JOIN sightings g ON g.id = d.sighting_id LEFT JOIN deer r ON r.id = g.deer_id
WHERE (%(image_id)s::bigint IS NULL OR d.image_id = %(image_id)s) AND (%(id)s::bigint IS NULL OR d.id = %(id)s)
ORDER BY d.rejected, d.bbox_x, d.id

-- name: add
-- What is there already, rejected or not, is no new box.
INSERT INTO detections (image_id, confidence, bbox_x, bbox_y, bbox_width, bbox_height, label, sex, age_class, flank,
                        drawn_by, sighting_id)
VALUES (%(image_id)s, 1, %(x)s, %(y)s, %(width)s, %(height)s, %(label)s, %(sex)s, %(age_class)s, %(flank)s,
        %(drawn_by)s, %(sighting_id)s)
ON CONFLICT (image_id, bbox_x, bbox_y, bbox_width, bbox_height) DO NOTHING
RETURNING id

-- name: reject
UPDATE detections SET rejected = true, sighting_id = NULL WHERE id = %(id)s

-- name: restore
UPDATE detections SET rejected = false WHERE id = %(id)s

-- name: describe
UPDATE detections SET sex = %(sex)s, flank = %(flank)s WHERE id = %(id)s

-- name: sexes
SELECT sex FROM detections WHERE sighting_id = %(sighting_id)s
