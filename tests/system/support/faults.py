"""What befalls a server under a service that must outlive it, and how often."""

import random
import time

from stack import Stack

from support.fixtures import LONG

TIMES = {"kafka": 10, "postgres": 10, "namenode": 5, "datanode": 5}
# What a stopped DataNode is given before it goes on: less and more than the time limit of one call in these tests.
SILENT_S = (1.0, 6.0)


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
