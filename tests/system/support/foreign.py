"""Local tables of another writer, and the same rows in DuckDB, the oracle."""

import re
import subprocess
import sys
from pathlib import Path

import deltalake
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq


class Foreign:
    """A local lake of tables by deltalake, and a DuckDB with the same tables."""

    def __init__(self, lake: Path):
        self.lake = lake
        self.oracle = duckdb.connect(config={"threads": 2})
        self.oracle.execute("SET TimeZone = 'UTC'")

    def __enter__(self) -> "Foreign":
        return self

    def __exit__(self, *_) -> None:
        self.oracle.close()

    def write(self, name: str, rows: pa.Table, files: int = 1) -> None:
        """Writes the rows in `files` files of similar size."""
        each = -(-rows.num_rows // files)
        for at in range(0, rows.num_rows, each):
            deltalake.write_deltalake(self.lake / name, rows.slice(at, each), mode="append")
        self.know(name, rows)

    def know(self, name: str, rows: pa.Table) -> None:
        """Adds the table to the oracle only. Instants have no zone there, like literals."""
        self.oracle.register("given", without_zone(rows))
        self.oracle.execute(f'CREATE TABLE "{name}" AS SELECT * FROM given')
        self.oracle.unregister("given")

    def right(self, sql: str) -> pa.Table:
        return self.oracle.sql(sql).to_arrow_table()


def without_zone(rows: pa.Table) -> pa.Table:
    fields = [
        field.with_type(pa.timestamp("us")) if pa.types.is_timestamp(field.type) else field for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))


def statements(path: Path) -> dict[str, str]:
    """The statements of a file by their name: each stands below a line `-- NAME` or `-- NAME: title` and ends in `;`."""
    found = re.findall(r"^-- (\w+)(?:: [^\n]*)?\n(.*?);$", path.read_text(), re.MULTILINE | re.DOTALL)
    return dict(found)


def tpch(scale: float, into: Path) -> dict[str, pa.Table]:
    """The eight tables of TPC-H."""
    write_tpch(scale, into)
    return {path.stem: pq.read_table(path) for path in sorted(into.glob("*.parquet"))}


def write_tpch(scale: float, into: Path) -> None:
    """As Parquet, by the generator tpchgen."""
    generator = Path(sys.executable).with_name("tpchgen-cli")
    subprocess.run([generator, "parquet", "-s", str(scale), "--output-dir", into], check=True, capture_output=True)
