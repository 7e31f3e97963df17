"""WebHDFS over the standard library: tests and benches write and list files on HDFS with it.

It is a second client of HDFS on purpose: it shares no code with isobar, and reads back what isobar wrote over RPC.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import quote, urlencode


@dataclass(frozen=True)
class FileStatus:
    """One entry of a directory; `path` is absolute, `modified_ms` is since the epoch."""

    path: str
    is_directory: bool
    size: int
    modified_ms: int
    owner: str


class WebHdfsError(Exception):
    """The NameNode or a DataNode refused a request."""

    def __init__(self, operation: str, path: str, status: int, body: str):
        super().__init__(f"{operation} {path}: HTTP {status}: {body}")
        self.status = status


class WebHdfs:
    """A client of one NameNode's HTTP port that acts as one user."""

    def __init__(self, http_url: str, user: str, timeout_s: float = 60):
        self.http_url = http_url.rstrip("/")
        self.user = user
        self.timeout_s = timeout_s

    def open(self, path: str) -> BinaryIO:
        """The file as a stream; the caller closes it."""
        return self._send("GET", path, "OPEN")

    def read(self, path: str) -> bytes:
        with self.open(path) as response:
            return response.read()

    def write(self, path: str, data: bytes) -> None:
        """Create or overwrite. The NameNode names the DataNode first, so that the data travels once."""
        answer = self._json("PUT", path, "CREATE", overwrite="true", noredirect="true")
        request = urllib.request.Request(answer["Location"], data=data, method="PUT")
        request.add_header("Content-Type", "application/octet-stream")
        self._open(request, "CREATE", path).close()

    def list(self, path: str) -> list[FileStatus]:
        """The entries of a directory, none where there is no such directory."""
        try:
            statuses = self._json("GET", path, "LISTSTATUS")["FileStatuses"]["FileStatus"]
        except WebHdfsError as error:
            if error.status == 404:
                return []
            raise
        return [
            FileStatus(
                f"{path.rstrip('/')}/{s['pathSuffix']}",
                s["type"] == "DIRECTORY",
                s["length"],
                s["modificationTime"],
                s["owner"],
            )
            for s in statuses
        ]

    def walk(self, path: str) -> Iterator[FileStatus]:
        """Every file below a directory, in the order of the paths."""
        for status in self.list(path):
            if status.is_directory:
                yield from self.walk(status.path)
            else:
                yield status

    def make_directory(self, path: str, permission: str = "755") -> None:
        self._json("PUT", path, "MKDIRS", permission=permission)

    def delete(self, path: str) -> None:
        self._json("DELETE", path, "DELETE", recursive="true")

    def set_owner(self, path: str, owner: str) -> None:
        self._send("PUT", path, "SETOWNER", owner=owner).close()

    def set_modified(self, path: str, modified_ms: int) -> None:
        self._send("PUT", path, "SETTIMES", modificationtime=str(modified_ms)).close()

    def _json(self, method: str, path: str, operation: str, **parameters: str):
        with self._send(method, path, operation, **parameters) as response:
            return json.load(response)

    def _send(self, method: str, path: str, operation: str, **parameters: str):
        query = urlencode({"op": operation, "user.name": self.user, **parameters})
        request = urllib.request.Request(f"{self.http_url}/webhdfs/v1{quote(path)}?{query}", method=method)
        return self._open(request, operation, path)

    def _open(self, request: urllib.request.Request, operation: str, path: str):
        try:
            return urllib.request.urlopen(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            body = error.read().decode(errors="replace")
            raise WebHdfsError(operation, path, error.code, body) from error
