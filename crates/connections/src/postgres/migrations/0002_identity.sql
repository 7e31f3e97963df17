-- Topics, with the id that distinguishes a recreated topic from the deleted one.
CREATE TABLE isobar.topics (
    topic TEXT PRIMARY KEY,
    topic_id UUID NOT NULL
);

-- Next offset of each topic partition. Written in the transaction of the rows.
CREATE TABLE isobar.positions (
    topic TEXT NOT NULL REFERENCES isobar.topics,
    partition INT NOT NULL,
    next_offset BIGINT NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- Messages that are not JSON, or that JSONB cannot hold.
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
