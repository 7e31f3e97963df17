ALTER TABLE isobar.schema_version ADD COLUMN weather_schema TEXT;
