-- Profile vectors from before 011 and 012 do not say which model made them: the default 'v1_resnet50' is a guess.
-- Where a model's vectors of the individual's sightings have that very mean, or one of its detections that very
-- vector (the profile once was one photo's), that model is the one.
UPDATE deer SET single_model_id = known.model_id, embedding_version = known.name
FROM (
    SELECT DISTINCT ON (r.id) r.id, v.single_model_id AS model_id, v.name
    FROM deer r
    JOIN embedding_versions v ON v.stage = 1
    CROSS JOIN LATERAL (
        SELECT l2_normalize(avg(seen.pooled)) AS embedding, bool_or(seen.is_profile) AS is_profile
        FROM (SELECT l2_normalize(avg(e.embedding)) AS pooled, bool_or(e.embedding = r.feature_vector) AS is_profile
              FROM sightings g
              JOIN detections d ON d.sighting_id = g.id
              JOIN detection_embeddings e ON e.detection_id = d.id AND e.model_id = v.single_model_id
              WHERE g.deer_id = r.id GROUP BY g.id) seen) made
    WHERE r.single_model_id IS NULL AND (made.is_profile OR r.feature_vector <-> made.embedding < 0.001)
    ORDER BY r.id, v.created_at, v.name) known
WHERE deer.id = known.id;
