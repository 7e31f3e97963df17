"""The baseline of benches/lake.py, as in the legacy pipeline: one Python process reads every export file over WebHDFS, parses each line
and adds it up in a dictionary by day and city.

    mapreduce_baseline.py HTTP_URL PATH     prints the rows as JSON Lines, and the seconds of the pass to stderr

It is as fast as its design allows: whole files per request, plain json, no classes, no parsing of dates.
"""

import json
import sys
import time

from support.webhdfs import WebHdfs

USER = "hdfs"
AMOUNTS = ["rain_1h", "rain_3h", "snow_1h", "snow_3h"]


def add(groups: dict, text: bytes) -> None:
    """Adds an export line to its group: [city, country, count, sum, min, max, AQI, four amounts]."""
    line = json.loads(text)
    value = line["value"]
    weather = value["weather"]
    temp = weather["main"]["temp"]
    fallen = value["precipitations_info"]
    key = line["event_time"][:10], weather["id"]
    group = groups.get(key)
    if group is None:
        group = groups[key] = [
            weather["name"],
            weather["sys"].get("country"),
            0,
            0.0,
            temp,
            temp,
            0,
            0.0,
            0.0,
            0.0,
            0.0,
        ]
    group[2] += 1
    group[3] += temp
    if temp < group[4]:
        group[4] = temp
    if temp > group[5]:
        group[5] = temp
    group[6] += value["air_pollution"]["list"][0]["main"]["aqi"]
    group[7] += fallen["rain_1h"]
    group[8] += fallen["rain_3h"]
    group[9] += fallen["snow_1h"]
    group[10] += fallen["snow_3h"]


def aggregate(client: WebHdfs, path: str) -> dict:
    groups: dict = {}
    for status in client.walk(path):
        if status.path.endswith(".json"):
            for text in client.read(status.path).splitlines():
                add(groups, text)
    return groups


def row(key: tuple, group: list) -> dict:
    city, country, count, total, lowest, highest, aqi, *amounts = group
    sums = {f"{name}_sum": amount for name, amount in zip(AMOUNTS, amounts, strict=True)}
    return {
        "dt": key[0],
        "city_id": key[1],
        "city": city,
        "country": country,
        "observations": count,
        "temp_avg": total / count,
        "temp_min": lowest,
        "temp_max": highest,
        "aqi_avg": aqi / count,
        **sums,
    }


def main() -> None:
    http_url, path = sys.argv[1:]
    started = time.perf_counter()
    groups = aggregate(WebHdfs(http_url, USER), path)
    seconds = time.perf_counter() - started
    for key in sorted(groups):
        print(json.dumps(row(key, groups[key])))
    print(f"{seconds:.3f}", file=sys.stderr)


if __name__ == "__main__":
    main()
