-- One animal in one photo, as a detector saw it. Two detections in one photo are two animals.
CREATE TABLE IF NOT EXISTS detections (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    image_id         BIGINT NOT NULL REFERENCES images,
    confidence       REAL NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    bbox_x           DOUBLE PRECISION NOT NULL,
    bbox_y           DOUBLE PRECISION NOT NULL,
    bbox_width       DOUBLE PRECISION NOT NULL,
    bbox_height      DOUBLE PRECISION NOT NULL,
    label            TEXT NOT NULL DEFAULT '',
    label_confidence REAL,
    sex              TEXT NOT NULL DEFAULT 'unknown' CHECK (sex IN ('male', 'female', 'unknown')),
    age_class        TEXT NOT NULL DEFAULT 'unknown' CHECK (age_class IN ('adult', 'fawn', 'unknown')),
    created_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
    UNIQUE (image_id, bbox_x, bbox_y, bbox_width, bbox_height),
    CHECK (bbox_x >= 0 AND bbox_y >= 0 AND bbox_width > 0 AND bbox_height > 0),
    CHECK (bbox_x + bbox_width <= 1.000001 AND bbox_y + bbox_height <= 1.000001)
);

COMMENT ON COLUMN detections.bbox_x IS 'Left edge as a fraction of the photo''s width, from the upper left, after EXIF rotation.';
