-- What pages ask of every catalogue, also of one with a million photos: the few rows that matter among very many.
CREATE INDEX IF NOT EXISTS ix_images_unreadable ON images (id) WHERE error IS NOT NULL;
CREATE INDEX IF NOT EXISTS ix_images_drawn ON images (id) WHERE camera ILIKE '%drawn sample%';
CREATE INDEX IF NOT EXISTS ix_files_unusable ON files (path) WHERE error IS NOT NULL;
CREATE INDEX IF NOT EXISTS ix_detections_rejected ON detections (id) WHERE rejected;

-- "Who was met last?" goes back from the last encounter, and ends as soon as a page is full.
CREATE INDEX IF NOT EXISTS ix_encounters_started_at ON encounters (started_at);

-- "Who said last what this is?" is answered without the log's wide rows.
CREATE INDEX IF NOT EXISTS ix_decisions_of_sighting ON decisions (sighting_id, id) INCLUDE (actor, outcome);
DROP INDEX IF EXISTS ix_decisions_sighting_id;
