"""Other people's files turned into domain records, and back. Knows no database."""
