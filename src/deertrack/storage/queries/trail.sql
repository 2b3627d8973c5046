-- name: clock
-- There is no trail before migration 010.
SELECT now() AS now WHERE to_regclass('events') IS NOT NULL

-- name: last_of_kinds
SELECT at, kind, subject, detail FROM events WHERE kind = ANY(%(kinds)s) ORDER BY id DESC LIMIT 1
