-- name: ping
-- Reads a page of a table of ours: a server that answers but lost its data is not well.
SELECT count(*) FROM (SELECT FROM settings LIMIT 1) one

-- name: queue
-- NULL for the worker where none is registered.
SELECT (SELECT count(*) FROM procrastinate_jobs WHERE status = 'todo') AS waiting,
       (SELECT max(last_heartbeat) > now() - interval '1 minute' FROM procrastinate_workers) AS worker
