"""Tables of benches/sql.py beside those of TPC-H: weather in the landed form, and large columns of integers."""

from datetime import date, timedelta
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.compute as pc

CITIES = 100
# A message every ten minutes.
A_DAY = 144
FIRST_DAY = date(2026, 1, 1)
CONDITIONS = [("Clear", "clear sky", 800), ("Clouds", "few clouds", 801), ("Rain", "moderate rain", 501), ("Snow", "light snow", 600), ("Mist", "mist", 701)]


def write_weather(path: Path, rows: int) -> None:
    """Writes rows of every city, with a partition for each day."""
    each = CITIES * A_DAY
    for number in range(-(-rows // each)):
        day = FIRST_DAY + timedelta(days=number)
        part = _day(number, day, min(each, rows - number * each))
        deltalake.write_deltalake(path, part, mode="append", partition_by=["dt"])


def _scattered(index: pa.Array, factor: int, below: int) -> pa.Array:
    """Pseudorandom integers from 0, the same in every run."""
    mixed = pc.bit_wise_and(pc.multiply(index, factor), 0x7FFF_FFFF)
    mixed = pc.bit_wise_xor(mixed, pc.shift_right(mixed, 13))
    return pc.subtract(mixed, pc.multiply(pc.divide(mixed, below), below))


def _measure(index: pa.Array, factor: int, lowest: float, highest: float) -> pa.Array:
    """Numbers with two decimals."""
    steps = round((highest - lowest) * 100)
    return pc.add(pc.divide(pc.cast(_scattered(index, factor, steps), pa.float64()), 100.0), lowest)


def _day(number: int, day: date, count: int) -> pa.Table:
    index = pa.array(range(number * CITIES * A_DAY, number * CITIES * A_DAY + count), pa.int64())
    city = _scattered(index, 2_654_435_761, CITIES)
    slot = pc.divide(pc.subtract(index, number * CITIES * A_DAY), CITIES)
    midnight = (day - date(1970, 1, 1)).days * 86_400
    instant = pc.multiply(pc.add(pc.multiply(slot, 600), midnight), 1_000_000)
    kind = _scattered(index, 40_503, len(CONDITIONS))
    names = pa.array([f"City of number {at}" for at in range(CITIES)])
    columns = {
        "dt": pa.array([day] * count, pa.date32()),
        "event_time": pc.cast(instant, pa.timestamp("us", "UTC")),
        "city_id": city,
        "city": names.take(city),
        "condition_id": pa.array([of for _, _, of in CONDITIONS], pa.int64()).take(kind),
        "condition": pa.array([of for of, _, _ in CONDITIONS]).take(kind),
        "description": pa.array([of for _, of, _ in CONDITIONS]).take(kind),
        "aqi": pc.add(_scattered(index, 69_621, 5), 1),
    }
    ranges = {"temp": (-20, 40), "feels_like": (-30, 45), "pressure": (950, 1050), "humidity": (0, 100), "wind_speed": (0, 40), "wind_gust": (0, 60), "clouds": (0, 100), "rain_1h": (0, 20), "co": (0, 500), "no2": (0, 100), "o3": (0, 200), "pm2_5": (0, 80), "pm10": (0, 120), "nh3": (0, 20)}
    columns |= {
        name: _measure(index, 16_807 + 48_271 * at, lowest, highest)
        for at, (name, (lowest, highest)) in enumerate(ranges.items())
    }
    columns |= {"kafka_partition": pc.cast(_scattered(index, 3, 3), pa.int32()), "kafka_offset": index}
    return pa.table(columns | {"value": _messages(columns)})


def _messages(columns: dict[str, pa.Array]) -> pa.Array:
    def text(name: str) -> pa.Array:
        return pc.cast(columns[name], pa.string())

    parts = [
        '{"weather":{"name":"', columns["city"], '","weather":[{"id":', text("condition_id"), ',"main":"', columns["condition"],
        '","description":"', columns["description"], '","icon":"04n"}],"main":{"temp":', text("temp"), ',"feels_like":', text("feels_like"),
        ',"pressure":', text("pressure"), ',"humidity":', text("humidity"), '},"wind":{"speed":', text("wind_speed"), ',"gust":', text("wind_gust"),
        '}},"air_pollution":{"list":[{"components":{"co":', text("co"), ',"o3":', text("o3"), ',"pm2_5":', text("pm2_5"), "}}]}}",
    ]  # fmt: skip
    return pc.binary_join_element_wise(*parts, "")


def write_integers(path: Path, rows: int, files: int = 8) -> None:
    """Columns `a`, `b` and `c` whose products stay within 64 bits, and the keys `k` of a thousand groups."""
    each = -(-rows // files)
    for first in range(0, rows, each):
        index = pa.array(range(first, min(first + each, rows)), pa.int64())
        columns = {
            name: _scattered(index, factor, below)
            for name, factor, below in [("a", 16_807, 1 << 30), ("b", 48_271, 1 << 30), ("c", 69_621, 1 << 30), ("k", 40_503, 1000)]
        }
        deltalake.write_deltalake(path, pa.table(columns), mode="append")
