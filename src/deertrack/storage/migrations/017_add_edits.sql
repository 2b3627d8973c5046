-- People's changes, each as what was before and after, so that it can be undone from the history at any time.
CREATE TABLE IF NOT EXISTS edits (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      TIMESTAMPTZ NOT NULL DEFAULT now(),
    actor   TEXT NOT NULL,
    kind    TEXT NOT NULL,
    detail  JSONB NOT NULL DEFAULT '{}',
    items   JSONB NOT NULL,
    undoes  BIGINT UNIQUE REFERENCES edits
);

-- "Which later edits touched this sighting?"
CREATE INDEX IF NOT EXISTS ix_edits_items ON edits USING gin (items jsonb_path_ops);
CREATE OR REPLACE TRIGGER immutable BEFORE UPDATE ON edits FOR EACH ROW EXECUTE FUNCTION refuse_update();

COMMENT ON COLUMN edits.items IS 'One for each thing that changed: {"sighting" | "deer" | "detection": id, "before": {…}, "after": {…}}, only fields that changed.';

-- What people say of an individual. A sex that a person said outranks what its sightings show.
ALTER TABLE deer
    ADD COLUMN IF NOT EXISTS merged_into BIGINT REFERENCES deer,
    ADD COLUMN IF NOT EXISTS age_class   TEXT NOT NULL DEFAULT 'unknown' CHECK (age_class IN ('adult', 'yearling', 'fawn', 'unknown')),
    ADD COLUMN IF NOT EXISTS aliases     TEXT[] NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS sex_said    BOOLEAN NOT NULL DEFAULT false;

UPDATE deer SET merged_into = told.into_id
FROM (SELECT DISTINCT ON (subject) split_part(subject, ':', 2)::bigint AS deer_id, (detail ->> 'into')::bigint AS into_id
      FROM events WHERE kind = 'status' AND detail ? 'into' ORDER BY subject, id DESC) told
WHERE deer.id = told.deer_id AND deer.status = 'merged';

ALTER TABLE sightings
    ADD COLUMN IF NOT EXISTS sex_said BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS priority REAL;
ALTER TABLE sightings DROP CONSTRAINT IF EXISTS sightings_state_check;
ALTER TABLE sightings ADD CONSTRAINT sightings_state_check
    CHECK (state IN ('undecided', 'review', 'assigned', 'unidentifiable', 'no animal'));

COMMENT ON COLUMN sightings.state IS 'unidentifiable: a person says that nobody can tell. no animal: a person rejected all its boxes.';

COMMENT ON COLUMN sightings.priority IS 'What a person''s answer would tell, in bits: the entropy of what the machine believes (domain.decision.worth_asking).';

-- The queue of reviews: what tells most comes first.
CREATE INDEX IF NOT EXISTS ix_sightings_waiting ON sightings (priority DESC NULLS LAST, id) WHERE state = 'review';

UPDATE sightings g SET priority = (
    SELECT -sum(p * ln(p)) / ln(2)
    FROM (SELECT (k ->> 'probability')::float8 AS p FROM jsonb_array_elements(l.candidates) k
          UNION ALL SELECT l.new_probability
          UNION ALL SELECT 1 - coalesce(l.new_probability, 0) - (SELECT coalesce(sum((k ->> 'probability')::float8), 0)
                                                                 FROM jsonb_array_elements(l.candidates) k)) q
    WHERE p > 0)
FROM (SELECT DISTINCT ON (sighting_id) sighting_id, candidates, new_probability FROM decisions
      WHERE actor = 'machine' ORDER BY sighting_id, id DESC) l
WHERE l.sighting_id = g.id AND g.state = 'review';

-- A rejected box belongs to no sighting and is looked at no more; a mended one is a new row, for vectors are immutable.
ALTER TABLE detections
    ADD COLUMN IF NOT EXISTS flank    TEXT NOT NULL DEFAULT 'unknown' CHECK (flank IN ('left', 'right', 'unknown')),
    ADD COLUMN IF NOT EXISTS rejected BOOLEAN NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS drawn_by TEXT,
    DROP CONSTRAINT IF EXISTS detections_rejected_check;
ALTER TABLE detections ADD CONSTRAINT detections_rejected_check CHECK (NOT rejected OR sighting_id IS NULL);

COMMENT ON COLUMN detections.flank IS 'Which side of the animal is seen; the patterns of the two differ.';
COMMENT ON COLUMN detections.drawn_by IS 'The person who drew the box; NULL for a detector''s.';

ALTER TABLE decisions DROP CONSTRAINT IF EXISTS decisions_outcome_check, DROP CONSTRAINT IF EXISTS decisions_check;
ALTER TABLE decisions
    ADD CONSTRAINT decisions_outcome_check CHECK (outcome IN ('assign', 'new', 'review', 'unidentifiable')),
    ADD CONSTRAINT decisions_check CHECK ((outcome IN ('assign', 'new')) = (deer_id IS NOT NULL));
