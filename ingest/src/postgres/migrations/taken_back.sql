-- Somebody went back to the older pipeline and comes again. Its consumer may have lost messages below our positions, and its
-- exporter wrote files since: the topic and the files are read again. Letters, and what was exported, stay as they are. An
-- export that was begun may name rows that are gone.
DELETE FROM isobar.positions;
DELETE FROM isobar.exports;
DELETE FROM isobar.export_topics;
