-- The offsets of a topic partition that were exported, or that will never hold a row: the cursor of the export.
CREATE TABLE isobar.exported (
    topic TEXT NOT NULL,
    partition INT NOT NULL,
    offsets INT8MULTIRANGE NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- The export that was begun and is not finished, at most one of a topic: what it takes, and what its files are called.
CREATE TABLE isobar.exports (
    topic TEXT NOT NULL,
    partition INT NOT NULL,
    offsets INT8MULTIRANGE NOT NULL,
    file TEXT NOT NULL,
    zone TEXT NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- Topics whose exports have begun here. Before the first, the files of the older exporter were read.
CREATE TABLE isobar.export_topics (
    topic TEXT PRIMARY KEY,
    earlier_files BIGINT NOT NULL,
    begun_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
