"""The JSON API: each module gives the routes of one part; all below /api/v1."""
