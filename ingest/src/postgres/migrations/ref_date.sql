-- Part of version 3, and done again when a dump was restored.

-- When rows were exported last, for those who read it. It was the cursor of the older exporter, and is one no more.
CREATE TABLE IF NOT EXISTS ref_date (
    ref_date TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    application_name VARCHAR(100) PRIMARY KEY
);
ALTER TABLE ref_date ADD COLUMN IF NOT EXISTS application_name VARCHAR(100);
UPDATE ref_date SET application_name = 'HDFS' WHERE application_name IS NULL;
