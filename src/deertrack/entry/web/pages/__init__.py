"""The pages that people see: each module gives the routes of one part."""
