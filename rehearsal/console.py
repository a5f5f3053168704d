"""Print a rehearsal's output: a line with the duration of each step, the progress of long ones, and a closing table."""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK_SECONDS = 0.25
WIDTH = 34


class Console:
    """Prints steps. A running step updates one line on a terminal; elsewhere it prints a line every 10 seconds."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.live = sys.stdout.isatty()
        self.steps: list[tuple[str, str, float]] = []
        self.chapter_name = ""

    def chapter(self, name: str) -> None:
        """Print a headline for the steps that follow."""
        self.chapter_name = name
        print(f"\n{name}", flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator["Step"]:
        """Time a step and print its result: `with console.step("push") as step: ...; step.result = "commit 1a2b3c4"`."""
        step = Step(name, self.live)
        try:
            yield step
        except BaseException:
            step.close("FAILED" if step.result == "" else step.result, failed=True)
            raise
        step.close(step.result)
        self.steps.append((self.chapter_name, name, step.seconds))

    def note(self, name: str, seconds: float, result: str) -> None:
        """Print a line for something that ended within a step that is still running."""
        print(f"{self.clear}        {name.ljust(WIDTH - 2)} {seconds:6.1f} s  {result}", flush=True)

    @property
    def clear(self) -> str:
        """Escape sequence that clears the progress line; empty without a terminal."""
        return "\r\033[K" if self.live else ""

    def table(self, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        """Print a table whose columns are as wide as their widest entry."""
        widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
        for row in (header, tuple("-" * width for width in widths), *rows):
            print("  " + "  ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)).rstrip())


class Step:
    """A running step; a thread prints its progress until close()."""

    def __init__(self, name: str, live: bool):
        self.name = name
        self.result = ""
        self.seconds = 0.0
        self.progress: Callable[[], str] = lambda: ""
        self.started = time.monotonic()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.show if live else self.wait_quietly, daemon=True)
        self.thread.start()

    def show(self) -> None:
        while not self.ended.wait(TICK_SECONDS):
            width = shutil.get_terminal_size().columns
            text = f"  ... {self.name.ljust(WIDTH)} {time.monotonic() - self.started:6.1f} s  {self.progress()}"
            print(f"\r{text[: width - 1].ljust(width - 1)}", end="", flush=True)

    def wait_quietly(self) -> None:
        """Print a progress line every 10 seconds, for logs."""
        while not self.ended.wait(10):
            print(
                f"  ... {self.name.ljust(WIDTH)} {time.monotonic() - self.started:6.1f} s  {self.progress()}",
                flush=True,
            )

    def close(self, result: str, failed: bool = False) -> None:
        self.ended.set()
        self.thread.join()
        self.seconds = time.monotonic() - self.started
        clear = "\r\033[K" if sys.stdout.isatty() else ""
        print(
            f"{clear}  {'!!!' if failed else ' ok'} {self.name.ljust(WIDTH)} {self.seconds:6.1f} s  {result}",
            flush=True,
        )
