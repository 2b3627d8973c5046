-- name: source_of_detection
-- The hash goes along: a file may hold another photo by now (cameras number theirs anew on every card).
SELECT i.sha256, d.bbox_x AS x, d.bbox_y AS y, d.bbox_width AS width, d.bbox_height AS height,
       ARRAY(SELECT f.path FROM files f WHERE f.image_id = i.id ORDER BY f.path) AS paths
FROM detections d JOIN images i ON i.id = d.image_id WHERE d.id = %(id)s

-- name: source_of_image
SELECT i.sha256, ARRAY(SELECT f.path FROM files f WHERE f.image_id = i.id ORDER BY f.path) AS paths
FROM images i WHERE i.id = %(id)s
