-- Migrates the table of the legacy pipeline with its rows: part of version 2, repeated when a dump of that table is restored.
-- The key of a row is topic, topic partition and offset of its message.

ALTER TABLE weather
    ADD COLUMN topic TEXT DEFAULT current_setting('isobar.topic'),
    ADD COLUMN event_time TIMESTAMPTZ;
ALTER TABLE weather ALTER COLUMN topic DROP DEFAULT;

-- Rows that the key excludes from the table. No row is deleted.
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

-- Of rows with the same identity the latest one stays: if the topic was recreated, Kafka has that one.
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

-- The instant of a local time of Europe/Paris. In the repeated hour of autumn it is the instant that lies up to 15 minutes
-- after the message's own time, else the first; PostgreSQL alone would choose the second. A time that no message can have,
-- such as infinity, is kept unchanged, since computing with it may fail.
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
        FROM (SELECT local BETWEEN '0001-01-02' AND '9999-12-30' AS is_possible) AS checked
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
