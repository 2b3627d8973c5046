-- name: add_model
INSERT INTO models (fingerprint, output, pack) VALUES (%(fingerprint)s, %(output)s, %(pack)s)
ON CONFLICT (fingerprint) DO NOTHING

-- name: models_by_fingerprint
SELECT id, fingerprint, output FROM models WHERE fingerprint = ANY(%(fingerprints)s)

-- name: add_version
INSERT INTO embedding_versions (name, stage, pack, single_model_id, multiscale_model_id, partner_model_id)
VALUES (%(name)s, %(stage)s, %(pack)s, %(feature_vector)s, %(feature_vector_multiscale)s,
        %(feature_vector_efficientnet)s)
ON CONFLICT (name) DO NOTHING

-- name: version_models
SELECT v.stage, v.pack, s.fingerprint AS feature_vector, m.fingerprint AS feature_vector_multiscale,
       p.fingerprint AS feature_vector_efficientnet, s.id AS feature_vector_id,
       m.id AS feature_vector_multiscale_id, p.id AS feature_vector_efficientnet_id
FROM embedding_versions v
LEFT JOIN models s ON s.id = v.single_model_id
LEFT JOIN models m ON m.id = v.multiscale_model_id
LEFT JOIN models p ON p.id = v.partner_model_id
WHERE v.name = %(name)s

-- name: version_names
SELECT name FROM embedding_versions ORDER BY stage, name

-- name: count_pending
SELECT count(*) AS photos, coalesce(sum(n), 0)::bigint AS detections FROM (
  SELECT count(*) AS n FROM detections d JOIN images i ON i.id = d.image_id
  WHERE i.error IS NULL AND NOT d.rejected AND i.id > %(after)s
    AND (SELECT count(*) FROM detection_embeddings e
         WHERE e.detection_id = d.id AND e.model_id = ANY(%(models)s)) < cardinality(%(models)s)
  GROUP BY i.id) p

-- name: pending_photos
-- Photos after a given one that have detections without all vectors: with their boxes, and every file that
-- holds the photo (a card may have been moved since).
SELECT i.id AS image_id, array_agg(d.id ORDER BY d.id) AS detection_ids,
       array_agg(ARRAY[d.bbox_x, d.bbox_y, d.bbox_width, d.bbox_height] ORDER BY d.id) AS boxes,
       (SELECT array_agg(f.path ORDER BY f.path) FROM files f WHERE f.image_id = i.id) AS paths
FROM detections d JOIN images i ON i.id = d.image_id
WHERE i.error IS NULL AND NOT d.rejected AND i.id > %(after)s
  AND (%(among)s::bigint[] IS NULL OR i.id = ANY(%(among)s))
  AND (SELECT count(*) FROM detection_embeddings e
       WHERE e.detection_id = d.id AND e.model_id = ANY(%(models)s)) < cardinality(%(models)s)
GROUP BY i.id ORDER BY i.id LIMIT %(limit)s

-- name: pending_images
SELECT DISTINCT i.id AS image_id FROM detections d JOIN images i ON i.id = d.image_id
WHERE i.error IS NULL AND NOT d.rejected
  AND (SELECT count(*) FROM detection_embeddings e
       WHERE e.detection_id = d.id AND e.model_id = ANY(%(models)s)) < cardinality(%(models)s)
ORDER BY 1

-- name: individuals_pending
-- Who is known by boxes that are not embedded yet: drawn anew by a person, they stayed in their sightings.
SELECT DISTINCT g.deer_id FROM detections d
JOIN sightings g ON g.id = d.sighting_id AND g.deer_id IS NOT NULL
JOIN images i ON i.id = d.image_id AND i.error IS NULL
WHERE d.drawn_by IS NOT NULL
  AND (SELECT count(*) FROM detection_embeddings e
       WHERE e.detection_id = d.id AND e.model_id = ANY(%(models)s)) < cardinality(%(models)s)

-- name: stage_copy
-- COPY cannot skip what is there already, so it fills a table of its own first.
CREATE TEMPORARY TABLE IF NOT EXISTS incoming_embeddings (detection_id BIGINT, model_id SMALLINT, embedding VECTOR(512))
ON COMMIT DELETE ROWS

-- name: copy_in
COPY incoming_embeddings (detection_id, model_id, embedding) FROM STDIN (FORMAT BINARY)

-- name: merge_copy
INSERT INTO detection_embeddings SELECT * FROM incoming_embeddings ON CONFLICT DO NOTHING

-- name: vectors_of_detections
SELECT detection_id, model_id, embedding FROM detection_embeddings
WHERE detection_id = ANY(%(detection_ids)s) AND model_id = ANY(%(models)s)
