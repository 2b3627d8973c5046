-- name: registered_versions
-- Every embedding version with the number and fingerprint of each model, lowest stage first.
SELECT v.name, v.stage, v.pack,
       s.id AS feature_vector_model, s.fingerprint AS feature_vector,
       m.id AS feature_vector_multiscale_model, m.fingerprint AS feature_vector_multiscale,
       p.id AS feature_vector_efficientnet_model, p.fingerprint AS feature_vector_efficientnet
FROM embedding_versions v
LEFT JOIN models s ON s.id = v.single_model_id
LEFT JOIN models m ON m.id = v.multiscale_model_id
LEFT JOIN models p ON p.id = v.partner_model_id
ORDER BY v.stage, v.created_at, v.name

-- name: named_sightings
-- Each individual with its sightings. Those that a version put there by itself, without a person, are no witness
-- for that version: it would be asked whether it agrees with itself.
SELECT r.id AS deer_id, r.name, r.sex,
       array_agg(g.id) FILTER (WHERE l.actor IS DISTINCT FROM 'machine' OR l.version <> %(version)s) AS sightings,
       count(*) FILTER (WHERE l.actor = 'machine' AND l.version = %(version)s) AS own,
       count(*) FILTER (WHERE l.actor IS DISTINCT FROM 'machine') AS by_person
FROM sightings g
JOIN deer r ON r.id = g.deer_id
LEFT JOIN LATERAL (SELECT actor, version FROM decisions c
                   WHERE c.sighting_id = g.id ORDER BY c.id DESC LIMIT 1) l ON true
GROUP BY r.id ORDER BY r.id

-- name: sightings_to_compare
-- Sightings in time with their detections, best quality first (highest confidence, then largest box), those
-- apart that lack a vector of one of the models.
SELECT g.id AS sighting_id, g.encounter_id, g.sex,
       coalesce(array_agg(d.id ORDER BY d.confidence DESC, d.bbox_width * d.bbox_height DESC, d.id)
                FILTER (WHERE c.vectors = cardinality(%(models)s)), '{}') AS covered,
       coalesce(array_agg(d.id) FILTER (WHERE c.vectors < cardinality(%(models)s)), '{}') AS uncovered
FROM sightings g
JOIN encounters e ON e.id = g.encounter_id
JOIN detections d ON d.sighting_id = g.id
CROSS JOIN LATERAL (SELECT count(*) AS vectors FROM detection_embeddings v
                    WHERE v.detection_id = d.id AND v.model_id = ANY(%(models)s)) c
WHERE g.id = ANY(%(sighting_ids)s)
GROUP BY g.id, e.id ORDER BY e.started_at NULLS LAST, g.id

-- name: photos_of_detections
SELECT d.id AS detection_id, d.bbox_x AS x, d.bbox_y AS y, d.bbox_width AS width, d.bbox_height AS height,
       s.name AS station, s.timezone, i.taken_at,
       (SELECT array_agg(f.path ORDER BY f.path) FROM files f WHERE f.image_id = i.id) AS paths
FROM detections d JOIN images i ON i.id = d.image_id JOIN stations s ON s.id = i.station_id
WHERE d.id = ANY(%(detection_ids)s)

-- name: add_validation
INSERT INTO validations (new_version, old_version, fingerprints, weights, outcome, report)
VALUES (%(new)s, %(old)s, %(fingerprints)s, %(weights)s, %(outcome)s, %(report)s)
RETURNING id

-- name: latest_validation
-- NULL for the old version means against any.
SELECT id, new_version, old_version, fingerprints, weights, outcome, report, created_at FROM validations
WHERE new_version = %(new)s AND (%(old)s::text IS NULL OR old_version = %(old)s)
ORDER BY id DESC LIMIT 1

-- name: find_validation
SELECT id, new_version, old_version, fingerprints, weights, outcome, report, created_at FROM validations
WHERE id = %(id)s

-- name: list_validations
SELECT id, new_version, old_version, weights, outcome, coalesce(report -> 'verdict' ->> 'sentence', '') AS sentence,
       created_at
FROM validations ORDER BY id DESC
