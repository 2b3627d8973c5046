-- Cards that a browser sends, piece by piece. How much of a file has arrived is told by its size on disk.
CREATE TABLE IF NOT EXISTS uploads (
    id         UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    name       TEXT NOT NULL,
    actor      TEXT NOT NULL,
    digest     BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    job_id     BIGINT
);

-- Whoever offers the same files again goes on with the same upload.
CREATE UNIQUE INDEX IF NOT EXISTS ix_uploads_unfinished ON uploads (actor, digest) WHERE job_id IS NULL;

COMMENT ON COLUMN uploads.digest IS 'sha256 of the name, and of the paths and sizes of all files.';
COMMENT ON COLUMN uploads.job_id IS 'The job that reads what was sent; NULL while something is still to come.';

CREATE TABLE IF NOT EXISTS upload_files (
    upload_id UUID NOT NULL REFERENCES uploads ON DELETE CASCADE,
    n         INTEGER NOT NULL,
    path      TEXT NOT NULL,
    size      BIGINT NOT NULL CHECK (size >= 0),
    PRIMARY KEY (upload_id, n)
);

COMMENT ON COLUMN upload_files.path IS 'Below the upload''s folder; never outside.';

-- How far a job is: its stages so far, each with what is done of how much. Written about twice a second at most.
CREATE TABLE IF NOT EXISTS job_progress (
    job_id BIGINT PRIMARY KEY,
    stages JSONB NOT NULL,
    at     TIMESTAMPTZ NOT NULL DEFAULT now()
);
