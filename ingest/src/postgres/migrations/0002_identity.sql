-- A message is known by topic, topic partition and offset, and stands in the table once.

ALTER TABLE weather
    ADD COLUMN topic TEXT DEFAULT current_setting('isobar.topic'),
    ADD COLUMN event_time TIMESTAMPTZ;
ALTER TABLE weather ALTER COLUMN topic DROP DEFAULT;

-- What cannot stay in the table is kept here. No row is deleted.
CREATE TABLE isobar.set_aside (
    LIKE weather,
    reason TEXT NOT NULL
);

WITH moved AS (
    DELETE FROM weather
    WHERE partition IS NULL OR msg_offset IS NULL OR date_time IS NULL OR value IS NULL
    RETURNING weather.*
)
INSERT INTO isobar.set_aside
SELECT *, 'incomplete' FROM moved;

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
-- after the message's own moment, else the first; PostgreSQL by itself takes the second.
CREATE FUNCTION pg_temp.instant(local TIMESTAMP, message JSONB) RETURNS TIMESTAMPTZ LANGUAGE SQL STABLE AS $$
    SELECT CASE
        WHEN (later - INTERVAL '1 hour') AT TIME ZONE 'Europe/Paris' <> local
            OR later - observed BETWEEN INTERVAL '0' AND INTERVAL '15 minutes'
            THEN later
        ELSE later - INTERVAL '1 hour'
    END
    FROM (
        SELECT
            local AT TIME ZONE 'Europe/Paris' AS later,
            CASE
                WHEN message #> '{weather,dt}' @? 'strict $ ? (@.type() == "number" && @ >= 1 && @ < 100000000000)'
                    THEN to_timestamp((message #>> '{weather,dt}')::DOUBLE PRECISION)
            END AS observed
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

-- Topics, and which of that name each is.
CREATE TABLE isobar.topics (
    topic TEXT PRIMARY KEY,
    topic_id UUID NOT NULL
);

-- How far each topic partition was consumed. Written with the rows, in one transaction.
CREATE TABLE isobar.positions (
    topic TEXT NOT NULL REFERENCES isobar.topics,
    partition INT NOT NULL,
    next_offset BIGINT NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- Messages that are no JSON, or that JSONB cannot hold.
CREATE TABLE isobar.dead_letters (
    topic TEXT NOT NULL,
    partition INT NOT NULL,
    msg_offset BIGINT NOT NULL,
    received_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    value BYTEA NOT NULL,
    PRIMARY KEY (topic, partition, msg_offset)
);
