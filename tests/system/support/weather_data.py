"""Export lines as the legacy pipeline wrote them to HDFS, generated deterministically, and the expected result.

`build` returns the files and, beside them, what a correct landing must make of them: the rows that are there once each,
and the lines that are malformed. Nothing here calls isobar. The weather is a pure function of city and instant, so that
any line can be made alone and the same call gives the same bytes everywhere.
"""

import dataclasses
import json
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from support.malformed import KINDS
from support.oddities import ODDITIES

PARIS = ZoneInfo("Europe/Paris")
STEP_S = 600
SPRING = date(2026, 3, 29)  # 23 hours in Paris
AUTUMN = date(2026, 10, 25)  # 25 hours in Paris


@dataclass(frozen=True)
class City:
    id: int
    name: str
    country: str
    lat: float
    lon: float
    zone: str
    mean_temp: float


CITIES = [
    City(2988507, "Paris", "FR", 48.8534, 2.3488, "Europe/Paris", 12.0),
    City(2980291, "Saint-Étienne", "FR", 45.4339, 4.39, "Europe/Paris", 11.0),
    City(2643743, "London", "GB", 51.5085, -0.1257, "Europe/London", 11.5),
    City(6058560, "London", "CA", 42.9834, -81.233, "America/Toronto", 8.0),
    City(1283240, "Kathmandu", "NP", 27.7167, 85.3167, "Asia/Kathmandu", 18.0),
    City(2729907, "Longyearbyen", "SJ", 78.2186, 15.6401, "Arctic/Longyearbyen", -4.0),
]


def many_cities(count: int) -> list[City]:
    """The listed cities, and then invented ones."""
    invented = [
        City(
            9_000_000 + n,
            f"Ville-{n:03d}",
            "FR",
            round(43 + n % 7 + n / 1e4, 4),
            round(n % 11 - 4 + n / 1e4, 4),
            "Europe/Paris",
            6.0 + n % 13,
        )
        for n in range(max(0, count - len(CITIES)))
    ]
    return (CITIES + invented)[:count]


@dataclass(frozen=True)
class Record:
    """A Kafka record: its identity is (partition, offset), its time is `event_at` (UTC epoch seconds)."""

    partition: int
    offset: int
    event_at: int
    value: dict

    @property
    def identity(self) -> tuple[int, int]:
        return self.partition, self.offset

    @property
    def day(self) -> date:
        return paris_day(self.event_at)

    @property
    def path(self) -> str:
        """The path of a file for this record alone, in the directory of its day."""
        return f"dt={self.day}/weather_{self.event_at}_{self.partition}_{self.offset}.json"


@dataclass(frozen=True)
class BadLine:
    """A malformed line: path below the export directory, and line number from 1."""

    path: str
    line: int
    kind: str
    raw: bytes
    # None if the line has no readable identity.
    identity: tuple[int, int] | None


@dataclass
class Export:
    """Files by path below the export directory, and their records and malformed lines."""

    files: dict[str, bytes] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)

    @property
    def days(self) -> list[date]:
        return sorted({record.day for record in self.records})

    def halves(self) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Two halves of the files, by turns, so that both have every day and share redelivered records."""
        paths = sorted(self.files)
        return {p: self.files[p] for p in paths[0::2]}, {p: self.files[p] for p in paths[1::2]}

    def plus(self, records: Iterable[Record]) -> "Export":
        """The export with more records, each in its own file."""
        records = list(records)
        return Export(self.files | {r.path: export_line(r) + b"\n" for r in records}, self.records + records, self.bad)


def paris_day(epoch_s: int) -> date:
    return datetime.fromtimestamp(epoch_s, PARIS).date()


def paris_midnight(day: date) -> int:
    """UTC epoch seconds of the start of a day in Paris. Clock changes there are not at midnight."""
    return int(datetime(day.year, day.month, day.day, tzinfo=PARIS).timestamp())


def day_range(first: date, count: int) -> list[date]:
    return [first + timedelta(days=n) for n in range(count)]


def polls(city: City, days: Iterable[date], step_s: int = STEP_S) -> Iterator[int]:
    """The instants at which a city is polled: every ten minutes of each day in Paris, which has 23, 24 or 25 hours."""
    for day in days:
        for tick in range(paris_midnight(day), paris_midnight(day + timedelta(days=1)), step_s):
            yield tick + 20 + city.id % 37


def message(city: City, event_at: int, forecasts: int = 0) -> dict:
    """A message of the producer: five sections, the observation up to twelve minutes older than the record."""
    chance = random.Random(city.id * 4_294_967_291 + event_at)
    observed_at = event_at - chance.randrange(720)
    weather = _weather(city, observed_at, chance)
    air = {"coord": {"lon": city.lon, "lat": city.lat}, "list": [_air(observed_at, chance)]}
    forecast = _forecast(city, weather, forecasts, chance)
    return {
        "sun_info": sun_info(weather),
        "precipitations_info": precipitations_info(weather),
        "air_pollution": air,
        "forecast": forecast,
        "weather": weather,
    }


def export_line(record: Record) -> bytes:
    """The line of one record, as the export writes it: the local time of Paris without an offset, and UTF-8."""
    return encode(envelope(record))


def envelope(record: Record) -> dict:
    return {
        "kafka_partition": record.partition,
        "kafka_offset": record.offset,
        "event_time": f"{datetime.fromtimestamp(record.event_at, PARIS):%Y-%m-%d %H:%M:%S}",
        "value": record.value,
    }


def encode(value) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


@dataclass(frozen=True)
class _Arrival:
    """A line before it is written. `at` orders the lines; `damage` is the kind of a malformed one."""

    at: int
    city: City
    event_at: int
    value: dict
    damage: str | None = None
    # Arrivals of the same delivery have the same identity.
    delivery: int = 0


def build(
    days: Iterable[date],
    cities: list[City] = CITIES[:3],
    *,
    forecasts: int = 0,
    late: int = 0,
    redelivered: int = 0,
    resent: int = 0,
    malformed: Iterable[str] = (),
    odd: bool = False,
    partitions: int = 2,
    file_hours: int = 6,
    first_offset: int = 0,
    seed: int = 1,
) -> Export:
    """An export of whole days. `late` lines arrive up to 20 hours after their time, `redelivered` ones a second time
    under their identity, `resent` ones under a new offset; `malformed` names kinds, each as often as it is wanted;
    `odd` adds one line of each valid oddity."""
    days = list(days)
    chance = random.Random(seed)
    arrivals = [_Arrival(at, city, at, message(city, at, forecasts)) for city in cities for at in polls(city, days)]
    chance.shuffle(arrivals)
    extra = [_at_random(arrivals, chance, damage=kind) for kind in malformed]
    if odd:
        extra += [_at_random(arrivals, chance, odd=name) for name in ODDITIES]
    for n in range(late):
        arrivals[n] = dataclasses.replace(arrivals[n], at=arrivals[n].at + chance.randrange(1200, 72_000))
    arrivals = [dataclasses.replace(a, delivery=n) for n, a in enumerate(arrivals + extra)]
    plain = [a for a in arrivals if a.damage is None]
    again = [dataclasses.replace(a, at=a.at + chance.randrange(1, 90_000)) for a in chance.sample(plain, redelivered)]
    again += [
        dataclasses.replace(a, at=a.at + chance.randrange(1, 3_600), delivery=len(arrivals) + n)
        for n, a in enumerate(chance.sample(plain, resent))
    ]
    arrivals = sorted(arrivals + again, key=lambda a: (a.at, a.delivery))
    return _write(arrivals, [first_offset] * partitions, file_hours, chance)


def _at_random(arrivals: list[_Arrival], chance: random.Random, damage: str | None = None, odd: str | None = None):
    """Adds a message, one second after an existing one: damaged, or odd but well-formed."""
    model = chance.choice(arrivals)
    at = model.event_at + 1
    value = message(model.city, at, len(model.value["forecast"]["list"]))
    if odd:
        ODDITIES[odd](value)
    return _Arrival(at, model.city, at, value, damage)


def _write(arrivals: list[_Arrival], offsets: list[int], file_hours: int, chance: random.Random) -> Export:
    """Assigns offsets in the order of arrival, with gaps as in Kafka, and writes the files."""
    export = Export()
    delivered: dict[int, Record] = {}
    lines: dict[str, list[bytes]] = {}
    for arrival in arrivals:
        path = _file_of(arrival.at, file_hours)
        record = delivered.get(arrival.delivery)
        first_time = record is None
        if first_time:
            partition = arrival.city.id % len(offsets)
            offsets[partition] += 1 + (chance.random() < 0.02) * chance.randrange(1, 5)
            record = Record(partition, offsets[partition], arrival.event_at, arrival.value)
            delivered[arrival.delivery] = record
        raw = export_line(record)
        if arrival.damage:
            damaged = KINDS[arrival.damage](envelope(record))
            raw, identity = damaged.raw, record.identity if damaged.identified else None
            export.bad.append(BadLine(path, len(lines.get(path, ())) + 1, arrival.damage, raw, identity))
        elif first_time:
            export.records.append(record)
        lines.setdefault(path, []).append(raw)
    export.files = {path: b"\n".join(raws) + b"\n" for path, raws in lines.items()}
    return export


def _file_of(arrived_at: int, file_hours: int) -> str:
    """The legacy exporter named the directory after the day of the export and not of the event: late lines are in a later day."""
    end = arrived_at - arrived_at % (file_hours * 3600) + file_hours * 3600 - 1
    local = datetime.fromtimestamp(end, PARIS)
    return f"dt={paris_day(arrived_at)}/weather_{local:%Y%m%dT%H%M%S}{local.fold:06d}.json"


def _number(value: float) -> float | int:
    """OpenWeather writes a whole number as an integer: 12, then 12.3."""
    rounded = round(value, 2)
    return int(rounded) if rounded == int(rounded) else rounded


def _temperature(city: City, at: int, chance: random.Random) -> float:
    of_year = math.sin((at / 86_400 % 365.25 - 110) / 365.25 * math.tau)
    of_day = math.sin((at / 86_400 + city.lon / 360 - 0.4) * math.tau)
    return city.mean_temp + 9 * of_year + 4 * of_day + chance.gauss(0, 0.8)


def _conditions(*, wet: bool, cold: bool, misty: bool) -> list[dict]:
    if not wet:
        return [{"id": 803, "main": "Clouds", "description": "broken clouds", "icon": "04d"}]
    if cold:
        return [{"id": 600, "main": "Snow", "description": "light snow", "icon": "13d"}]
    return [
        {"id": 500, "main": "Rain", "description": "light rain", "icon": "10d"},
        *([{"id": 701, "main": "Mist", "description": "mist", "icon": "50d"}] if misty else []),
    ]


def _weather(city: City, at: int, chance: random.Random) -> dict:
    temp = _temperature(city, at, chance)
    wet = random.Random(city.id + at // 10_800).random() < 0.3
    pressure = 1013 + round(chance.gauss(0, 6))
    body = {
        "coord": {"lon": city.lon, "lat": city.lat},
        "weather": _conditions(wet=wet, cold=temp < 1, misty=pressure < 1010),
        "base": "stations",
        "main": {
            "temp": _number(temp),
            "feels_like": _number(temp - 1.8 * chance.random()),
            "temp_min": _number(temp - chance.random()),
            "temp_max": _number(temp + chance.random()),
            "pressure": pressure,
            "humidity": chance.randrange(40, 101),
            "sea_level": pressure,
            "grnd_level": pressure - 4,
        },
        "wind": {"speed": _number(chance.random() * 9), "deg": chance.randrange(360)},
        "clouds": {"all": chance.randrange(101)},
        "dt": at,
        "sys": _sun(city, at),
        "timezone": int(datetime.fromtimestamp(at, ZoneInfo(city.zone)).utcoffset().total_seconds()),
        "id": city.id,
        "name": city.name,
        "cod": 200,
    }
    if chance.random() < 0.98:
        body["visibility"] = min(10_000, chance.randrange(2_000, 30_000))
    if chance.random() < 0.6:
        body["wind"]["gust"] = _number(body["wind"]["speed"] * 1.7)
    if wet:
        amounts = {"1h": _number(0.1 + 3 * chance.random())}
        if chance.random() < 0.1:  # bodies before 2020 had this field too
            amounts["3h"] = _number(amounts["1h"] * 2.4)
        body["snow" if temp < 1 else "rain"] = amounts
    return body


def _sun(city: City, at: int) -> dict:
    """Sunrise and sunset; in polar night and polar day OpenWeather writes 0."""
    body = {"type": 2, "id": 2_041_230, "country": city.country}
    if abs(city.lat) > 67:
        return body | {"sunrise": 0, "sunset": 0}
    noon = at - at % 86_400 + 43_200 - round(city.lon * 240)
    half = round(21_600 + 7_200 * math.sin((at / 86_400 % 365.25 - 80) / 365.25 * math.tau))
    return body | {"sunrise": noon - half, "sunset": noon + half}


def _air(at: int, chance: random.Random) -> dict:
    upper = {"co": 600, "no": 9, "no2": 70, "o3": 120, "so2": 15, "pm2_5": 40, "pm10": 60, "nh3": 4}
    return {
        "main": {"aqi": chance.randrange(1, 6)},
        "components": {name: _number(most * chance.random()) for name, most in upper.items()},
        "dt": at,
    }


def _forecast(city: City, weather: dict, count: int, chance: random.Random) -> dict:
    """`count` steps of three hours. The name of the place is French here, and its id the same."""
    first = weather["dt"] - weather["dt"] % 10_800 + 10_800
    return {
        "cod": "200",
        "message": 0,
        "cnt": count,
        "list": [_forecast_entry(city, first + n * 10_800, chance) for n in range(count)],
        "city": {
            "id": city.id,
            "name": {"London": "Londres", "Kathmandu": "Katmandou"}.get(city.name, city.name),
            "coord": {"lat": city.lat, "lon": city.lon},
            "country": city.country,
            "population": 100_000 + city.id % 900_000,
            "timezone": weather["timezone"],
            "sunrise": weather["sys"]["sunrise"],
            "sunset": weather["sys"]["sunset"],
        },
    }


def _forecast_entry(city: City, at: int, chance: random.Random) -> dict:
    temp = _temperature(city, at, chance)
    entry = {
        "dt": at,
        "main": {
            "temp": _number(temp),
            "feels_like": _number(temp - chance.random()),
            "temp_min": _number(temp - 0.5),
            "temp_max": _number(temp + 0.5),
            "pressure": 1013 + round(chance.gauss(0, 6)),
            "sea_level": 1013,
            "grnd_level": 1009,
            "humidity": chance.randrange(40, 101),
            "temp_kf": 0,
        },
        "weather": [{"id": 804, "main": "Clouds", "description": "couvert", "icon": "04n"}],
        "clouds": {"all": chance.randrange(101)},
        "wind": {"speed": _number(9 * chance.random()), "deg": chance.randrange(360), "gust": 9.5},
        "visibility": 10_000,
        "pop": _number(chance.random()),
        "sys": {"pod": "n"},
        "dt_txt": f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%d %H:%M:%S}",
    }
    if entry["pop"] > 0.7:
        entry["snow" if temp < 1 else "rain"] = {"3h": _number(0.1 + 4 * chance.random())}
    return entry


def iso(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, timezone.utc).isoformat()


def sun_info(weather: dict) -> dict:
    """The section of the producer. Its local times have a wrong +00:00, as in the legacy producer."""
    offset = weather["timezone"]
    rise, down = weather["sys"]["sunrise"], weather["sys"]["sunset"]
    known = rise > 0
    return {
        "city": weather["name"],
        "timezone_offset_seconds": offset,
        "sunrise_utc": iso(rise) if known else None,
        "sunset_utc": iso(down) if known else None,
        "sunrise_local": iso(rise + offset) if known else None,
        "sunset_local": iso(down + offset) if known else None,
        "day_length_seconds": down - rise if known else None,
    }


def precipitations_info(weather: dict) -> dict:
    """The section of the producer: always four floats, 0.0 if the API omits an amount."""
    rain, snow = weather.get("rain", {}), weather.get("snow", {})
    return {
        "city": weather["name"],
        "rain_1h": float(rain.get("1h", 0)),
        "rain_3h": float(rain.get("3h", 0)),
        "snow_1h": float(snow.get("1h", 0)),
        "snow_3h": float(snow.get("3h", 0)),
        "units": "mm",
        "timestamp_utc": iso(weather["dt"]),
    }
