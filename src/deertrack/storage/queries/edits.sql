-- name: sightings
-- All of a sighting that a person can change, who said last what it is, and the number of that decision.
SELECT g.id, g.state, g.deer_id AS deer, g.sex, g.sex_said, l.id AS decision,
       CASE WHEN l.id IS NOT NULL THEN jsonb_build_array(l.actor, l.outcome, l.deer_id) END AS said,
       (SELECT coalesce(jsonb_agg(j.deer_id ORDER BY j.deer_id), '[]') FROM rejections j WHERE j.sighting_id = g.id)
         AS rejected
FROM sightings g
LEFT JOIN LATERAL (SELECT id, actor, outcome, deer_id FROM decisions c
                   WHERE c.sighting_id = g.id ORDER BY c.id DESC LIMIT 1) l ON true
WHERE g.id = ANY(%(ids)s)

-- name: deer
-- A sex that nobody said follows from the sightings, so it is nothing that was changed.
SELECT id, name, notes, CASE WHEN sex_said THEN sex END AS sex, sex_said, age_class, aliases, status, merged_into
FROM deer WHERE id = ANY(%(ids)s)

-- name: detections
SELECT id, sighting_id AS sighting, rejected, flank, sex FROM detections WHERE id = ANY(%(ids)s)

-- name: add_edit
INSERT INTO edits (actor, kind, detail, items, undoes)
VALUES (%(actor)s, %(kind)s, %(detail)s, %(items)s, %(undoes)s) RETURNING id

-- name: find_edit
SELECT e.id, e.at, e.actor, e.kind, e.detail, e.items, e.undoes, u.id AS undone_by
FROM edits e LEFT JOIN edits u ON u.undoes = e.id WHERE e.id = %(id)s

-- name: list_edits
-- Newest first; "touching" is one thing in the form of an item, e.g. [{"deer": 5}].
SELECT e.id, e.at, e.actor, e.kind, e.detail, e.items, e.undoes, u.id AS undone_by, count(*) OVER () AS total
FROM edits e LEFT JOIN edits u ON u.undoes = e.id
WHERE (%(touching)s::jsonb IS NULL OR e.items @> %(touching)s)
  AND (%(actor)s::text IS NULL OR e.actor = %(actor)s)
ORDER BY e.id DESC LIMIT %(limit)s OFFSET %(offset)s

-- name: last_edit
SELECT coalesce(max(id), 0) AS id FROM edits

-- name: answers_to_learn_from
-- People's answers since the machine last learned what similarities mean.
SELECT count(*) AS answers FROM edits
WHERE kind IN ('assign', 'new', 'import names')
  AND at > coalesce((SELECT max(at) FROM events WHERE kind = 'calibrate'), '-infinity')

-- name: later_edit
-- The last edit after this one that touched the same thing.
SELECT e.id, e.at, e.actor, e.kind, e.detail, e.items, e.undoes, NULL::bigint AS undone_by
FROM edits e WHERE e.id > %(id)s AND e.items @> %(touching)s ORDER BY e.id DESC LIMIT 1

-- name: restore_sighting
UPDATE sightings SET state = %(state)s, deer_id = %(deer)s, sex = %(sex)s, sex_said = %(sex_said)s WHERE id = %(id)s

-- name: restore_decision
-- What was decided before holds again: said by whom it was said then, and why it is said again.
INSERT INTO decisions (sighting_id, outcome, deer_id, probability, new_probability, version, fingerprints, policy,
                       candidates, actor)
SELECT sighting_id, outcome, deer_id, probability, new_probability, version, fingerprints,
       policy || jsonb_build_object('reason', %(reason)s::text), candidates, actor
FROM decisions WHERE id = %(decision)s

-- name: forget_rejections
DELETE FROM rejections WHERE sighting_id = %(id)s AND NOT deer_id = ANY(%(deer_ids)s)

-- name: add_rejections
INSERT INTO rejections (sighting_id, deer_id, actor) SELECT %(id)s, unnest(%(deer_ids)s::bigint[]), %(actor)s
ON CONFLICT DO NOTHING

-- name: restore_deer
UPDATE deer SET name = %(name)s, notes = %(notes)s, sex = coalesce(%(sex)s, sex), sex_said = %(sex_said)s,
                age_class = %(age_class)s, aliases = %(aliases)s, status = %(status)s, merged_into = %(merged_into)s
WHERE id = %(id)s

-- name: restore_detection
-- A box that was drawn may have come into a sighting since; rejected, it is in none.
UPDATE detections SET sighting_id = CASE WHEN NOT %(rejected)s THEN %(sighting)s::bigint END, rejected = %(rejected)s, flank = %(flank)s, sex = %(sex)s
WHERE id = %(id)s

-- name: empty_sightings
-- Sightings of which no box is left: no animal was there.
UPDATE sightings g SET state = 'no animal', deer_id = NULL
FROM (SELECT id, deer_id FROM sightings WHERE id = ANY(%(ids)s)) was
WHERE g.id = was.id AND NOT EXISTS (SELECT FROM detections d WHERE d.sighting_id = g.id)
RETURNING was.deer_id

-- name: names
SELECT id, number, name, status, merged_into FROM deer WHERE id = ANY(%(ids)s)
