-- What it filled in is true either way.
SELECT 1;
