"""An OpenWeather API for tests: the weather of `weather_data` over HTTP, with configured failures, latency and rate limit.

It records the bodies that it served, so that a test knows what was fetched. Every current weather
carries a number of its own, `served`, which the real API has not.
"""

import json
import random
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from support.binary import CANARIES
from support.weather_data import STEP_S, City, message

KEY = CANARIES["OPENWEATHER_API_KEY"]
GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
# The failures of a call: status and body, or the fault of the connection.
FAILURES = {
    "500": (500, b'{"cod":"500","message":"Internal error: 500001"}'),
    "502": (502, GATEWAY),
    "503": (503, b""),
    "200, but HTML": (200, GATEWAY),
    "200, but an error": (200, b'{"cod":429,"message":"in disguise"}'),
    "cut short": None,
    "reset": None,
}
# Default number of steps of a forecast.
FORECASTS = 2
# For the coordinates that the geocoder returns for a city, the API returns a district with another id and name.
OFF_CENTRE = (0.0055, -0.0288)
DISTRICT = 4_000_000


def geocoded(city: City) -> tuple[float, float]:
    return round(city.lat + OFF_CENTRE[0], 4), round(city.lon + OFF_CENTRE[1], 4)


@dataclass
class Call:
    """A call and the status of its response; 0 without a complete response."""

    path: str
    city: str
    at: float
    status: int = 0


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class OpenWeather:
    """The server, on a free port until the end of its `with` block."""

    def __init__(
        self,
        cities: Iterable[City],
        *,
        clock: Callable[[], float] = time.time,
        fail_rate: float = 0.0,
        latency_s: float = 0.0,
        calls_per_window: int = 0,
        window_s: float = 60.0,
        retry_after_s: int | None = None,
        forecasts: dict[int, int] | None = None,
        seed: int = 1,
    ):
        self.cities = list(cities)
        self.clock, self.fail_rate, self.latency_s = clock, fail_rate, latency_s
        self.calls_per_window, self.window_s, self.retry_after_s = calls_per_window, window_s, retry_after_s
        # By city id.
        self.forecasts = forecasts or {}
        # Ids of the cities whose calls all fail.
        self.broken: set[int] = set()
        self.calls: list[Call] = []
        # Completely sent bodies by endpoint; those of current weather by number.
        self.weather: dict[int, bytes] = {}
        self.others: dict[str, set[bytes]] = {"forecast": set(), "air_pollution": set()}
        self._chance = random.Random(seed)
        self._failed = Counter()
        self._window: deque[float] = deque()
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> "OpenWeather":
        self._start(0)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        """Closes the port."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def runs(self, server: ThreadingHTTPServer) -> bool:
        """Whether this server is the current one: a connection may still belong to a stopped one."""
        return server is self._server

    def start(self) -> None:
        """Restarts at the same address."""
        self._start(self.port)

    def _start(self, port: int) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.world = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def served(self, city: City) -> list[int]:
        """The numbers of the completely sent current weather of a city, in order."""
        with self._lock:
            return sorted(number for number, body in self.weather.items() if json.loads(body)["id"] == city.id)

    def count(self, status: int | None = None) -> int:
        with self._lock:
            return sum(1 for call in self.calls if status in (None, call.status))

    def take(self, path: str, query: dict[str, str]) -> tuple[Call, Answer | str]:
        """The response to a call, or its kind of failure."""
        city = query.get("q") or query.get("id") or f"{query.get('lat')},{query.get('lon')}"
        call = Call(path, city, time.monotonic())
        with self._lock:
            self.calls.append(call)
            if query.get("appid") != KEY:
                text = f'{{"cod":401,"message":"Invalid API key {query.get("appid")}. Please see faq#error401."}}'
                return call, Answer(401, text.encode())
            if not self._is_within_limit(call.at):
                after = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
                return call, Answer(429, b'{"cod":429,"message":"Your account is temporary blocked."}', after)
            city = self._city(query)
            if city and (city.id in self.broken or self._fails(path, city)):
                return call, self._chance.choice(list(FAILURES))
            return call, self._answer(path, query, city)

    def sent(self, call: Call, answer: Answer) -> None:
        """Records that the response was sent completely."""
        endpoint = call.path.rsplit("/", 1)[1]
        with self._lock:
            call.status = answer.status
            if answer.status == 200 and b'"served"' in answer.body:
                self.weather[json.loads(answer.body)["served"]] = answer.body
            elif answer.status == 200 and endpoint in self.others:
                self.others[endpoint].add(answer.body)

    def _is_within_limit(self, now: float) -> bool:
        while self._window and self._window[0] <= now - self.window_s:
            self._window.popleft()
        if self.calls_per_window and len(self._window) >= self.calls_per_window:
            return False
        self._window.append(now)
        return True

    def _fails(self, path: str, city: City) -> bool:
        """Fails at the configured rate, but at most twice in a row for one call, so that retries succeed."""
        fails = self._chance.random() < self.fail_rate and self._failed[path, city.id] < 2
        self._failed[path, city.id] = self._failed[path, city.id] + 1 if fails else 0
        return fails

    def _answer(self, path: str, query: dict[str, str], city: City | None) -> Answer:
        if path == "/geo/1.0/direct":
            if city is None:
                return _json(200, [])
            lat, lon = geocoded(city)
            return _json(200, [{"name": city.name, "lat": lat, "lon": lon, "country": city.country}])
        if city is None:
            return _json(404, {"cod": "404", "message": "city not found"})
        at = int(self.clock())
        sections = message(city, at - at % STEP_S, self.forecasts.get(city.id, FORECASTS))
        endpoint = path.rsplit("/", 1)[1]
        if not path.startswith("/data/2.5/") or endpoint not in sections:
            return _json(404, {"cod": "404", "message": "Internal error"})
        body = sections[endpoint]
        # A call without units only locates an id.
        if endpoint == "weather" and "units" in query:
            assert query["units"] == "metric"
            body = body | {"served": len(self.calls)}
            if "lat" in query and _place(query) == geocoded(city):
                body |= {"id": city.id + DISTRICT, "name": f"a district of {city.name}"}
        return _json(200, body)

    def _city(self, query: dict[str, str]) -> City | None:
        if name := query.get("q"):
            wanted = [part.casefold() for part in name.split(",")]
            full = ((city, [city.name.casefold(), city.country.casefold()]) for city in self.cities)
            return next((city for city, names in full if names[: len(wanted)] == wanted), None)
        if number := query.get("id"):
            return next((city for city in self.cities if str(city.id) == number), None)
        place = _place(query)
        return next((city for city in self.cities if place in [(city.lat, city.lon), geocoded(city)]), None)


def _place(query: dict[str, str]) -> tuple[float, float]:
    return float(query["lat"]), float(query["lon"])


def _json(status: int, body) -> Answer:
    return Answer(status, json.dumps(body, ensure_ascii=False).encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 100
    world: OpenWeather

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client may be killed or time out
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:  # noqa: N802
        world, parts = self.server.world, urlsplit(self.path)
        if not world.runs(self.server):
            self.close_connection = True
            return
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        call, answer = world.take(parts.path, query)
        if world.latency_s:
            time.sleep(world.latency_s)
        if isinstance(answer, str):
            self._fail(answer)
            return
        self._send(answer, len(answer.body))
        world.sent(call, answer)

    def _fail(self, kind: str) -> None:
        if FAILURES[kind]:
            status, body = FAILURES[kind]
            self._send(Answer(status, body), len(body))
        elif kind == "cut short":
            self._send(Answer(200, b'{"cod":'), 1000)
            self.close_connection = True
        else:
            self.close_connection = True

    def _send(self, answer: Answer, length: int) -> None:
        self.send_response(answer.status)
        own = {"Content-Type": "application/json", "Content-Length": str(length)}
        for name, value in (answer.headers | own).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    def log_message(self, *_) -> None:
        pass
