-- Most queries here go on, with a comma, from one of two blocks that name the decisions to count: "kept" or "latest".
-- "arm" is NULL outside of A/B tests.

-- name: room_to_count
-- For the hash table of all sightings below: at the default, 4 MB, it goes to disk in pieces.
SELECT set_config('work_mem', '128MB', true)

-- name: keep
-- The machine's first decision about each sighting: a sighting that is decided again is no second one. Rows of the log
-- are wide; it is read once, and what is asked of it is asked of this narrow copy.
CREATE TEMPORARY TABLE kept ON COMMIT DROP AS
SELECT c.id, c.sighting_id, c.version, c.arm, c.outcome, c.deer_id, c.decided_at, c.milliseconds,
       (c.candidates -> 0 ->> 'similarity')::float8 AS similarity,
       (c.candidates -> 0 ->> 'deer_id')::bigint AS candidate
FROM decisions c
WHERE c.actor = 'machine' AND c.decided_at >= coalesce({since}::timestamptz, '-infinity')
  AND NOT EXISTS (SELECT FROM decisions e
                  WHERE e.sighting_id = c.sighting_id AND e.actor = 'machine' AND e.id < c.id)

-- name: kept
WITH first AS (SELECT * FROM kept)

-- name: latest
-- The same of the last few decisions: what alerts look at must cost the same at any size of the log.
WITH first AS (
  SELECT l.id, l.sighting_id, l.version, l.arm, l.outcome, l.deer_id, l.decided_at,
         (l.candidates -> 0 ->> 'similarity')::float8 AS similarity,
         (l.candidates -> 0 ->> 'deer_id')::bigint AS candidate
  FROM (SELECT * FROM decisions
        WHERE actor = 'machine' AND decided_at >= coalesce(%(since)s::timestamptz, '-infinity')
          AND decided_at < coalesce(%(until)s::timestamptz, 'infinity')
          AND (%(version)s::text IS NULL OR version = %(version)s)
        ORDER BY decided_at DESC, id DESC OFFSET %(skip)s LIMIT %(limit)s) l
  WHERE NOT EXISTS (SELECT FROM decisions e
                    WHERE e.sighting_id = l.sighting_id AND e.actor = 'machine' AND e.id < l.id))

-- name: rates
-- Outcomes by phase (how many of the given changes came before), period, version and arm, as the sums that
-- domain.monitoring.Tally holds: encounters, not sightings, are what varies independently.
, encounter AS (
  SELECT width_bucket(f.decided_at, %(changes)s::timestamptz[]) AS phase,
         date_trunc(%(by)s::text, f.decided_at) AS period, f.version, f.arm, g.encounter_id,
         min(f.decided_at) AS began, count(*) AS items,
         count(*) FILTER (WHERE f.outcome = 'assign') AS matched, count(*) FILTER (WHERE f.outcome = 'new') AS new,
         count(*) FILTER (WHERE f.outcome = 'review') AS review
  FROM first f JOIN sightings g ON g.id = f.sighting_id
  GROUP BY 1, 2, 3, 4, 5)
SELECT phase, period, version, arm, min(began) AS began, sum(review)::bigint AS review,
       count(*) AS clusters, sum(items)::bigint AS items, sum(items * items)::bigint AS items_squared,
       sum(matched)::bigint AS matched, sum(matched * matched)::bigint AS matched_squared,
       sum(matched * items)::bigint AS matched_items,
       sum(new)::bigint AS new, sum(new * new)::bigint AS new_squared, sum(new * items)::bigint AS new_items
FROM encounter GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4 NULLS FIRST

-- name: scores
-- How alike the best candidate was, and how long it took, by version and arm; once for all outcomes (NULL), once for
-- each. A sighting in an empty gallery has no candidate.
SELECT version, arm, outcome, count(similarity) AS items, avg(similarity) AS mean,
       percentile_cont(%(similarity_shares)s::float8[]) WITHIN GROUP (ORDER BY similarity) AS similarities,
       count(milliseconds) AS timed,
       percentile_cont(%(time_shares)s::float8[]) WITHIN GROUP (ORDER BY milliseconds) AS times
FROM first GROUP BY GROUPING SETS ((version, arm), (version, arm, outcome))
ORDER BY version, arm NULLS FIRST, outcome NULLS FIRST

-- name: histogram
-- Similarities of best candidates in bins of equal width over [0, 1]; bin 0 is below.
SELECT version, arm, outcome, least(width_bucket(similarity, 0, 1, %(bins)s), %(bins)s) AS bin, count(*) AS items
FROM first WHERE similarity IS NOT NULL
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2 NULLS FIRST, 3, 4

-- name: reviews
-- What a person made of the machine's decisions, by version and arm, in the same sums. A record is an individual
-- as it was made; "records" tells which of them turned out to be the animal that a person named: those that were
-- made for one of its sightings. A match with any of them was right; "new" was wrong if there was one before. Who was
-- never founded by a decision (the predecessor's individuals) was known since it was made.
, answered AS MATERIALIZED (
  SELECT f.id, f.version, f.arm, f.outcome, f.deer_id AS said, f.candidate, f.decided_at,
         g.encounter_id, g.deer_id AS animal
  FROM first f JOIN sightings g ON g.id = f.sighting_id
  WHERE g.deer_id IS NOT NULL
    -- A person's word that was undone since does not count: what was said before it is said again then.
    AND (SELECT w.actor FROM decisions w WHERE w.sighting_id = f.sighting_id ORDER BY w.id DESC LIMIT 1) <> 'machine'),
records AS MATERIALIZED (
  SELECT g.deer_id AS animal, n.deer_id AS record, min(n.id) AS made
  FROM sightings g JOIN decisions n ON n.sighting_id = g.id AND n.outcome = 'new'
  WHERE g.deer_id IN (SELECT animal FROM answered)
  GROUP BY 1, 2),
judged AS (
  SELECT a.version, a.arm, a.outcome, a.encounter_id, a.candidate,
         a.said = a.animal OR s.record IS NOT NULL AS same,
         a.candidate = a.animal OR c.record IS NOT NULL AS foremost,
         coalesce(m.made < a.id, false) OR (m.founded IS NOT TRUE AND d.created_at < a.decided_at) AS known
  FROM answered a
  JOIN deer d ON d.id = a.animal
  LEFT JOIN records s ON s.animal = a.animal AND s.record = a.said
  LEFT JOIN records c ON c.animal = a.animal AND c.record = a.candidate
  LEFT JOIN (SELECT animal, min(made) AS made, bool_or(record = animal) AS founded
             FROM records GROUP BY 1) m ON m.animal = a.animal),
measured AS (
  SELECT j.version, j.arm, j.encounter_id, q.measure, q.hit
  FROM judged j CROSS JOIN LATERAL (VALUES
    ('wrong match', j.outcome = 'assign', NOT j.same),
    ('wrong new', j.outcome = 'new', j.known),
    ('agreement', j.outcome <> 'review', CASE j.outcome WHEN 'new' THEN NOT j.known ELSE j.same END),
    ('first right', j.known AND j.candidate IS NOT NULL, j.foremost)) q (measure, counts, hit)
  WHERE q.counts),
encounter AS (
  SELECT version, arm, measure, encounter_id, count(*) AS items, count(*) FILTER (WHERE hit) AS hits
  FROM measured GROUP BY 1, 2, 3, 4)
SELECT version, arm, measure, count(*) AS clusters, sum(items)::bigint AS items, sum(hits)::bigint AS hits,
       sum(items * items)::bigint AS items_squared, sum(hits * hits)::bigint AS hits_squared,
       sum(hits * items)::bigint AS hits_items
FROM encounter GROUP BY 1, 2, 3 ORDER BY 1, 2 NULLS FIRST, 3

-- name: encounter_times
-- A/B: the mean time of a decision in each encounter, in bins of one part in a hundred.
, encounter AS (
  SELECT f.arm, g.encounter_id, avg(f.milliseconds) AS milliseconds
  FROM first f JOIN sightings g ON g.id = f.sighting_id
  WHERE f.arm IS NOT NULL AND f.milliseconds IS NOT NULL GROUP BY 1, 2)
SELECT arm, avg(milliseconds) AS milliseconds, count(*) AS encounters
FROM encounter GROUP BY arm, floor(ln(greatest(milliseconds, 0.001)) / ln(1.01)) ORDER BY arm, milliseconds

-- name: similarity_cuts
-- The similarities that divide these decisions into parts of equal size.
SELECT count(similarity) AS items,
       percentile_cont(%(shares)s::float8[]) WITHIN GROUP (ORDER BY similarity) AS cuts
FROM first

-- name: similarities_between
SELECT width_bucket(similarity, %(cuts)s::float8[]) AS bin, count(*) AS items
FROM first WHERE similarity IS NOT NULL GROUP BY 1

-- name: first_decision
SELECT min(decided_at) AS at FROM decisions

-- name: changes
SELECT at, kind, split_part(subject, ':', 2) AS version, detail FROM events
WHERE kind IN ('cut over', 'roll back', 'ab begun', 'ab ended') ORDER BY id

-- name: runs
-- How fast runs were: of those that read new photos the whole time, of those that embedded the time for that.
SELECT date_trunc(%(by)s::text, e.at) AS period, count(*) AS runs,
       coalesce(sum(r.photos), 0)::bigint AS photos, coalesce(sum(r.seconds) FILTER (WHERE r.photos > 0), 0) AS seconds,
       coalesce(sum(r.embedded), 0)::bigint AS embedded,
       coalesce(sum(r.embedding) FILTER (WHERE r.embedded > 0), 0) AS embedding
FROM events e CROSS JOIN LATERAL (
  SELECT (e.detail ->> 'photos_new')::bigint AS photos, (e.detail ->> 'embedded')::bigint AS embedded,
         (e.detail -> 'seconds' ->> 'embed')::float8 AS embedding,
         (SELECT sum(s.value::text::float8) FROM jsonb_each(e.detail -> 'seconds') s) AS seconds) r
WHERE e.subject = 'catalogue' AND e.kind = 'run' AND e.at >= coalesce(%(since)s::timestamptz, '-infinity')
GROUP BY 1 ORDER BY 1

-- name: mixed_sex
SELECT d.name, g.males, g.females
FROM (SELECT deer_id, count(*) FILTER (WHERE sex = 'male') AS males, count(*) FILTER (WHERE sex = 'female') AS females
      FROM sightings WHERE deer_id IS NOT NULL AND sex <> 'unknown'
      GROUP BY 1 HAVING bool_or(sex = 'male') AND bool_or(sex = 'female')) g
JOIN deer d ON d.id = g.deer_id ORDER BY d.number

-- name: newest_decision
SELECT coalesce(max(id), 0) AS id FROM decisions

-- name: decisions_by_kind
-- Every decision of the machine from one number to another. Edges are negated and so is what lies between them, so that
-- a bin holds its upper edge: as many edges as the bin counts are at or above the value. OFFSET 0 keeps the planner
-- from carrying whole rows of the log through a sort on disk.
SELECT version, arm, outcome, width_bucket(-similarity, %(similarities)s::float8[]) AS similarity_edges,
       width_bucket(-milliseconds, %(times)s::float8[]) AS time_edges,
       count(*) AS decisions, coalesce(sum(similarity), 0) AS similarity,
       coalesce(sum(milliseconds), 0) AS milliseconds
FROM (SELECT version, arm, outcome, (candidates -> 0 ->> 'similarity')::float8 AS similarity,
             milliseconds::float8 AS milliseconds
      FROM decisions WHERE actor = 'machine' AND id > %(after)s AND id <= %(upto)s OFFSET 0) d
GROUP BY 1, 2, 3, 4, 5

-- name: individuals
SELECT status AS kind, count(*) AS items FROM deer GROUP BY 1

-- name: sightings
SELECT state AS kind, count(*) AS items FROM sightings GROUP BY 1

-- name: photos
SELECT 'all' AS kind, count(*) AS items FROM images

-- name: has_queue
SELECT to_regclass('procrastinate_jobs') IS NOT NULL AS has_queue

-- name: jobs
SELECT status::text AS kind, count(*) AS items FROM procrastinate_jobs GROUP BY 1
