-- The cursor of the export: offsets of a topic partition that are exported, or that will never have a row.
CREATE TABLE isobar.exported (
    topic TEXT NOT NULL,
    partition INT NOT NULL,
    offsets INT8MULTIRANGE NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- The export that is begun and not finished, at most one for each topic: its offsets, and the name of its files.
CREATE TABLE isobar.exports (
    topic TEXT NOT NULL,
    partition INT NOT NULL,
    offsets INT8MULTIRANGE NOT NULL,
    file TEXT NOT NULL,
    zone TEXT NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- Topics with exports. Before the first export of a topic, the files of the legacy exporter are read.
CREATE TABLE isobar.export_topics (
    topic TEXT PRIMARY KEY,
    earlier_files BIGINT NOT NULL,
    begun_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
