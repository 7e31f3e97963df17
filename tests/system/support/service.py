"""A service of `isobar` in the background: its log, its health and metrics, its end."""

import contextlib
import signal

from support.binary import TIMEOUT_S, Isobar, assert_no_canary
from support.web import Web, web_of


class Service(Web):
    """Runs until the end of its `with` block, or until `stop` or `kill`."""

    def __init__(self, isobar: Isobar, *arguments: str):
        self.process = isobar.start(*arguments)
        try:
            super().__init__(web_of(self.process).http)
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, failure, *_) -> None:
        if self.process.poll() is None:
            if failure:
                with contextlib.suppress(OSError):
                    print(self.get("/metrics")[1])
            self.kill()
        log = self.process.said()
        if failure:
            print(log)
        assert_no_canary(log)
        assert "panicked at" not in log, log

    @property
    def log(self) -> list[str]:
        return self.process.said().splitlines()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ended(self) -> int:
        """The exit code."""
        return self.process.wait(timeout=TIMEOUT_S)
