-- name: begin
-- Nothing comes back where the same person's same upload is under way already.
INSERT INTO uploads (name, actor, digest) VALUES (%(name)s, %(actor)s, %(digest)s)
ON CONFLICT (actor, digest) WHERE job_id IS NULL DO NOTHING
RETURNING id

-- name: under_way
SELECT id FROM uploads WHERE actor = %(actor)s AND digest = %(digest)s AND job_id IS NULL

-- name: add_files
INSERT INTO upload_files (upload_id, n, path, size)
SELECT %(upload_id)s, f.n, f.path, f.size
FROM unnest(%(numbers)s::integer[], %(paths)s::text[], %(sizes)s::bigint[]) AS f (n, path, size)

-- name: upload
SELECT id, name, actor, created_at, job_id FROM uploads WHERE id = %(id)s

-- name: lock_upload
-- Two requests to finish the same upload order one job.
SELECT id FROM uploads WHERE id = %(id)s FOR UPDATE

-- name: files
SELECT n, path, size FROM upload_files WHERE upload_id = %(id)s ORDER BY n

-- name: file
SELECT f.n, f.path, f.size FROM upload_files f JOIN uploads u ON u.id = f.upload_id
WHERE f.upload_id = %(id)s AND f.n = %(n)s AND u.job_id IS NULL

-- name: unfinished
SELECT u.id, u.name, u.actor, u.created_at, u.job_id, count(f.n) AS files, coalesce(sum(f.size), 0)::bigint AS size
FROM uploads u LEFT JOIN upload_files f ON f.upload_id = u.id
WHERE u.job_id IS NULL GROUP BY u.id ORDER BY u.created_at DESC LIMIT %(limit)s

-- name: finish
UPDATE uploads SET job_id = %(job)s WHERE id = %(id)s

-- name: forget
DELETE FROM uploads WHERE id = %(id)s AND job_id IS NULL
