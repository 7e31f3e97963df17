"""HBase as a foreign client sees it."""

import contextlib
from collections.abc import Iterator

import happybase


@contextlib.contextmanager
def connected(hbase: dict[str, str], limit_s: int = 30) -> Iterator[happybase.Connection]:
    """A connection to the Thrift server that these variables name; one call takes at most `limit_s`."""
    host, port = hbase["HBASE_HOST"], int(hbase["HBASE_PORT"])
    with contextlib.closing(happybase.Connection(host, port, timeout=limit_s * 1000)) as connection:
        yield connection
