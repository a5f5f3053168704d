"""How the benchmarks measure, and how they show it."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Way = Callable[[int], int]


def parse(given: list[str] | None, description: str) -> argparse.Namespace:
    """The arguments of a benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it runs; no figure means much")
    return parser.parse_args(given)


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def items_a_second(
    ways: dict[str, Way], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """How many items a second each way handles: the median of rounds in which all have their turn.

    A way is given the number of the round and answers how many items it handled. By turns, and in CPU time, because
    other programs run on the machine, too; with one thread that is the figure of one core.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            started = clock()
            count = way(number)
            rates[name].append(count / (clock() - started))
            progress(f"  round {number + 1} of {rounds}, {name}: {rates[name][-1]:,.2f} a second")
    return {name: statistics.median(found) for name, found in rates.items()}


def show(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(headings) + " |")
    print("|" + "---|" * len(headings))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)
