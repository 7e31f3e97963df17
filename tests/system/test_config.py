"""Configuration as a person meets it: what wins, whence each value came, what is refused, and that secrets stay so."""

import re

import pytest

from support.binary import CANARIES, Isobar
from support.lake import DAILY


@pytest.fixture
def isobar(isobar, tmp_path) -> Isobar:
    """No place at all: only the defaults, in an empty directory."""
    return Isobar(str(isobar), tmp_path / "work", {})


def origin(isobar: Isobar, key: str, *arguments: str) -> str:
    """The line that `config show` prints about a key."""
    lines = isobar.ok(*arguments, "config", "show").stdout.splitlines()
    found = [line for line in lines if re.match(rf"\W*{re.escape(key)}\b", line)]
    assert len(found) == 1, (key, lines)
    return found[0]


def test_every_value_says_where_it_came_from(isobar):
    file = isobar.directory / "isobar.toml"
    file.write_text('[time]\nzone = "Europe/Berlin"\n[kafka]\ntopic = "from-file"\ngroup_id = "from-file"\n')
    (isobar.directory / ".env").write_text("GROUP_ID=from-dotenv\n")
    given = isobar.having(
        POSTGRES_HOST="from-older-name", ISOBAR__POSTGRES__DATABASE="from-new-name", POSTGRES_DB="older"
    )
    for key, value, source in [
        ("time.zone", "Europe/Berlin", r"isobar\.toml"),
        ("kafka.topic", "from-file", r"isobar\.toml"),
        ("kafka.group_id", "from-dotenv", r"\.env"),
        ("postgres.host", "from-older-name", "POSTGRES_HOST"),
        ("postgres.database", "from-new-name", "ISOBAR__POSTGRES__DATABASE"),
        ("postgres.port", "5432", "default"),
    ]:
        line = origin(given, key)
        assert value in line and re.search(source, line), line


def test_stronger_sources_win_one_by_one(isobar):
    """Flags over ISOBAR__… over the older names over .env over the file over the defaults."""
    (isobar.directory / ".env").write_text("TOPIC_NAME=dotenv\n")
    (isobar.directory / "isobar.toml").write_text('[kafka]\ntopic = "file"\n')
    older = isobar.having(TOPIC_NAME="older")
    newer = older.having(ISOBAR__KAFKA__TOPIC="newer")
    assert "flag" in origin(newer, "kafka.topic", "--set", "kafka.topic=flag")
    assert "newer" in origin(newer, "kafka.topic")
    assert "older" in origin(older, "kafka.topic")
    assert "dotenv" in origin(isobar, "kafka.topic")
    (isobar.directory / ".env").unlink()
    assert "file" in origin(isobar, "kafka.topic")
    (isobar.directory / "isobar.toml").unlink()
    assert "weather-api" in origin(isobar, "kafka.topic")


def test_a_file_of_another_name_is_given_by_a_flag(isobar, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text('[time]\nzone = "Asia/Kathmandu"\n')
    line = origin(isobar, "time.zone", "--config", str(other))
    assert "Asia/Kathmandu" in line and "other.toml" in line


def test_the_older_address_gives_the_namenode(isobar):
    """HDFS_URL is WebHDFS; its host serves for RPC unless the lake has an address of its own."""
    older = isobar.having(HDFS_URL="http://hadoop-of-old:9870")
    assert "hdfs://hadoop-of-old:8020/user/hdfs/isobar" in origin(older, "lake.url")
    own = older.having(ISOBAR__LAKE__URL="file:///tmp/own-lake")
    assert "file:///tmp/own-lake" in origin(own, "lake.url")


REFUSED = {
    "an unknown key": ('[time]\nzon = "UTC"\n', ["zon", "zone"]),
    "an unknown section": ('[tme]\nzone = "UTC"\n', ["tme", "time"]),
    "a number for a text": ("[time]\nzone = 7\n", ["zone", "expected"]),
    "a text for a number": ('[land]\nrows_max = "many"\n', ["rows_max"]),
    "a negative size": ("[land]\nrows_max = -1\n", ["rows_max"]),
    "no rows at all": ("[land]\nrows_max = 0\n", ["rows_max"]),
    "no such zone": ('[time]\nzone = "Europe/Atlantis"\n', ["Europe/Atlantis", "zone"]),
    "a scheme we do not speak": ('[lake]\nurl = "s3://bucket/lake"\n', ["s3", "hdfs", "file"]),
    "no TOML": ("[time\nzone = \n", ["isobar.toml", r"line:? ?1|:1"]),
    "a section twice": ('[time]\nzone = "UTC"\n[time]\nzone = "UTC"\n', [r"isobar\.toml:3"]),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_file_stops_the_start(isobar, text, says):
    (isobar.directory / "isobar.toml").write_text(text)
    isobar.refused("config", "show", code=1, says=["isobar.toml", *says])


def test_a_missing_file_is_named(isobar):
    isobar.refused("--config", "nowhere.toml", "config", "show", code=1, says=["nowhere.toml"])


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"ISOBAR__LAKE__ULR": "file:///x"}, ["ISOBAR__LAKE__ULR", "ISOBAR__LAKE__URL"]),
        ({"ISOBAR__LAND__ROWS_MAX": "many"}, ["ISOBAR__LAND__ROWS_MAX", "many"]),
        ({"MR_PROCESS_ONLY_TODAY": "perhaps"}, ["MR_PROCESS_ONLY_TODAY", "perhaps"]),
        ({"OPENWEATHER_API_KEY": None, "OPENWEATHER_API_KEY_FILE": "/no/such/file"}, ["/no/such/file"]),
    ],
    ids=lambda value: next(iter(value), None) if isinstance(value, dict) else None,
)
def test_a_wrong_variable_is_named(isobar, variables, says):
    isobar.having(**variables).refused("config", "show", code=1, says=says)


@pytest.mark.parametrize(("given", "says"), [("time.zon=UTC", ["time.zon", "zone"]), ("time.zone", ["time.zone"])])
def test_a_wrong_set_flag_is_named(isobar, given, says):
    outcome = isobar.run("--set", given, "config", "show", timeout_s=30)
    assert outcome.code in (1, 2), outcome
    assert all(word in outcome.stderr for word in says), outcome


PLACES = {
    "the root as base path": ("file:///{root}/lake", "/", ["base_path", '"/"|root']),
    "the root by its URL": ("file:///{root}/lake", "file:///", ["base_path"]),
    "the root, written longer": ("file:///{root}/lake", "/user/..", ["base_path"]),
    "the root as lake": ("file:///", "file:///{root}/weather", ["lake"]),
    "the base path in the lake": ("file:///{root}/lake", "file:///{root}/lake/weather", ["lake", "base_path"]),
    "the lake in the base path": ("file:///{root}/weather/lake", "file:///{root}/weather", ["lake", "base_path"]),
    "one and the same": ("file:///{root}/both", "file:///{root}/both/", ["lake", "base_path"]),
    "inside by a detour": ("file:///{root}/lake", "file:///{root}/x/../lake/weather", ["lake", "base_path"]),
    "on HDFS": ("hdfs://localhost:1/user/hdfs/weather/lake", "/user/hdfs/weather", ["lake", "base_path"]),
    "the root of HDFS": ("hdfs://localhost:1/", "/user/hdfs/weather", ["lake"]),
}


@pytest.mark.parametrize(("lake", "base_path", "says"), PLACES.values(), ids=PLACES.keys())
def test_roots_and_overlapping_places_are_refused(isobar, tmp_path, lake, base_path, says):
    root = str(tmp_path).strip("/")
    given = isobar.having(
        ISOBAR__LAKE__URL=lake.format(root=root), ISOBAR__EXPORT__BASE_PATH=base_path.format(root=root)
    )
    given.refused("run", DAILY, "--all", code=1, says=says)


def test_places_that_only_begin_alike_are_fine(isobar, tmp_path):
    beside = isobar.having(
        ISOBAR__LAKE__URL=f"file://{tmp_path}/weather", ISOBAR__EXPORT__BASE_PATH=f"file://{tmp_path}/weather-files"
    )
    beside.ok("table", "list")


def test_secrets_are_stars_wherever_they_came_from(isobar, tmp_path):
    """Every other test looks for the canaries in every output; here they are where they would show first."""
    secret_file = tmp_path / "key"
    secret_file.write_text(CANARIES["OPENWEATHER_API_KEY"] + "\n")
    from_file = isobar.having(OPENWEATHER_API_KEY=None, OPENWEATHER_API_KEY_FILE=str(secret_file))
    from_set = ["--set", f"postgres.password={CANARIES['POSTGRES_PASSWORD']}"]
    for given, key, arguments in [
        (isobar, "openweather.api_key", []),
        (isobar, "postgres.password", []),
        (from_file, "openweather.api_key", []),
        (isobar, "postgres.password", from_set),
    ]:
        assert "***" in origin(given, key, *arguments)
    assert "OPENWEATHER_API_KEY_FILE" in origin(from_file, "openweather.api_key")


def test_secrets_do_not_show_in_errors(isobar):
    """Neither where their own type is wrong nor in the text of a broken file."""
    (isobar.directory / "isobar.toml").write_text(f'[postgres]\npassword = "{CANARIES["POSTGRES_PASSWORD"]}" oops\n')
    isobar.refused("config", "show", code=1, says=["isobar.toml"])
