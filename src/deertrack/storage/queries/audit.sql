-- name: page
-- Newest first, from three logs: events, people's edits (a line for each thing that one changed), and all decisions.
-- Each log gives at most a page, along its index of time; equal times are told apart by log, number and item.
WITH event AS (
  SELECT at, 'event' AS log, id, 0 AS item, actor, kind, subject,
         coalesce(detail -> 'from', detail -> 'was') AS "from", detail -> 'to' AS "to",
         detail - 'from' - 'was' - 'to' AS detail
  FROM events
  WHERE at >= %(since)s AND at < %(until)s AND at <= %(at)s
    AND (at, 'event'::text, id, 0) < (%(at)s, %(log)s::text, %(id)s, %(item)s)
    AND (%(actor)s::text IS NULL OR actor = %(actor)s) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND (%(subject)s::text IS NULL OR subject = %(subject)s OR starts_with(subject, %(subject)s || ':'))
  ORDER BY at DESC, id DESC LIMIT %(limit)s),
edit AS (
  SELECT e.at, 'edit' AS log, e.id, i.nr::int AS item, e.actor, e.kind, i.subject, i.value -> 'before' AS "from",
         i.value -> 'after' AS "to",
         e.detail || jsonb_strip_nulls(jsonb_build_object('edit', e.id, 'undoes', e.undoes)) AS detail
  FROM edits e CROSS JOIN LATERAL (
    SELECT x.nr, x.value, k.thing || ':' || (x.value ->> k.thing) AS subject
    FROM jsonb_array_elements(e.items) WITH ORDINALITY x (value, nr)
    JOIN (VALUES ('sighting'), ('deer'), ('detection')) k (thing) ON x.value ? k.thing) i
  WHERE e.at >= %(since)s AND e.at < %(until)s AND e.at <= %(at)s
    AND (e.at, 'edit'::text, e.id, i.nr) < (%(at)s, %(log)s::text, %(id)s, %(item)s)
    AND (%(actor)s::text IS NULL OR e.actor = %(actor)s) AND (%(kind)s::text IS NULL OR e.kind = %(kind)s)
    AND (%(subject)s::text IS NULL OR i.subject = %(subject)s OR starts_with(i.subject, %(subject)s || ':'))
  ORDER BY e.at DESC, e.id DESC, i.nr DESC LIMIT %(limit)s),
decided AS (
  SELECT * FROM decisions
  WHERE decided_at >= %(since)s AND decided_at < %(until)s AND decided_at <= %(at)s
    AND (decided_at, 'decision'::text, id, 0) < (%(at)s, %(log)s::text, %(id)s, %(item)s)
    AND (%(actor)s::text IS NULL OR actor = %(actor)s)
    AND (%(kind)s::text IS NULL OR 'decide ' || outcome = %(kind)s OR %(kind)s = 'decide')
    AND (%(subject)s::text IS NULL OR %(subject)s = 'sighting' OR sighting_id = %(sighting)s)
  ORDER BY decided_at DESC, id DESC LIMIT %(limit)s),
decision AS (
  SELECT c.decided_at AS at, 'decision' AS log, c.id, 0 AS item, c.actor, 'decide ' || c.outcome AS kind,
         'sighting:' || c.sighting_id AS subject,
         CASE WHEN b.id IS NOT NULL
              THEN jsonb_build_object('outcome', b.outcome, 'deer', b.deer_id, 'number', o.number, 'name', o.name) END
           AS "from",
         jsonb_build_object('outcome', c.outcome, 'deer', c.deer_id, 'number', d.number, 'name', d.name) AS "to",
         jsonb_strip_nulls(jsonb_build_object('probability', c.probability, 'new_probability', c.new_probability,
                                              'version', c.version, 'arm', c.arm, 'reason', c.policy -> 'reason'))
           AS detail
  FROM decided c
  LEFT JOIN deer d ON d.id = c.deer_id
  LEFT JOIN LATERAL (SELECT id, outcome, deer_id FROM decisions p
                     WHERE p.sighting_id = c.sighting_id AND p.id < c.id ORDER BY p.id DESC LIMIT 1) b ON true
  LEFT JOIN deer o ON o.id = b.deer_id)
SELECT * FROM (SELECT * FROM event UNION ALL SELECT * FROM edit UNION ALL SELECT * FROM decision) everything
ORDER BY at DESC, log DESC, id DESC, item DESC LIMIT %(limit)s
