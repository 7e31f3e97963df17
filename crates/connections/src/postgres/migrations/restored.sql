-- The user returned to the legacy pipeline and came back. Its consumer may have lost messages below our positions, and its
-- exporter may have written files: the topic and the files are read again. Dead letters and exported offsets stay. An export
-- that was begun may name rows that no longer exist.
DELETE FROM isobar.positions;
DELETE FROM isobar.exports;
DELETE FROM isobar.export_topics;
