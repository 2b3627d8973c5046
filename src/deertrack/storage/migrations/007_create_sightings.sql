-- An encounter is what one station saw without a long pause; a sighting is one animal across one encounter
-- (its track: at most one detection per photo).
CREATE TABLE IF NOT EXISTS encounters (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    station_id INTEGER NOT NULL REFERENCES stations,
    started_at TIMESTAMPTZ,
    ended_at   TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CHECK ((started_at IS NULL) = (ended_at IS NULL)),
    CHECK (ended_at >= started_at)
);

CREATE INDEX IF NOT EXISTS ix_encounters_station_started_at ON encounters (station_id, started_at);

COMMENT ON COLUMN encounters.started_at IS 'NULL for a photo without a time: such a photo is an encounter of its own.';

CREATE TABLE IF NOT EXISTS sightings (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encounter_id BIGINT NOT NULL REFERENCES encounters,
    deer_id      BIGINT REFERENCES deer,
    state        TEXT NOT NULL DEFAULT 'undecided' CHECK (state IN ('undecided', 'review', 'assigned')),
    sex          TEXT NOT NULL DEFAULT 'unknown' CHECK (sex IN ('male', 'female', 'unknown')),
    created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
    CHECK ((state = 'assigned') = (deer_id IS NOT NULL))
);

CREATE INDEX IF NOT EXISTS ix_sightings_encounter_id ON sightings (encounter_id);
CREATE INDEX IF NOT EXISTS ix_sightings_deer_id ON sightings (deer_id);
CREATE INDEX IF NOT EXISTS ix_sightings_open ON sightings (state) WHERE state <> 'assigned';

ALTER TABLE detections ADD COLUMN IF NOT EXISTS sighting_id BIGINT REFERENCES sightings;

-- Two detections in one photo are never one animal.
CREATE UNIQUE INDEX IF NOT EXISTS ix_detections_one_per_photo ON detections (sighting_id, image_id);
