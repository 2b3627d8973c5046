-- name: room_to_count
-- For counting distinct individuals and nights without going to disk.
SELECT set_config('work_mem', '64MB', true)

-- name: keep
-- Dated sightings as the clocks of their stations showed them, once and narrow; the questions below are asked of it.
CREATE TEMPORARY TABLE seen ON COMMIT DROP AS
SELECT g.deer_id, e.station_id, e.started_at AT TIME ZONE s.timezone AS at
FROM sightings g JOIN encounters e ON e.id = g.encounter_id JOIN stations s ON s.id = e.station_id
WHERE e.started_at IS NOT NULL AND g.state <> 'no animal'
  AND ({station}::text IS NULL OR s.name = {station}::text)

-- name: individuals_by_period
-- "new" and "known" go by an individual's first sighting ever, also where that lies before the time asked about.
WITH firsts AS (SELECT deer_id, min(at) AS first FROM seen WHERE deer_id IS NOT NULL GROUP BY 1),
made AS (SELECT date_trunc(%(by)s, first) AS period, count(*) AS new FROM firsts GROUP BY 1),
met AS (SELECT date_trunc(%(by)s, at) AS period, count(deer_id) AS sightings, count(DISTINCT deer_id) AS individuals
        FROM seen WHERE at >= %(since)s AND at < %(until)s GROUP BY 1),
span AS (SELECT generate_series(min(period), max(period), ('1 ' || %(by)s)::interval) AS period FROM met)
SELECT span.period, coalesce(met.sightings, 0) AS sightings, coalesce(met.individuals, 0) AS individuals,
       coalesce(made.new, 0) AS new,
       (SELECT coalesce(sum(m.new), 0)::bigint FROM made m WHERE m.period <= span.period) AS known
FROM span LEFT JOIN met USING (period) LEFT JOIN made USING (period) ORDER BY 1

-- name: discovery
-- Every individual's first sighting on the way through all sightings, day by day.
WITH firsts AS (SELECT deer_id, min(at) AS first FROM seen WHERE deer_id IS NOT NULL GROUP BY 1),
made AS (SELECT first::date AS day, count(*) AS new FROM firsts GROUP BY 1),
met AS (SELECT at::date AS day, count(*) AS sightings FROM seen WHERE deer_id IS NOT NULL GROUP BY 1)
SELECT met.day, sum(met.sightings) OVER (ORDER BY met.day)::bigint AS sightings,
       sum(coalesce(made.new, 0)) OVER (ORDER BY met.day)::bigint AS individuals
FROM met LEFT JOIN made USING (day) ORDER BY 1

-- name: by_hour
SELECT s.name AS station, c.hour, c.sightings
FROM (SELECT station_id, extract(hour FROM at)::int AS hour, count(*) AS sightings
      FROM seen WHERE at >= %(since)s AND at < %(until)s GROUP BY 1, 2) c
JOIN stations s ON s.id = c.station_id ORDER BY 1, 2

-- name: by_station
SELECT s.name AS station, c.period, c.sightings, c.individuals
FROM (SELECT station_id, date_trunc(%(by)s, at) AS period, count(*) AS sightings,
             count(DISTINCT deer_id) AS individuals
      FROM seen WHERE at >= %(since)s AND at < %(until)s GROUP BY 1, 2) c
JOIN stations s ON s.id = c.station_id ORDER BY 1, 2

-- name: composition
-- Individuals that were seen there and then; without any limits also those whose photos have no time.
SELECT d.sex, d.age_class, count(*) AS individuals FROM deer d
WHERE d.status = 'active'
  AND (%(all)s OR d.id IN (SELECT deer_id FROM seen WHERE at >= %(since)s AND at < %(until)s))
GROUP BY 1, 2 ORDER BY 1, 2

-- name: nights
-- How much was watched: a night is from noon to noon, and counts where the camera took any photo. OFFSET 0: the zone is
-- looked up once for each photo. No clock is more than a day from UTC, so the index finds the period.
SELECT s.name AS station, date_trunc(%(by)s, n.night::timestamp) AS period, count(*) AS nights,
       sum(n.photos)::bigint AS photos
FROM (SELECT station_id, (local - interval '12 hours')::date AS night, count(*) AS photos
      FROM (SELECT i.station_id, i.taken_at AT TIME ZONE z.timezone AS local
            FROM images i JOIN stations z ON z.id = i.station_id
            WHERE i.taken_at IS NOT NULL AND (%(station)s::text IS NULL OR z.name = %(station)s)
              AND i.taken_at >= %(since)s::timestamp - interval '1 day'
              AND i.taken_at < %(until)s::timestamp + interval '1 day' OFFSET 0) l
      WHERE local >= %(since)s AND local < %(until)s
      GROUP BY 1, 2) n
JOIN stations s ON s.id = n.station_id
GROUP BY 1, 2 ORDER BY 1, 2

-- name: waiting
-- By the week in which they came.
SELECT date_trunc('week', created_at)::date AS week, count(*) AS waiting
FROM sightings WHERE state = 'review' GROUP BY 1 ORDER BY 1

-- name: answered
-- What people decided, by day.
SELECT decided_at::date AS day, count(*) AS answers, count(DISTINCT actor) AS people
FROM decisions WHERE actor <> 'machine' AND decided_at >= %(since)s GROUP BY 1 ORDER BY 1

-- name: station_names
SELECT name FROM stations ORDER BY name
