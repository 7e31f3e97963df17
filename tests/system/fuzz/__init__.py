"""Random statements over random tables, judged by DuckDB, by twins of the tables, and by themselves; see `__main__`."""
