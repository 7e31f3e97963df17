-- Part of version 3. Repeated when a dump is restored.

-- Time of the last export, for other programs that read it. The legacy exporter used it as its cursor; this one does not.
CREATE TABLE IF NOT EXISTS ref_date (
    ref_date TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    application_name VARCHAR(100) PRIMARY KEY
);
ALTER TABLE ref_date ADD COLUMN IF NOT EXISTS application_name VARCHAR(100);
UPDATE ref_date SET application_name = 'HDFS' WHERE application_name IS NULL;
