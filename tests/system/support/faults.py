"""What befalls a service and the servers under it, when, and how often."""

import random
import time
from collections.abc import Callable

from stack import Stack

from support.binary import PATIENCE_S, Process
from support.fixtures import LONG
from support.web import eventually

TIMES = {"kafka": 10, "postgres": 10, "namenode": 5, "datanode": 5}
# What changes with the work of a process: how much is done, or what stands where.
State = Callable[[], object]
# What a stopped DataNode is given before it goes on: less and more than the time limit of one call in these tests.
SILENT_S = (1.0, 6.0)
# How long after a step of its work something befalls a service, at most.
LATER_S = 0.3


def times(server: str) -> int:
    return TIMES[server] if LONG else 1


def strike(stack: Stack, server: str) -> None:
    """It answers nobody from now on: PostgreSQL as by `pg_ctl stop -m immediate`, a DataNode is stopped, others are killed."""
    match server:
        case "postgres":
            stack.quit_postgres()
        case "datanode":
            stack.stop(server)
        case _:
            stack.kill(server)


def mend(stack: Stack, server: str) -> None:
    if server == "datanode":
        stack.cont(server)
    else:
        stack.start(server)


def restart(stack: Stack, server: str, chance: random.Random) -> None:
    strike(stack, server)
    if server == "datanode":
        time.sleep(chance.uniform(*SILENT_S))
    mend(stack, server)


def some_time_after(what: str, state: State, process: Process, chance: random.Random, before=None) -> None:
    """Returns some random time after the work of a process, which goes on, has made the state another than it was before, or
    than it is now."""
    before = state() if before is None else before

    def changed() -> bool:
        assert process.poll() is None, f"it ended by itself: {process.said()}"
        return state() != before

    try:
        eventually(changed, what, PATIENCE_S)
    except AssertionError as error:
        raise AssertionError(process.said()) from error
    time.sleep(chance.random() * LATER_S)
    assert process.poll() is None, f"it ended by itself: {process.said()}"


def kill_some_time_after(what: str, state: State, start: Callable[[], Process], chance: random.Random) -> None:
    """Starts a process, and kills it some random time after its work has changed the state."""
    before = state()
    with start() as process:
        some_time_after(what, state, process, chance, before)
