"""Real servers for a test session: an isolated stack on free ports, deleted at the end.

Wraps the commands in tests/stack. A session never meets a developer's own stack or another session: it has a directory and
a block of ports of its own, claimed by a lock that the operating system drops when the session ends, however it ends.
"""

import contextlib
import fcntl
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
from urllib.parse import urlsplit

COMMANDS = pathlib.Path(__file__).resolve().parent.parent / "stack"
CACHE = pathlib.Path(os.environ.get("ISOBAR_CACHE") or pathlib.Path.home() / ".cache/isobar")
SESSIONS = CACHE / "stack/sessions"
# A directory for each session with a failed test.
LOGS_OF_FAILURE = CACHE / "stack/logs-of-failures"

# Below the range from which the kernel hands out ports to clients.
PORT_BLOCKS = range(20000, 32000, 20)


HDFS = ("namenode", "datanode")


class Stack:
    """The addresses and states of the servers, and the faults that tests inject."""

    def __init__(self, directory, port_base):
        self.directory = directory
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ISOBAR_STACK_")}
        self._environment = inherited | {
            "ISOBAR_CACHE": str(CACHE),
            "ISOBAR_STACK_DIR": str(directory),
            "ISOBAR_STACK_PORT_BASE": str(port_base),
        }
        # What a client needs in its environment to use HDFS.
        self.client = self.variables(*HDFS)
        lake = urlsplit(self.client["ISOBAR__LAKE__URL"])
        self.rpc_url = f"{lake.scheme}://{lake.netloc}"
        self.http_url = self.client["HDFS_URL"]
        self._started = set()
        self._disturbed = self._in_safemode = False

    def variables(self, *names):
        """What a client needs in its environment to use these servers."""
        lines = self._call("env", *names).splitlines()
        return dict(line.removeprefix("export ").split("=", 1) for line in lines)

    def start(self, *names):
        """Starts these servers and what they need; returns when every running one is ready."""
        self._started |= set(names)
        self._call("up", *names)

    def kill(self, *names):
        """Sends SIGKILL, and waits for the end. `start` restarts the servers with their data."""
        self._disturb("kill", *names)

    def quit_postgres(self):
        """As `pg_ctl stop -m immediate` does; with `start` it is `pg_ctl restart -m immediate`."""
        self._disturb("quit", "postgres")

    def stop(self, *names):
        """SIGSTOP: the servers keep their connections and do not respond."""
        self._disturb("stop", *names)

    def cont(self, *names):
        """SIGCONT."""
        self._call("fault", "cont", *names)

    def safemode(self, on):
        """Switches safe mode: the NameNode refuses writes, or accepts them again."""
        self._in_safemode = on
        self._disturb("safemode", "enter" if on else "leave")

    def restore(self):
        """Undoes all faults. Fast when there are none."""
        if not self._disturbed:
            return
        if self._in_safemode:  # first, because no DataNode counts as ready in it
            with contextlib.suppress(RuntimeError):  # a killed NameNode has left it
                self.cont("namenode")
                self.safemode(False)
        self.start(*self._started)
        self._disturbed = self._in_safemode = False

    def keep_logs(self):
        """Copies the servers' logs to where the end of the session does not delete them."""
        kept = LOGS_OF_FAILURE / self.directory.name
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.directory / "logs", kept)

    def wipe(self):
        """Kills the servers and deletes their data."""
        self._call("down", "--wipe")

    def _disturb(self, *arguments):
        self._disturbed = True
        self._call("fault", *arguments)

    def _call(self, command, *arguments):
        line = [COMMANDS / command, *arguments]
        done = subprocess.run(line, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{shlex.join(map(str, line))} exited with {done.returncode}:\n{done.stderr}")
        return done.stdout


@contextlib.contextmanager
def session(*names):
    """A stack for the length of a `with` block, with these servers started, or with HDFS."""
    SESSIONS.mkdir(parents=True, exist_ok=True)
    clean_up_killed_sessions()
    with _claim_free_ports() as (directory, port_base):
        stack = Stack(directory, port_base)
        try:
            stack.start(*names or HDFS)
            yield stack
        finally:
            stack.wipe()


def clean_up_killed_sessions():
    """Ends the servers of sessions that were killed: their lock is free."""
    for directory in SESSIONS.iterdir():
        with _claimed(directory) as ours:
            if ours:
                Stack(directory, port_base=int(directory.name)).wipe()


@contextlib.contextmanager
def _claim_free_ports():
    for base in PORT_BLOCKS:
        directory = SESSIONS / str(base)
        with _claimed(directory) as ours:
            if ours and all(_is_free(port) for port in range(base, base + PORT_BLOCKS.step)):
                yield directory, base
                return
    raise RuntimeError(f"no block of {PORT_BLOCKS.step} free ports in {PORT_BLOCKS.start}-{PORT_BLOCKS.stop}")


@contextlib.contextmanager
def _claimed(directory):
    """Whether this process holds the lock of the directory, until the end of the block."""
    directory.mkdir(exist_ok=True)
    with open(directory / "session", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
