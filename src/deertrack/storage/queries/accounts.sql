-- name: add_user
-- No row where the name is taken.
INSERT INTO users (name, key, role, password) VALUES (%(name)s, %(key)s, %(role)s, %(password)s)
ON CONFLICT (key) DO NOTHING RETURNING id

-- name: users
-- All accounts, or one; with the last sign of life of a session or a token.
SELECT u.id, u.name, u.role, u.enabled, u.created_at,
       greatest((SELECT max(s.seen_at) FROM sessions s WHERE s.user_id = u.id),
                (SELECT max(t.used_at) FROM tokens t WHERE t.user_id = u.id)) AS seen_at
FROM users u WHERE %(id)s::bigint IS NULL OR u.id = %(id)s ORDER BY u.key

-- name: find_user
SELECT id, password FROM users WHERE key = %(key)s

-- name: any_user
SELECT EXISTS (SELECT FROM users WHERE enabled) AS found

-- name: lock_admins
-- Locked, so that two admins who demote each other at the same time do not both succeed.
SELECT id FROM users WHERE role = 'admin' AND enabled ORDER BY id FOR UPDATE

-- name: set_role
UPDATE users SET role = %(role)s WHERE id = %(id)s

-- name: set_enabled
UPDATE users SET enabled = %(enabled)s WHERE id = %(id)s

-- name: set_password
UPDATE users SET password = %(password)s WHERE id = %(id)s

-- name: add_session
INSERT INTO sessions (hash, user_id) VALUES (%(hash)s, %(user_id)s)

-- name: session_user
-- A session ends 12 hours after its last request, and after 30 days in any case.
SELECT u.id, u.name, u.role, u.enabled, u.created_at, s.seen_at,
       s.seen_at < now() - interval '1 minute' AS stale
FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.hash = %(hash)s AND u.enabled
  AND s.seen_at > now() - interval '12 hours' AND s.created_at > now() - interval '30 days'

-- name: touch_session
UPDATE sessions SET seen_at = now() WHERE hash = %(hash)s

-- name: end_session
DELETE FROM sessions WHERE hash = %(hash)s

-- name: end_sessions
DELETE FROM sessions WHERE user_id = %(user_id)s

-- name: purge_sessions
DELETE FROM sessions WHERE seen_at < now() - interval '12 hours' OR created_at < now() - interval '30 days'

-- name: add_token
INSERT INTO tokens (user_id, label, hash, expires_at)
VALUES (%(user_id)s, %(label)s, %(hash)s, now() + %(lasts)s::interval)
RETURNING id

-- name: token_user
SELECT u.id, u.name, u.role, u.enabled, u.created_at, t.used_at AS seen_at,
       coalesce(t.used_at < now() - interval '1 minute', true) AS stale
FROM tokens t JOIN users u ON u.id = t.user_id
WHERE t.hash = %(hash)s AND u.enabled AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())

-- name: touch_token
UPDATE tokens SET used_at = now() WHERE hash = %(hash)s

-- name: tokens
-- Those that still work, of one account or of all.
SELECT t.id, u.name AS owner, t.label, t.created_at, t.expires_at, t.used_at
FROM tokens t JOIN users u ON u.id = t.user_id
WHERE t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())
  AND (%(user_id)s::bigint IS NULL OR t.user_id = %(user_id)s)
ORDER BY t.id

-- name: revoke_token
-- NULL for the account means anybody's.
UPDATE tokens SET revoked_at = now()
WHERE id = %(id)s AND revoked_at IS NULL AND (%(user_id)s::bigint IS NULL OR user_id = %(user_id)s)
RETURNING user_id

-- name: revoke_tokens
UPDATE tokens SET revoked_at = now() WHERE user_id = %(user_id)s AND revoked_at IS NULL

-- name: count_attempt
-- Counted before the password is looked at, so that a hundred attempts at once are a hundred attempts.
-- No row where the subject has to wait.
INSERT INTO login_failures AS f (subject, failures) VALUES (%(subject)s, 1)
ON CONFLICT (subject) DO UPDATE
SET failures = CASE WHEN f.last_at < now() - interval '1 day' THEN 1 ELSE f.failures + 1 END, last_at = now()
WHERE f.blocked_until <= now()
RETURNING failures

-- name: block
UPDATE login_failures SET blocked_until = now() + %(seconds)s * interval '1 second' WHERE subject = %(subject)s

-- name: wait
SELECT ceil(extract(epoch FROM blocked_until - now()))::int AS seconds
FROM login_failures WHERE subject = %(subject)s AND blocked_until > now()

-- name: forget_attempts
DELETE FROM login_failures WHERE subject = ANY(%(subjects)s) OR last_at < now() - interval '1 day'
