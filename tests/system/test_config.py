"""Configuration: precedence and origin of values, refusals, and secrets."""

import re

import pytest

from support.binary import CANARIES, Isobar
from support.lake import DAILY


@pytest.fixture
def isobar(isobar, tmp_path) -> Isobar:
    """The binary with the defaults only, in an empty directory."""
    return Isobar(str(isobar), tmp_path / "work", {})


def origin(isobar: Isobar, key: str, *arguments: str) -> str:
    """The line of `config show` for a key."""
    lines = isobar.ok(*arguments, "config", "show").stdout.splitlines()
    found = [line for line in lines if re.match(rf"\W*{re.escape(key)}\b", line)]
    assert len(found) == 1, (key, lines)
    return found[0]


def test_config_show_has_the_origin_of_each_value(isobar):
    file = isobar.directory / "isobar.toml"
    file.write_text('[time]\nzone = "Europe/Berlin"\n[kafka]\ntopic = "from-file"\ngroup_id = "from-file"\n')
    (isobar.directory / ".env").write_text("GROUP_ID=from-dotenv\n")
    given = isobar.having(
        POSTGRES_HOST="from-legacy-name", ISOBAR__POSTGRES__DATABASE="from-new-name", POSTGRES_DB="legacy"
    )
    for key, value, source in [
        ("time.zone", "Europe/Berlin", r"isobar\.toml"),
        ("kafka.topic", "from-file", r"isobar\.toml"),
        ("kafka.group_id", "from-dotenv", r"\.env"),
        ("postgres.host", "from-legacy-name", "POSTGRES_HOST"),
        ("postgres.database", "from-new-name", "ISOBAR__POSTGRES__DATABASE"),
        ("postgres.port", "5432", "default"),
    ]:
        line = origin(given, key)
        assert value in line and re.search(source, line), line


def test_layers_override_each_other_in_order(isobar):
    """Flags over ISOBAR__… over the legacy names over .env over the file over the defaults."""
    (isobar.directory / ".env").write_text("TOPIC_NAME=dotenv\n")
    (isobar.directory / "isobar.toml").write_text('[kafka]\ntopic = "file"\n')
    legacy = isobar.having(TOPIC_NAME="legacy")
    newer = legacy.having(ISOBAR__KAFKA__TOPIC="newer")
    assert "flag" in origin(newer, "kafka.topic", "--set", "kafka.topic=flag")
    assert "newer" in origin(newer, "kafka.topic")
    assert "legacy" in origin(legacy, "kafka.topic")
    assert "dotenv" in origin(isobar, "kafka.topic")
    (isobar.directory / ".env").unlink()
    assert "file" in origin(isobar, "kafka.topic")
    (isobar.directory / "isobar.toml").unlink()
    assert "weather-api" in origin(isobar, "kafka.topic")


def test_flag_names_another_configuration_file(isobar, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text('[time]\nzone = "Asia/Kathmandu"\n')
    line = origin(isobar, "time.zone", "--config", str(other))
    assert "Asia/Kathmandu" in line and "other.toml" in line


def test_legacy_address_determines_the_namenode(isobar):
    """HDFS_URL is the address of WebHDFS. Its host is also that of RPC, unless lake.url is set."""
    legacy = isobar.having(HDFS_URL="http://hadoop-of-old:9870")
    assert "hdfs://hadoop-of-old:8020/user/hdfs/isobar" in origin(legacy, "lake.url")
    own = legacy.having(ISOBAR__LAKE__URL="file:///tmp/own-lake")
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
def test_invalid_file_is_refused(isobar, text, says):
    (isobar.directory / "isobar.toml").write_text(text)
    isobar.refused("config", "show", code=1, says=["isobar.toml", *says])


def test_missing_file_is_named(isobar):
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
def test_invalid_variable_is_named(isobar, variables, says):
    isobar.having(**variables).refused("config", "show", code=1, says=says)


@pytest.mark.parametrize(("given", "says"), [("time.zon=UTC", ["time.zon", "zone"]), ("time.zone", ["time.zone"])])
def test_invalid_set_flag_is_named(isobar, given, says):
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
def test_root_and_overlapping_locations_are_refused(isobar, tmp_path, lake, base_path, says):
    root = str(tmp_path).strip("/")
    given = isobar.having(
        ISOBAR__LAKE__URL=lake.format(root=root), ISOBAR__EXPORT__BASE_PATH=base_path.format(root=root)
    )
    given.refused("run", DAILY, "--all", code=1, says=says)


def test_locations_with_a_common_prefix_are_accepted(isobar, tmp_path):
    beside = isobar.having(
        ISOBAR__LAKE__URL=f"file://{tmp_path}/weather", ISOBAR__EXPORT__BASE_PATH=f"file://{tmp_path}/weather-files"
    )
    beside.ok("table", "list")


def test_secrets_of_every_layer_are_masked(isobar, tmp_path):
    """Every test searches its output for the secrets; this one prints the configuration that has them."""
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


def test_errors_do_not_show_secrets(isobar):
    """Neither errors about the value nor errors about the file show it."""
    (isobar.directory / "isobar.toml").write_text(f'[postgres]\npassword = "{CANARIES["POSTGRES_PASSWORD"]}" oops\n')
    isobar.refused("config", "show", code=1, says=["isobar.toml"])
