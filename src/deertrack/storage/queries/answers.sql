-- name: purge
DELETE FROM answers WHERE at < now() - interval '24 hours'

-- name: claim
-- One row if the request is to be worked on: it is new, or whoever worked on it went away without an answer.
INSERT INTO answers AS a (who, key, request) VALUES (%(who)s, %(key)s, %(request)s)
ON CONFLICT (who, key) DO UPDATE SET at = now()
WHERE a.status IS NULL AND a.request = excluded.request AND a.at < now() - interval '1 minute'
RETURNING key

-- name: find
SELECT request, status, body FROM answers WHERE who = %(who)s AND key = %(key)s

-- name: keep
UPDATE answers SET status = %(status)s, body = %(body)s WHERE who = %(who)s AND key = %(key)s

-- name: forget
DELETE FROM answers WHERE who = %(who)s AND key = %(key)s
