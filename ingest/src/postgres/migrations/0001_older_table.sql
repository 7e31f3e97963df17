-- The table as the older consumer made it. Where that one ran, it is there already, with its rows.
CREATE TABLE IF NOT EXISTS weather (
    date_time TIMESTAMP,
    msg_offset BIGINT,
    partition INT,
    value JSONB
);
