"""Pure ideas: records, vectors, encounters, decisions, metrics. No clock, file, socket or database."""
