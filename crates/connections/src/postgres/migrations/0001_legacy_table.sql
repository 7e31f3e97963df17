-- The table as the legacy consumer creates it. A database of that consumer has it already, with rows.
CREATE TABLE IF NOT EXISTS weather (
    date_time TIMESTAMP,
    msg_offset BIGINT,
    partition INT,
    value JSONB
);
