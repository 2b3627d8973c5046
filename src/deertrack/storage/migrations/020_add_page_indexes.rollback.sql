DROP INDEX IF EXISTS
    ix_images_unreadable, ix_images_drawn, ix_files_unusable, ix_detections_rejected, ix_encounters_started_at,
    ix_decisions_of_sighting;
CREATE INDEX IF NOT EXISTS ix_decisions_sighting_id ON decisions (sighting_id);
