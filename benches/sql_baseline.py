"""The baseline of benches/sql.py: DataFusion with its defaults, over the same Parquet files.

    sql_baseline.py LAKE     for each line of stdin, a statement as a JSON text, prints the seconds of it and its number of rows

The directories below LAKE are its tables.
"""

import json
import sys
import time
from pathlib import Path

import datafusion
import pyarrow as pa


def main() -> None:
    context = datafusion.SessionContext()
    for table in Path(sys.argv[1]).iterdir():
        columns = [("dt", pa.date32())] if any(table.glob("dt=*")) else []
        context.register_parquet(table.name, str(table), table_partition_cols=columns)
    for line in sys.stdin:
        started = time.perf_counter()
        rows = sum(batch.num_rows for batch in context.sql(json.loads(line)).collect())
        print(json.dumps([time.perf_counter() - started, rows]), flush=True)


if __name__ == "__main__":
    main()
