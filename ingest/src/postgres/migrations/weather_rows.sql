-- What makes the older pipeline's table ours, with its rows: part of version 2, and done again when a dump of it was restored.
-- A message is known by topic, topic partition and offset, and stands in the table once.

ALTER TABLE weather
    ADD COLUMN topic TEXT DEFAULT current_setting('isobar.topic'),
    ADD COLUMN event_time TIMESTAMPTZ;
ALTER TABLE weather ALTER COLUMN topic DROP DEFAULT;

-- What cannot stay in the table is kept here. No row is deleted.
CREATE TABLE IF NOT EXISTS isobar.set_aside (
    LIKE weather,
    reason TEXT NOT NULL
);

WITH moved AS (
    DELETE FROM weather
    WHERE partition IS NULL OR msg_offset IS NULL OR date_time IS NULL OR value IS NULL OR partition < 0 OR msg_offset < 0
    RETURNING weather.*
)
INSERT INTO isobar.set_aside
SELECT *, CASE WHEN partition < 0 OR msg_offset < 0 THEN 'no offset that Kafka has' ELSE 'incomplete' END FROM moved;

-- Of rows with one identity the latest stays: it is what Kafka has, should the topic have been created anew.
WITH ranked AS (
    SELECT
        ctid AS place,
        row_number() OVER copies AS number,
        (date_time, value) = (first_value(date_time) OVER copies, first_value(value) OVER copies) AS is_same
    FROM weather
    WINDOW copies AS (PARTITION BY partition, msg_offset ORDER BY date_time DESC, ctid)
),
moved AS (
    DELETE FROM weather
    USING ranked
    WHERE weather.ctid = ranked.place AND ranked.number > 1
    RETURNING weather.*, CASE WHEN ranked.is_same THEN 'duplicate' ELSE 'another message of the same offset' END
)
INSERT INTO isobar.set_aside
SELECT * FROM moved;

-- The instant of a local time of Europe/Paris. The hour that comes twice in autumn is the one that begins up to 15 minutes
-- after the message's own moment, else the first; PostgreSQL by itself takes the second. A time that no message can have, as
-- infinity, is kept as it is, since to compute with it may be an error.
CREATE FUNCTION pg_temp.instant(local TIMESTAMP, message JSONB) RETURNS TIMESTAMPTZ LANGUAGE SQL STABLE AS $$
    SELECT CASE
        WHEN NOT is_possible THEN later
        WHEN (later - INTERVAL '1 hour') AT TIME ZONE 'Europe/Paris' <> local
            OR later - observed BETWEEN INTERVAL '0' AND INTERVAL '15 minutes'
            THEN later
        ELSE later - INTERVAL '1 hour'
    END
    FROM (
        SELECT
            is_possible,
            local AT TIME ZONE CASE WHEN is_possible THEN 'Europe/Paris' ELSE 'UTC' END AS later,
            CASE
                WHEN message #> '{weather,dt}' @? 'strict $ ? (@.type() == "number" && @ >= 1 && @ < 100000000000)'
                    THEN to_timestamp((message #>> '{weather,dt}')::DOUBLE PRECISION)
            END AS observed
        FROM (SELECT local BETWEEN '0001-01-02' AND '9999-12-30' AS is_possible) AS judged
    ) AS read
$$;
UPDATE weather SET event_time = pg_temp.instant(date_time, value);
DROP FUNCTION pg_temp.instant;

ALTER TABLE weather
    ALTER COLUMN topic SET NOT NULL,
    ALTER COLUMN partition SET NOT NULL,
    ALTER COLUMN msg_offset SET NOT NULL,
    ALTER COLUMN date_time SET NOT NULL,
    ALTER COLUMN event_time SET NOT NULL,
    ALTER COLUMN value SET NOT NULL,
    ADD PRIMARY KEY (topic, partition, msg_offset);

COMMENT ON COLUMN weather.date_time IS 'When Kafka took the message, as local time of Europe/Paris';
COMMENT ON COLUMN weather.event_time IS 'When Kafka took the message';
