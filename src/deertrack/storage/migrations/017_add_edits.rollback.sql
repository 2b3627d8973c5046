-- What nobody can tell waits for a person again; rejected boxes come back, without a sighting.
UPDATE sightings SET state = 'review' WHERE state IN ('unidentifiable', 'no animal');
ALTER TABLE sightings DROP CONSTRAINT IF EXISTS sightings_state_check;
ALTER TABLE sightings ADD CONSTRAINT sightings_state_check CHECK (state IN ('undecided', 'review', 'assigned'));
COMMENT ON COLUMN sightings.state IS NULL;
DROP INDEX IF EXISTS ix_sightings_waiting;
ALTER TABLE sightings DROP COLUMN IF EXISTS sex_said, DROP COLUMN IF EXISTS priority;
ALTER TABLE detections
    DROP CONSTRAINT IF EXISTS detections_rejected_check,
    DROP COLUMN IF EXISTS flank,
    DROP COLUMN IF EXISTS rejected,
    DROP COLUMN IF EXISTS drawn_by;
ALTER TABLE deer
    DROP COLUMN IF EXISTS merged_into,
    DROP COLUMN IF EXISTS age_class,
    DROP COLUMN IF EXISTS aliases,
    DROP COLUMN IF EXISTS sex_said;
ALTER TABLE decisions DISABLE TRIGGER immutable;
UPDATE decisions SET outcome = 'review' WHERE outcome = 'unidentifiable';
ALTER TABLE decisions ENABLE TRIGGER immutable;
ALTER TABLE decisions DROP CONSTRAINT IF EXISTS decisions_outcome_check, DROP CONSTRAINT IF EXISTS decisions_check;
ALTER TABLE decisions
    ADD CONSTRAINT decisions_outcome_check CHECK (outcome IN ('assign', 'new', 'review')),
    ADD CONSTRAINT decisions_check CHECK ((outcome = 'review') = (deer_id IS NULL));
DROP TABLE IF EXISTS edits;
