"""Faults of services and servers: which, when, and how often."""

import random
import time
from collections.abc import Callable

from stack import Stack

from support.binary import TIMEOUT_S, Process
from support.fixtures import LONG
from support.web import eventually

TIMES = {"kafka": 10, "postgres": 10, "namenode": 5, "datanode": 5}
# The state that a process changes by its work: a count, or a set of files.
State = Callable[[], object]
# Time for which a DataNode is stopped: less and more than the time limit of one call in these tests.
SILENT_S = (1.0, 6.0)
# Limit of the delay between a step of a service and the fault.
LATER_S = 0.3


def times(server: str) -> int:
    return TIMES[server] if LONG else 1


def make_unavailable(stack: Stack, server: str) -> None:
    """Makes the server unavailable: PostgreSQL as by `pg_ctl stop -m immediate`, a DataNode by SIGSTOP, others by SIGKILL."""
    match server:
        case "postgres":
            stack.quit_postgres()
        case "datanode":
            stack.stop(server)
        case _:
            stack.kill(server)


def restore(stack: Stack, server: str) -> None:
    if server == "datanode":
        stack.cont(server)
    else:
        stack.start(server)


def restart(stack: Stack, server: str, chance: random.Random) -> None:
    make_unavailable(stack, server)
    if server == "datanode":
        time.sleep(chance.uniform(*SILENT_S))
    restore(stack, server)


def some_time_after(what: str, state: State, process: Process, chance: random.Random, before=None) -> None:
    """Waits until the running process has changed the state from `before`, or from the present one, and a random time longer."""
    before = state() if before is None else before

    def changed() -> bool:
        assert process.poll() is None, f"it ended by itself: {process.said()}"
        return state() != before

    try:
        eventually(changed, what, TIMEOUT_S)
    except AssertionError as error:
        raise AssertionError(process.said()) from error
    time.sleep(chance.random() * LATER_S)
    assert process.poll() is None, f"it ended by itself: {process.said()}"


def kill_some_time_after(what: str, state: State, start: Callable[[], Process], chance: random.Random) -> None:
    """Starts a process, and kills it a random time after it has changed the state."""
    before = state()
    with start() as process:
        some_time_after(what, state, process, chance, before)
