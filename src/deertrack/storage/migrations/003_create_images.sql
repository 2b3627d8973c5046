-- One row per distinct photo (by content), however many files hold it.
CREATE TABLE IF NOT EXISTS images (
    id             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256         BYTEA NOT NULL UNIQUE CHECK (octet_length(sha256) = 32),
    station_id     INTEGER NOT NULL REFERENCES stations,
    width          INTEGER NOT NULL CHECK (width > 0),
    height         INTEGER NOT NULL CHECK (height > 0),
    camera         TEXT NOT NULL DEFAULT '',
    clock          TIMESTAMP,
    offset_minutes INTEGER,
    taken_at       TIMESTAMPTZ,
    detector       TEXT,
    error          TEXT,
    created_at     TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS ix_images_station_taken_at ON images (station_id, taken_at);

COMMENT ON COLUMN images.clock IS 'What the camera''s clock showed (EXIF). Never the file''s date, never now.';
COMMENT ON COLUMN images.taken_at IS 'The instant: clock plus the station''s shift, in the station''s zone (photo_time).';
COMMENT ON COLUMN images.detector IS 'Who said where the animals are; NULL while nobody has.';
COMMENT ON COLUMN images.error IS 'Why the pixels cannot be read; such a photo is kept and listed, never embedded.';

-- One row per file that was ever offered: what makes a second run quick, and what lists the bad files.
CREATE TABLE IF NOT EXISTS files (
    path     TEXT PRIMARY KEY,
    size     BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    image_id BIGINT REFERENCES images,
    error    TEXT,
    CHECK ((image_id IS NULL) <> (error IS NULL))
);

CREATE INDEX IF NOT EXISTS ix_files_image_id ON files (image_id);

COMMENT ON COLUMN files.mtime_ns IS 'Only to notice that a file changed. Never taken for the time of the photo.';

-- The instant of a photo. An offset that the camera wrote itself outranks the station's zone.
CREATE OR REPLACE FUNCTION photo_time(clock TIMESTAMP, offset_minutes INTEGER, shift INTERVAL, zone TEXT)
RETURNS TIMESTAMPTZ LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN offset_minutes IS NULL THEN (clock + shift) AT TIME ZONE zone
        ELSE (clock + shift - make_interval(mins => offset_minutes)) AT TIME ZONE 'UTC'
    END
$$;
