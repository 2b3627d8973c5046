-- name: waiting
-- Sightings that wait for a person, oldest first, one row a photo; "total" counts those beyond the limit too.
-- Who lost all sightings since, or was rejected by a person, is no candidate any more.
WITH open AS MATERIALIZED (
  SELECT g.id, g.encounter_id, g.sex, e.started_at, e.station_id, count(*) OVER () AS total
  FROM sightings g JOIN encounters e ON e.id = g.encounter_id
  WHERE g.state = 'review'
  ORDER BY e.started_at NULLS LAST, g.id LIMIT %(limit)s)
SELECT o.total, o.id AS sighting_id, o.encounter_id, s.name AS station, s.timezone, o.started_at, o.sex,
       l.new_probability, l.candidates,
       x.id AS detection_id, x.confidence, x.bbox_x AS x, x.bbox_y AS y, x.bbox_width AS width,
       x.bbox_height AS height, i.id AS image_id, i.taken_at,
       (SELECT array_agg(f.path ORDER BY f.path) FROM files f WHERE f.image_id = i.id) AS paths
FROM open o
JOIN stations s ON s.id = o.station_id
JOIN detections x ON x.sighting_id = o.id
JOIN images i ON i.id = x.image_id
LEFT JOIN LATERAL (
  SELECT c.new_probability,
         (SELECT jsonb_agg(jsonb_build_object(
                   'deer_id', r.id, 'number', r.number, 'name', r.name,
                   'similarity', k.value -> 'similarity', 'probability', k.value -> 'probability')
                 ORDER BY k.ordinality)
          FROM jsonb_array_elements(c.candidates) WITH ORDINALITY k
          JOIN deer r ON r.id = (k.value ->> 'deer_id')::bigint AND r.sighting_count > 0
          WHERE NOT EXISTS (SELECT FROM rejections j WHERE j.sighting_id = o.id AND j.deer_id = r.id)) AS candidates
  FROM decisions c WHERE c.sighting_id = o.id AND c.actor = 'machine' ORDER BY c.id DESC LIMIT 1) l ON true
ORDER BY o.started_at NULLS LAST, o.id, i.taken_at, i.id, x.id

-- name: standings
-- Who these sightings are, who said so last, and their best detections (spec, phase 2), in time.
SELECT g.id AS sighting_id, g.state, g.deer_id, r.number, r.name, g.sex, l.id AS decision, l.outcome, l.actor,
       coalesce(l.actor <> 'machine', false) AS by_person,
       (SELECT d.id FROM detections d WHERE d.sighting_id = g.id
        ORDER BY d.confidence DESC, d.bbox_width * d.bbox_height DESC, d.id LIMIT 1) AS best_detection
FROM sightings g
JOIN encounters e ON e.id = g.encounter_id
LEFT JOIN deer r ON r.id = g.deer_id
LEFT JOIN LATERAL (SELECT id, actor, outcome FROM decisions c
                   WHERE c.sighting_id = g.id ORDER BY c.id DESC LIMIT 1) l ON true
WHERE g.id = ANY(%(sighting_ids)s)
ORDER BY e.started_at NULLS LAST, g.id

-- name: rivals
-- The other sightings in the photos of these: two animals in one photo are never one.
SELECT DISTINCT ON (d.sighting_id, o.sighting_id) d.sighting_id, o.sighting_id AS other, g.deer_id,
       (SELECT min(f.path) FROM files f WHERE f.image_id = d.image_id) AS path
FROM detections d
JOIN detections o ON o.image_id = d.image_id AND o.sighting_id <> d.sighting_id
JOIN sightings g ON g.id = o.sighting_id
WHERE d.sighting_id = ANY(%(sighting_ids)s)
ORDER BY d.sighting_id, o.sighting_id, d.image_id

-- name: called
-- Who bears these names, in any case; "name_key" is the same for names that differ in case alone.
SELECT n.name, lower(n.name) AS name_key, r.id AS deer_id, r.status
FROM unnest(%(names)s::text[]) AS n (name) LEFT JOIN deer r ON lower(r.name) = lower(n.name)
ORDER BY n.name

-- name: founded
-- Individuals that were made for one of these sightings and still have it, in the order in which they were made.
SELECT DISTINCT ON (r.number) r.id AS deer_id, r.number, r.name, c.sighting_id
FROM decisions c
JOIN sightings g ON g.id = c.sighting_id AND g.deer_id = c.deer_id
JOIN deer r ON r.id = c.deer_id AND r.status = 'active'
WHERE c.outcome = 'new' AND c.sighting_id = ANY(%(sighting_ids)s)
ORDER BY r.number, c.id

-- name: log_answers
-- A person's answer carries what the machine thought, so that the log tells both. An answer that confirms a new
-- individual is one more "new".
INSERT INTO decisions (sighting_id, outcome, deer_id, probability, new_probability, version, fingerprints, policy,
                       candidates, actor)
SELECT a.sighting_id,
       CASE WHEN a.founds OR (l.outcome = 'new' AND l.deer_id = a.deer_id) THEN 'new' ELSE 'assign' END,
       a.deer_id, l.probability, l.new_probability, coalesce(l.version, %(version)s),
       coalesce(l.fingerprints, %(fingerprints)s), coalesce(l.policy, '{}'), coalesce(l.candidates, '[]'), %(actor)s
FROM unnest(%(sighting_ids)s::bigint[], %(deer_ids)s::bigint[], %(founds)s::boolean[])
     WITH ORDINALITY AS a (sighting_id, deer_id, founds, place)
LEFT JOIN LATERAL (SELECT outcome, deer_id, probability, new_probability, version, fingerprints, policy, candidates
                   FROM decisions c WHERE c.sighting_id = a.sighting_id AND c.actor = 'machine'
                   ORDER BY c.id DESC LIMIT 1) l ON true
ORDER BY a.place

-- name: trace_answers
-- Before the sightings change hands, so that the trail tells what was.
INSERT INTO events (actor, kind, subject, detail)
SELECT %(actor)s, 'assign', 'sighting:' || g.id,
       jsonb_build_object('was', g.state, 'from', g.deer_id, 'from_name', b.name, 'to', r.id, 'to_name', r.name)
FROM unnest(%(sighting_ids)s::bigint[], %(deer_ids)s::bigint[]) WITH ORDINALITY AS a (sighting_id, deer_id, place)
JOIN sightings g ON g.id = a.sighting_id
JOIN deer r ON r.id = a.deer_id
LEFT JOIN deer b ON b.id = g.deer_id
ORDER BY a.place

-- name: hand_over
UPDATE sightings g SET state = 'assigned', deer_id = a.deer_id
FROM unnest(%(sighting_ids)s::bigint[], %(deer_ids)s::bigint[]) AS a (sighting_id, deer_id)
WHERE g.id = a.sighting_id AND g.deer_id IS DISTINCT FROM a.deer_id

-- name: forget_rejections
-- Who says now that it is that individual takes the rejection back.
DELETE FROM rejections j USING unnest(%(sighting_ids)s::bigint[], %(deer_ids)s::bigint[]) AS a (sighting_id, deer_id)
WHERE j.sighting_id = a.sighting_id AND j.deer_id = a.deer_id

-- name: reject
INSERT INTO rejections (sighting_id, deer_id, actor) VALUES (%(sighting_id)s, %(deer_id)s, %(actor)s)
ON CONFLICT DO NOTHING

-- name: log_rejection
-- A rejection of who it was said to be leaves the sighting to be reviewed, with what the machine thought.
INSERT INTO decisions (sighting_id, outcome, probability, new_probability, version, fingerprints, policy,
                       candidates, actor)
SELECT sighting_id, 'review', probability, new_probability, version, fingerprints, policy, candidates, %(actor)s
FROM decisions WHERE sighting_id = %(sighting_id)s ORDER BY id DESC LIMIT 1

-- name: log_unidentifiable
-- A person says that nobody can tell who it is.
INSERT INTO decisions (sighting_id, outcome, probability, new_probability, version, fingerprints, policy,
                       candidates, actor)
SELECT s.id, 'unidentifiable', l.probability, l.new_probability, coalesce(l.version, %(version)s),
       coalesce(l.fingerprints, %(fingerprints)s), coalesce(l.policy, '{}'), coalesce(l.candidates, '[]'), %(actor)s
FROM (VALUES (%(sighting_id)s::bigint)) s (id)
LEFT JOIN LATERAL (SELECT * FROM decisions c WHERE c.sighting_id = s.id AND c.actor = 'machine'
                   ORDER BY c.id DESC LIMIT 1) l ON true

-- name: set_unidentifiable
UPDATE sightings SET state = 'unidentifiable', deer_id = NULL WHERE id = %(sighting_id)s

-- name: set_sex
UPDATE sightings SET sex = %(sex)s, sex_said = true WHERE id = %(sighting_id)s

-- name: make_undecided
UPDATE sightings SET state = 'undecided', deer_id = NULL WHERE id = %(sighting_id)s

-- name: take_back
UPDATE sightings SET state = 'review', deer_id = NULL WHERE id = %(sighting_id)s

-- name: name_new
UPDATE deer SET name = %(name)s WHERE id = %(deer_id)s

-- name: profile_column
-- Part of the next: one column of the profile and its model, from the source of that output. The same vector stays
-- as it is stored: a row whose indexed columns stay costs the vector indexes nothing, and each insertion milliseconds.
{vector} = CASE WHEN deer.{vector} = {source}.embedding THEN deer.{vector} ELSE {source}.embedding END,
  {model} = {source}.model_id

-- name: refresh_individuals
-- All that follows from which sightings an individual has. Each profile vector: the direction of the mean of its
-- sightings' vectors of the model that the column holds (as in profiles.sql); none, if there is none. Nobody without a sighting stays active; a sex stays while one of the
-- sightings shows it, or for good if a person said it.
WITH own AS MATERIALIZED (
  SELECT g.deer_id, g.id AS sighting_id, d.id AS detection_id,
         row_number() OVER (PARTITION BY g.deer_id
                            ORDER BY d.confidence DESC, d.bbox_width * d.bbox_height DESC, d.id) AS place
  FROM sightings g JOIN detections d ON d.sighting_id = g.id WHERE g.deer_id = ANY(%(deer_ids)s)),
pooled AS (
  SELECT o.deer_id, e.model_id, l2_normalize(avg(e.embedding)) AS embedding
  FROM own o
  JOIN deer r ON r.id = o.deer_id
  JOIN detection_embeddings e ON e.detection_id = o.detection_id
   AND e.model_id IN (r.single_model_id, r.multiscale_model_id, r.partner_model_id)
  GROUP BY o.deer_id, o.sighting_id, e.model_id),
source AS MATERIALIZED (
  SELECT p.deer_id, p.model_id, l2_normalize(avg(p.embedding)) AS embedding
  FROM pooled p GROUP BY p.deer_id, p.model_id)
UPDATE deer SET
  sighting_count = n.sightings,
  status = CASE WHEN n.sightings = 0 THEN CASE r.status WHEN 'merged' THEN 'merged' ELSE 'retired' END
                WHEN r.sighting_count = 0 THEN 'active' ELSE r.status END,
  merged_into = CASE WHEN n.sightings = 0 THEN r.merged_into END,
  sex = CASE WHEN n.sightings = 0 OR r.sex_said THEN r.sex ELSE n.sex END,
  profile_detection_id = b.detection_id,
  {profile},
  -- The version that it says, as long as the vectors are those; else the highest that they serve.
  embedding_version = coalesce(
    (SELECT v.name FROM embedding_versions v
     WHERE (v.stage > 1 OR v.single_model_id = single.model_id)
       AND (v.stage < 2 OR v.multiscale_model_id = multiscale.model_id)
       AND (v.stage < 3 OR v.partner_model_id = partner.model_id)
     ORDER BY v.name = r.embedding_version DESC, v.stage DESC, v.created_at DESC, v.name LIMIT 1),
    r.embedding_version)
FROM deer r
CROSS JOIN LATERAL (
  SELECT count(*) AS sightings,
         coalesce((SELECT g.sex FROM sightings g WHERE g.deer_id = r.id AND g.sex <> 'unknown'
                   GROUP BY g.sex ORDER BY g.sex = r.sex DESC, count(*) DESC, g.sex LIMIT 1), 'unknown') AS sex
  FROM sightings g WHERE g.deer_id = r.id) n
LEFT JOIN own b ON b.deer_id = r.id AND b.place = 1
LEFT JOIN source single ON single.deer_id = r.id AND single.model_id = r.single_model_id
LEFT JOIN source multiscale ON multiscale.deer_id = r.id AND multiscale.model_id = r.multiscale_model_id
LEFT JOIN source partner ON partner.deer_id = r.id AND partner.model_id = r.partner_model_id
WHERE r.id = ANY(%(deer_ids)s) AND deer.id = r.id
RETURNING deer.id AS deer_id, deer.name, r.status AS before, deer.status AS after

-- name: sightings_of
SELECT id FROM sightings WHERE deer_id = %(deer_id)s ORDER BY id

-- name: encounters_of
SELECT DISTINCT encounter_id FROM sightings WHERE id = ANY(%(sighting_ids)s) ORDER BY 1

-- name: mark_merged
-- Before its sightings are handed over: what follows then leaves it as it is.
UPDATE deer SET status = 'merged', merged_into = %(into)s WHERE id = %(deer_id)s

-- name: rejected_by
SELECT sighting_id FROM rejections WHERE deer_id = %(deer_id)s ORDER BY 1

-- name: share_rejections
INSERT INTO rejections (sighting_id, deer_id, actor)
SELECT unnest(%(sighting_ids)s::bigint[]), %(deer_id)s, %(actor)s ON CONFLICT DO NOTHING

-- name: drop_rejections
DELETE FROM rejections WHERE deer_id = %(deer_id)s AND sighting_id = ANY(%(sighting_ids)s)
