"""The fixtures of all tests here: lakes of both kinds, new or landed once for all tests.

`conftest.py` brings `isobar` (the path of the binary) and `stack` (the real servers).
"""

import os
import uuid
from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path

import pytest

from support.binary import HDFS_USER, Isobar
from support.database import Database
from support.lake import Lake
from support.malformed import KINDS as MALFORMED
from support.places import HdfsPlace, LocalPlace, Place
from support.topic import Topic
from support.weather_data import AUTUMN, SPRING, Export, build, day_range, many_cities
from support.webhdfs import WebHdfs

LONG = os.environ.get("ISOBAR_TEST_LONG") == "1"


@cache
def everything() -> Export:
    """An export of ordinary days and both clock changes, with every malformed and odd line, and with late and repeated lines."""
    days, cities = (30, 20) if LONG else (2, 3)
    kinds = list(MALFORMED)
    return build(
        [*day_range(date(2026, 1, 15), days), SPRING, AUTUMN],
        many_cities(cities),
        forecasts=2,
        late=500 if LONG else 20,
        redelivered=150 if LONG else 10,
        resent=150 if LONG else 10,
        malformed=(kinds * 2)[:200] if LONG else kinds,
        odd=True,
        file_hours=1 if LONG else 6,
    )


class Lakes:
    """Creates lakes. The landed ones are shared, so tests must not change them."""

    def __init__(self, binary: str, directory: Path, stack: Callable):
        self.binary = binary
        self.directory = directory
        self._stack = stack
        self._landed: dict[tuple[str, str], Lake] = {}
        self._hdfs_root = f"/user/{HDFS_USER}/tests-{uuid.uuid4().hex[:12]}"
        self._hdfs: WebHdfs | None = None

    def new(self, kind: str, **variables: str) -> Lake:
        """An empty lake, "local" or "hdfs"."""
        name = uuid.uuid4().hex[:12]
        place = self._place(kind, name)
        return Lake(place, Isobar.at(self.binary, self.directory / f"work-{name}", place, **variables))

    def landed(self, kind: str, zone: str = "UTC") -> Lake:
        """A lake with `everything()`, landed and aggregated by a machine in that time zone."""
        if (kind, zone) not in self._landed:
            lake = self.new(kind, TZ=zone)
            lake.land_and_aggregate(everything().files)
            self._landed[kind, zone] = lake
        return self._landed[kind, zone]

    def _place(self, kind: str, name: str) -> Place:
        if kind == "local":
            return LocalPlace(self.directory / name)
        stack = self._stack()
        self._hdfs = self._hdfs or WebHdfs(stack.http_url, HDFS_USER)
        return HdfsPlace(stack.rpc_url, self._hdfs, f"{self._hdfs_root}/{name}")


@pytest.fixture(scope="session")
def lakes(request, isobar, tmp_path_factory) -> Lakes:
    # The servers start when the first lake on HDFS is made: tests on local directories alone need none.
    return Lakes(str(isobar), tmp_path_factory.mktemp("lakes"), lambda: request.getfixturevalue("stack"))


@pytest.fixture(params=["local", "hdfs"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def topic(kafka) -> Topic:
    """A new and empty one."""
    return Topic(kafka)


@pytest.fixture
def database(postgres) -> Database:
    """A new and empty one."""
    return Database(postgres)
