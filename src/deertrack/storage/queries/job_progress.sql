-- name: put
-- The answer tells a job at once whether somebody asked it to stop.
WITH told AS (
  INSERT INTO job_progress (job_id, stages) VALUES (%(job_id)s, %(stages)s)
  ON CONFLICT (job_id) DO UPDATE SET stages = EXCLUDED.stages, at = now())
SELECT coalesce((SELECT abort_requested FROM procrastinate_jobs WHERE id = %(job_id)s), false) AS stop

-- name: count
SELECT count(*) AS total FROM procrastinate_jobs WHERE task_name = ANY(%(tasks)s)

-- name: jobs
-- The newest jobs, or one of them. What came of a job is the last event about it, whose list of problems may be long.
WITH page AS MATERIALIZED (
  SELECT id, task_name AS task, status::text AS status, abort_requested AS stopping,
         args -> 'arguments' AS arguments
  FROM procrastinate_jobs
  WHERE task_name = ANY(%(tasks)s) AND (%(id)s::bigint IS NULL OR id = %(id)s)
  ORDER BY id DESC LIMIT %(limit)s OFFSET %(offset)s)
SELECT p.*, coalesce(j.stages, '[]') AS stages, t.ordered_at, t.started_at, t.ended_at,
       e.detail - 'problems' AS outcome, coalesce(jsonb_array_length(e.detail -> 'problems'), 0) AS problems
FROM page p
LEFT JOIN job_progress j ON j.job_id = p.id
LEFT JOIN LATERAL (
  SELECT min(v.at) AS ordered_at, max(v.at) FILTER (WHERE v.type = 'started') AS started_at,
         max(v.at) FILTER (WHERE v.type IN ('succeeded', 'failed', 'cancelled', 'aborted')) AS ended_at
  FROM procrastinate_events v WHERE v.job_id = p.id) t ON true
LEFT JOIN LATERAL (SELECT v.detail FROM events v WHERE v.subject = 'job:' || p.id ORDER BY v.id DESC LIMIT 1) e ON true
ORDER BY p.id DESC

-- name: waiting
SELECT id FROM procrastinate_jobs WHERE queueing_lock = %(once)s AND status = 'todo'

-- name: problems
SELECT p.value ->> 'path' AS path, p.value ->> 'reason' AS reason
FROM (SELECT detail FROM events WHERE subject = 'job:' || %(id)s::bigint ORDER BY id DESC LIMIT 1) e
CROSS JOIN jsonb_array_elements(coalesce(e.detail -> 'problems', '[]')) WITH ORDINALITY AS p (value, place)
ORDER BY p.place LIMIT %(limit)s OFFSET %(offset)s
