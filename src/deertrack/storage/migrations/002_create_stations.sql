-- A station is a place where a camera stands. Its zone and clock shift turn camera clocks into instants.
CREATE TABLE IF NOT EXISTS stations (
    id          INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE CHECK (name <> ''),
    latitude    DOUBLE PRECISION CHECK (latitude BETWEEN -90 AND 90),
    longitude   DOUBLE PRECISION CHECK (longitude BETWEEN -180 AND 180),
    timezone    TEXT NOT NULL DEFAULT 'UTC',
    clock_shift INTERVAL NOT NULL DEFAULT '0',
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    CHECK ((latitude IS NULL) = (longitude IS NULL))
);

COMMENT ON COLUMN stations.timezone IS 'IANA name of the zone that the camera clock shows, e.g. America/Chicago.';
COMMENT ON COLUMN stations.clock_shift IS 'Added to every camera clock of this station: the repair of a wrongly set clock.';
