-- Profile vectors from before 011 and 012 do not say which model made them: the default 'v1_resnet50' is a guess.
-- Where a detection of the individual holds the same vector, bit for bit, that vector's model is the one.
UPDATE deer SET single_model_id = known.model_id, embedding_version = known.name
FROM (
    SELECT DISTINCT ON (r.id) r.id, e.model_id, v.name
    FROM deer r
    JOIN sightings g ON g.deer_id = r.id
    JOIN detections d ON d.sighting_id = g.id
    JOIN detection_embeddings e ON e.detection_id = d.id AND e.embedding = r.feature_vector
    JOIN embedding_versions v ON v.stage = 1 AND v.single_model_id = e.model_id
    WHERE r.single_model_id IS NULL
    ORDER BY r.id, v.created_at, v.name) known
WHERE deer.id = known.id;
