"""Run the benchmarks: python -m benchmarks [--quick] [name ...]

Without names, run all of them (with --quick, all but rehearsal_speed), one after another, each in its own process. Long
runs that do not measure speed, such as interruptions.py, are not included.
"""

import argparse
import importlib
import multiprocessing
import os
import sys
import time

from benchmarks.measuring import progress

SPEEDS = ("functions", "text_training", "tokenising", "image_input", "scaling", "checkpointing", "gpu_training")
NAMES = ("rehearsal_speed", *SPEEDS)
IMPORTED_ONCE = ("torch", "torchvision", "transformers", "tomlkit")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds each, to see that they run")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(NAMES)):
        parser.error(f"no benchmark is called {', '.join(unknown)}. Choose one of: {', '.join(NAMES)}.")
    chosen = arguments.names or (SPEEDS if arguments.quick else NAMES)
    for library in IMPORTED_ONCE:
        importlib.import_module(library)
    failed = [name for name in chosen if not run(name, ["--quick"] if arguments.quick else [])]
    print(f"{os.cpu_count()} cores; {time.strftime('%Y-%m-%d')}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run(name: str, given: list[str]) -> bool:
    """Run one benchmark in a forked process, which need not import the libraries again; return whether it succeeded."""
    print(f"## {name}\n", flush=True)
    module = importlib.import_module(f"benchmarks.{name}")
    process = multiprocessing.get_context("fork").Process(target=module.main, args=(given,))
    started = time.monotonic()
    process.start()
    process.join()
    progress(f"{name} took {time.monotonic() - started:.0f} s")
    return process.exitcode == 0


if __name__ == "__main__":
    main()
