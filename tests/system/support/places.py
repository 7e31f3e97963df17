"""Places for the lake and the files of a test: a local directory or HDFS, behind one interface.

A place has a lake (tables) and an export folder (export files and `aggregates.jsonl`), side by side under one root.
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from support.webhdfs import WebHdfs


@dataclass(frozen=True)
class Stored:
    """A file by its path below the place's root."""

    path: str
    size: int
    modified_ms: int


class LocalPlace:
    """Everything below one directory of this machine."""

    def __init__(self, root: Path):
        self.root = root
        self.lake_url = f"file://{root}/lake"
        self.base_path = f"file://{root}/weather"
        self.export_url = str(root / "weather")
        root.mkdir(parents=True, exist_ok=True)

    def write(self, path: str, data: bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def make_directory(self, path: str) -> None:
        (self.root / path).mkdir(parents=True, exist_ok=True)

    def names(self, path: str) -> list[str]:
        """The names in one directory, none where there is no such directory."""
        try:
            return os.listdir(self.root / path)
        except FileNotFoundError:
            return []

    def walk(self, path: str = "") -> list[Stored]:
        found = []
        for directory, _, names in os.walk(self.root / path):
            for name in names:
                file = Path(directory) / name
                status = file.stat()
                found.append(Stored(str(file.relative_to(self.root)), status.st_size, status.st_mtime_ns // 1_000_000))
        return sorted(found, key=lambda stored: stored.path)

    def delete(self, path: str) -> None:
        shutil.rmtree(self.root / path)

    def set_modified(self, path: str, epoch_s: float) -> None:
        os.utime(self.root / path, (epoch_s, epoch_s))


class HdfsPlace:
    """Everything below one directory of a real HDFS; this class uses WebHDFS, and isobar RPC."""

    def __init__(self, rpc_url: str, client: WebHdfs, root: str):
        self.client = client
        self.root = root
        self.lake_url = f"{rpc_url}{root}/lake"
        self.base_path = f"{root}/weather"
        self.export_url = f"{rpc_url}{root}/weather"
        client.make_directory(root)

    def write(self, path: str, data: bytes) -> None:
        self.client.write(f"{self.root}/{path}", data)

    def read(self, path: str) -> bytes:
        return self.client.read(f"{self.root}/{path}")

    def make_directory(self, path: str) -> None:
        self.client.make_directory(f"{self.root}/{path}")

    def names(self, path: str) -> list[str]:
        return [status.path.rsplit("/", 1)[-1] for status in self.client.list(f"{self.root}/{path}")]

    def walk(self, path: str = "") -> list[Stored]:
        top = f"{self.root}/{path}".rstrip("/")
        return sorted(
            (Stored(s.path.removeprefix(self.root + "/"), s.size, s.modified_ms) for s in self.client.walk(top)),
            key=lambda stored: stored.path,
        )

    def delete(self, path: str) -> None:
        self.client.delete(f"{self.root}/{path}")

    def set_modified(self, path: str, epoch_s: float) -> None:
        self.client.set_modified(f"{self.root}/{path}", int(epoch_s * 1000))


Place = LocalPlace | HdfsPlace


def put_export(place: Place, files: dict[str, bytes]) -> None:
    """Writes export files into the export directory of the place."""
    # In parallel, since HDFS takes half a second for a file, mostly waiting.
    with ThreadPoolExecutor(8) as threads:
        written = [threads.submit(place.write, f"weather/{path}", data) for path, data in files.items()]
    for one in written:
        one.result()


def host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port
