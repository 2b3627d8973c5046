-- A person said that a sighting is not this individual. Remembered for good: the machine never suggests it again.
-- Only a person who says that it is that individual after all takes it back.
CREATE TABLE IF NOT EXISTS rejections (
    sighting_id BIGINT NOT NULL REFERENCES sightings,
    deer_id     BIGINT NOT NULL REFERENCES deer,
    actor       TEXT NOT NULL,
    at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (sighting_id, deer_id)
);
