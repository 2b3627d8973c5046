-- name: ensure_station
-- Zone of an existing station stays as it is: only `stations set` changes it.
INSERT INTO stations (name, timezone) VALUES (%(name)s, %(timezone)s)
ON CONFLICT (name) DO NOTHING

-- name: station_ids
SELECT id, name FROM stations WHERE name = ANY(%(names)s)

-- name: list_stations
-- All stations are counted in one pass over the photos and one over the sightings.
SELECT s.id, s.name, s.latitude, s.longitude, s.timezone, s.clock_shift, coalesce(p.photos, 0) AS photos,
       coalesce(t.sightings, 0) AS sightings, p.first_photo, p.last_photo
FROM stations s
LEFT JOIN (SELECT station_id, count(*) AS photos, min(taken_at) AS first_photo, max(taken_at) AS last_photo
           FROM images WHERE %(id)s::integer IS NULL OR station_id = %(id)s GROUP BY 1) p ON p.station_id = s.id
LEFT JOIN (SELECT e.station_id, count(*) AS sightings FROM encounters e JOIN sightings g ON g.encounter_id = e.id
           WHERE (%(id)s::integer IS NULL OR e.station_id = %(id)s) AND g.state <> 'no animal' GROUP BY 1) t
  ON t.station_id = s.id
WHERE %(id)s::integer IS NULL OR s.id = %(id)s
ORDER BY s.name

-- name: station_by_name
SELECT id, name, latitude, longitude, timezone, clock_shift FROM stations WHERE name = %(name)s FOR UPDATE

-- name: known_zones
-- The database turns clocks into instants, so it is the one that must know the zone.
SELECT 1 FROM pg_timezone_names WHERE name = %(name)s

-- name: update_station
UPDATE stations SET latitude = %(latitude)s, longitude = %(longitude)s, timezone = %(timezone)s,
                    clock_shift = %(clock_shift)s
WHERE id = %(id)s

-- name: retime_images
-- After a zone or clock shift changed: every instant of the station anew from the cameras' own clocks.
UPDATE images i SET taken_at = photo_time(i.clock, i.offset_minutes, s.clock_shift, s.timezone)
FROM stations s WHERE s.id = i.station_id AND s.id = %(id)s AND i.clock IS NOT NULL

-- name: retime_encounters
UPDATE encounters e SET started_at = t.first, ended_at = t.last
FROM (SELECT g.encounter_id, min(i.taken_at) AS first, max(i.taken_at) AS last
      FROM sightings g JOIN detections d ON d.sighting_id = g.id JOIN images i ON i.id = d.image_id
      WHERE i.station_id = %(id)s GROUP BY g.encounter_id) t
WHERE t.encounter_id = e.id AND e.started_at IS NOT NULL

-- name: known_files
SELECT path, size, mtime_ns, image_id, error FROM files WHERE path = ANY(%(paths)s)

-- name: add_image
INSERT INTO images (sha256, station_id, width, height, camera, clock, offset_minutes, taken_at)
SELECT %(sha256)s, s.id, %(width)s, %(height)s, %(camera)s, %(clock)s, %(offset_minutes)s,
       photo_time(%(clock)s::timestamp, %(offset_minutes)s::integer, s.clock_shift, s.timezone)
FROM stations s WHERE s.id = %(station_id)s
ON CONFLICT (sha256) DO NOTHING

-- name: record_good_file
INSERT INTO files (path, size, mtime_ns, image_id)
SELECT %(path)s, %(size)s, %(mtime_ns)s, id FROM images WHERE sha256 = %(sha256)s
ON CONFLICT (path) DO UPDATE
SET size = EXCLUDED.size, mtime_ns = EXCLUDED.mtime_ns, image_id = EXCLUDED.image_id, error = NULL

-- name: record_bad_file
INSERT INTO files (path, size, mtime_ns, error) VALUES (%(path)s, %(size)s, %(mtime_ns)s, %(error)s)
ON CONFLICT (path) DO UPDATE
SET size = EXCLUDED.size, mtime_ns = EXCLUDED.mtime_ns, image_id = NULL, error = EXCLUDED.error

-- name: images_of_files
-- What the catalogue knows of these files' photos. first_path tells a duplicate from its original.
SELECT f.path, f.image_id, i.detector, i.error, i.taken_at,
       (SELECT min(o.path) FROM files o WHERE o.image_id = f.image_id) AS first_path
FROM files f JOIN images i ON i.id = f.image_id WHERE f.path = ANY(%(paths)s)

-- name: claim_for_detector
-- The first answer of a detector stays; a second run of the same file adds nothing.
UPDATE images SET detector = %(detector)s WHERE id = %(image_id)s AND detector IS NULL RETURNING id

-- name: add_detection
INSERT INTO detections (image_id, confidence, bbox_x, bbox_y, bbox_width, bbox_height,
                        label, label_confidence, sex, age_class)
VALUES (%(image_id)s, %(confidence)s, %(x)s, %(y)s, %(width)s, %(height)s,
        %(label)s, %(label_confidence)s, %(sex)s, %(age_class)s)
ON CONFLICT (image_id, bbox_x, bbox_y, bbox_width, bbox_height) DO NOTHING

-- name: mark_unreadable
UPDATE images SET error = %(error)s WHERE id = %(image_id)s
