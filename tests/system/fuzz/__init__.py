"""Random statements over random tables, compared with DuckDB, with twins of the tables, and with each other; see `__main__`."""
