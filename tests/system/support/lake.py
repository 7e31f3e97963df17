"""A lake under test: its place, and the binary that is configured for it."""

import json
from datetime import date

from support import delta, oracle
from support.binary import Isobar, Outcome
from support.places import Place, put_export
from support.weather_data import BadLine, Export, Record

DAILY = "weather/daily_weather_by_city"
DAILY_TABLE = "daily_weather_by_city"


class Lake:
    def __init__(self, place: Place, isobar: Isobar):
        self.place = place
        self.isobar = isobar

    def put(self, files: dict[str, bytes]) -> None:
        put_export(self.place, files)

    def land(self) -> Outcome:
        return self.isobar.land(self.place.export_url)

    def aggregate(self, *arguments: str) -> Outcome:
        return self.isobar.ok("run", DAILY, *(arguments or ["--all"]))

    def land_and_aggregate(self, files: dict[str, bytes]) -> None:
        self.put(files)
        self.land()
        self.aggregate()

    def rows(self, table: str, columns: list[str] | None = None) -> list[dict]:
        return delta.rows(self.place, table, columns)

    def aggregates_path(self, day: date) -> str:
        return f"weather/dt={day}/aggregates.jsonl"

    def aggregates(self, day: date) -> list[dict]:
        """The lines of the day's `aggregates.jsonl`."""
        return [json.loads(line) for line in self.place.read(self.aggregates_path(day)).splitlines()]

    def commits(self) -> int:
        """The number of commits of table `weather`, including its creation."""
        return delta.versions_seen(self.place, "weather")

    def identities(self) -> list[tuple[int, int]]:
        """The identities in table `weather`, including duplicates."""
        return sorted(
            (row["kafka_partition"], row["kafka_offset"])
            for row in self.rows("weather", ["kafka_partition", "kafka_offset"])
        )

    def must_hold(self, export: Export) -> None:
        """Asserts that rows, dead letters and daily aggregates match the export, through every client."""
        self.must_have_landed(export.records, export.bad)
        expected = oracle.daily_weather_by_city(export.records)
        oracle.compare_daily(self.rows(DAILY_TABLE), expected)
        oracle.compare_daily(self.isobar.query(f"SELECT * FROM {DAILY_TABLE}"), expected)
        for day in export.days:
            oracle.compare_daily(self.aggregates(day), oracle.daily_weather_by_city(export.records, day))

    def must_have_landed(self, records: list[Record], bad: list[BadLine]) -> None:
        assert self.identities() == oracle.identities(records)
        oracle.compare_observations(self.rows("weather"), records)
        oracle.compare_forecasts(self.rows("weather_forecast"), records)
        oracle.compare_dead_letters(self.rows("dead_letters"), bad)
