"""ClickBench's table `hits`, generated: its 105 columns, with values for which each of its 43 queries returns rows."""

import random
from datetime import datetime, timedelta

import pyarrow as pa

FIRST = datetime(2013, 7, 1)

SMALL = """
    JavaEnable GoodEvent CounterClass OS UserAgent IsRefresh RefererCategoryID URLCategoryID ResolutionWidth ResolutionHeight
    ResolutionDepth FlashMajor FlashMinor NetMajor NetMinor UserAgentMajor CookieEnable JavascriptEnable IsMobile MobilePhone
    TraficSourceID SearchEngineID AdvEngineID IsArtifical WindowClientWidth WindowClientHeight ClientTimeZone
    SilverlightVersion1 SilverlightVersion2 SilverlightVersion4 IsLink IsDownload IsNotBounce IsOldCounter IsEvent IsParameter
    DontCountHits WithHash Age Sex Income Interests Robotness HistoryLength HTTPError SocialSourceNetworkID ParamCurrencyID
    HasGCLID
""".split()
WHOLE = """
    CounterID ClientIP RegionID RefererRegionID URLRegionID IPNetworkID SilverlightVersion3 CodeVersion HID RemoteIP WindowName
    OpenerName SendTiming DNSTiming ConnectTiming ResponseStartTiming ResponseEndTiming FetchTiming CLID
""".split()
LARGE = ["WatchID", "UserID", "FUniqID", "ParamPrice", "RefererHash", "URLHash"]
TEXT = """
    Title URL Referer FlashMinor2 UserAgentMinor MobilePhoneModel Params SearchPhrase PageCharset OriginalURL HitColor
    BrowserLanguage BrowserCountry SocialNetwork SocialAction SocialSourcePage ParamOrderID ParamCurrency OpenstatServiceName
    OpenstatCampaignID OpenstatAdID OpenstatSourceID UTMSource UTMMedium UTMCampaign UTMContent UTMTerm FromTag
""".split()
INSTANT = ["EventTime", "ClientEventTime", "LocalEventTime"]


def hits(count: int, seed: int = 43) -> pa.Table:
    """`count` rows. The queries that skip 10,000 groups need 25,000 rows."""
    chance = random.Random(seed)
    # Two days have more than their share: one query skips a thousand minutes of them.
    days = [*range(31), *[13, 14] * 6]
    events = [FIRST + timedelta(days=chance.choice(days), seconds=chance.randrange(86_400)) for _ in range(count)]
    columns = {name: pa.array(_small(name, count, chance), pa.int16()) for name in SMALL}
    columns |= {name: pa.array(_whole(name, count, chance), pa.int32()) for name in WHOLE}
    columns |= {name: pa.array(_large(name, count, chance), pa.int64()) for name in LARGE}
    columns |= {name: pa.array(_text(name, count, chance), pa.string()) for name in TEXT}
    columns |= {name: pa.array(events, pa.timestamp("us", "UTC")) for name in INSTANT}
    columns["EventDate"] = pa.array([event.date() for event in events], pa.date32())
    assert len(columns) == 105
    return pa.table(columns)


def _small(name: str, count: int, chance: random.Random) -> list[int]:
    sizes = {"WindowClientWidth": 2000, "WindowClientHeight": 1500, "ResolutionWidth": 2000, "AdvEngineID": 30}
    rare = {"IsRefresh", "DontCountHits", "IsDownload", "AdvEngineID", "SearchEngineID"}
    if name == "TraficSourceID":
        return chance.choices([-1, 0, 1, 2, 3, 6], k=count)
    values = range(sizes.get(name, 5))
    return [0 if name in rare and chance.random() < 0.95 else chance.choice(values) for _ in range(count)]


def _whole(name: str, count: int, chance: random.Random) -> list[int]:
    if name == "CounterID":
        return chance.choices([62, 8, *range(100, 120)], [90, 6, *[0.2] * 20], k=count)
    if name == "RegionID":
        return [int(chance.expovariate(0.02)) for _ in range(count)]
    return [chance.randrange(-1_000_000, 1_000_000) for _ in range(count)]


def _large(name: str, count: int, chance: random.Random) -> list[int]:
    frequent = {"UserID": 435090932899640449, "RefererHash": 3594120000172545465, "URLHash": 2868770270353813622}
    values = [chance.randrange(-(2**63), 2**63) for _ in range(count // 5)]
    share = {"UserID": 0.01, "URLHash": 0.7, "RefererHash": 0.5}.get(name, 0)
    return [frequent[name] if chance.random() < share else chance.choice(values) for _ in range(count)]


def _text(name: str, count: int, chance: random.Random) -> list[str]:
    hosts = ["google.com", "www.google.ru", "example.org", "www.пример.рф", "news.example.net"]
    if name in ("URL", "Referer", "OriginalURL"):
        made = [f"https://{chance.choice(hosts)}/p/{chance.randrange(count // 3)}" for _ in range(count)]
    else:
        words = ["карта", "Google", "погода", "weather", "купить", "Straße", "maps"]
        size = 3 if name in ("Title", "SearchPhrase", "Params") else 1
        made = [" ".join(chance.choices(words, k=size)) for _ in range(count)]
    empty = {"SearchPhrase": 0.7, "MobilePhoneModel": 0.8}.get(name, 0.2)
    return ["" if chance.random() < empty else text for text in made]
