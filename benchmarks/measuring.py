"""Parse the arguments of the benchmarks, measure rates, and print tables and progress."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Way = Callable[[int], int]


def parse(given: list[str] | None, description: str) -> argparse.Namespace:
    """Return the parsed arguments of a benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it runs; no figure means much")
    return parser.parse_args(given)


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def items_a_second(
    ways: dict[str, Way], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Return the items per second of each way: the median of `rounds` rounds.

    A way is a function of the number of the round that returns how many items it handled. The ways take turns in every
    round, and CPU time is measured, because other programs run on the machine, too. With one thread, the result is the
    rate of one core.
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
