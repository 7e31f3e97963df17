-- The schema of table weather: search_path may find another table of that name later.
UPDATE isobar.schema_version
SET weather_schema = (
    SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid = to_regclass('weather')
)
WHERE version = 1;
