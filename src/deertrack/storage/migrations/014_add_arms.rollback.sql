DROP INDEX IF EXISTS ix_decisions_decided_at;
ALTER TABLE decisions DROP COLUMN IF EXISTS arm, DROP COLUMN IF EXISTS milliseconds;
