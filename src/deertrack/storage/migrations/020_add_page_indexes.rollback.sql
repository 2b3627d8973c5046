DROP INDEX IF EXISTS
    ix_images_unreadable, ix_images_drawn, ix_files_unusable, ix_detections_rejected, ix_encounters_started_at;
