-- How a decision came about, for A/B tests and monitoring (specification, phase 4).
ALTER TABLE decisions
    ADD COLUMN IF NOT EXISTS arm          TEXT CHECK (arm IN ('control', 'enhanced')),
    ADD COLUMN IF NOT EXISTS milliseconds REAL CHECK (milliseconds >= 0);

CREATE INDEX IF NOT EXISTS ix_decisions_decided_at ON decisions (decided_at);

COMMENT ON COLUMN decisions.arm IS 'Which arm of an A/B test the encounter fell into; NULL outside of one.';
COMMENT ON COLUMN decisions.milliseconds IS 'What the search and the decision took; NULL where a person decided.';
