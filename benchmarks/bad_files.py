"""Fuzz preprocessing: damage data files of every kind at random and check that each run ends cleanly.

    .venv/bin/python benchmarks/bad_files.py [--files 400] [--seed 1]

A run ends cleanly if it writes splits and a report that counts what was dropped, or prints one line that says what is
wrong. A traceback, a half-written split, or a run of more than a minute is a failure, and its files are kept.
"""

import argparse
import csv
import gzip
import io
import json
import random
import shutil
import struct
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.forked import Forked  # noqa: E402  (this file is run as a program, too)
from build.assemble import assemble, write  # noqa: E402

SECONDS = 60
Chance = random.Random


def rows() -> list[dict[str, str]]:
    return [
        {"text": f"message {i} about {'late' if i % 2 else 'paid'} things", "label": "ab"[i % 2]} for i in range(60)
    ]


def delimited(delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["text", "label"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows())
    return text.getvalue().encode()


def parquet() -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows()), content)
    return content.getvalue()


def picture(number: int, kind: str) -> bytes:
    content = io.BytesIO()
    image = Image.effect_noise((24, 24), 20 + number).convert("RGB" if number % 3 else "L")
    image.save(content, kind)
    return content.getvalue()


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"{'ab'[number % 2]}/{number}.png", picture(number, "PNG"))
    return content.getvalue()


def idx_images() -> bytes:
    return gzip.compress(struct.pack(">4i", 2051, 40, 28, 28) + bytes(i % 251 for i in range(40 * 28 * 28)))


# Name of the damaged file -> variant, content of the file, other files of the data set.
KINDS: dict[str, tuple[str, Callable[[], bytes], Callable[[], dict[str, bytes]]]] = {
    "data.csv": ("nlp", lambda: delimited(","), dict),
    "data.tsv": ("nlp", lambda: delimited("\t"), dict),
    "data.jsonl": ("nlp", lambda: "\n".join(map(json.dumps, rows())).encode(), dict),
    "data.parquet": ("nlp", parquet, dict),
    "data.zip": ("cv", zipped, dict),
    "t-images-idx3-ubyte.gz": (
        "cv",
        idx_images,
        lambda: {"t-labels-idx1-ubyte.gz": gzip.compress(struct.pack(">2i", 2049, 40) + bytes([0, 1] * 20))},
    ),
    "a/0.jpg": (
        "cv",
        lambda: picture(0, "JPEG"),
        lambda: {f"{'ab'[i % 2]}/{i}.jpg": picture(i, "JPEG") for i in range(1, 40)},
    ),
    "a/0.png": (
        "cv",
        lambda: picture(0, "PNG"),
        lambda: {f"{'ab'[i % 2]}/{i}.png": picture(i, "PNG") for i in range(1, 40)},
    ),
    "a/0.webp": (
        "cv",
        lambda: picture(0, "WEBP"),
        lambda: {f"{'ab'[i % 2]}/{i}.webp": picture(i, "WEBP") for i in range(1, 40)},
    ),
}


def flipped(content: bytes, chance: Chance) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 30)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def cut(content: bytes, chance: Chance) -> bytes:
    return content[: chance.randrange(len(content))]


def repeated(content: bytes, chance: Chance) -> bytes:
    start, end = sorted(chance.randrange(len(content)) for _ in range(2))
    return content[:end] + content[start:end] * chance.randint(1, 50) + content[end:]


def garbled(content: bytes, chance: Chance) -> bytes:
    place = chance.randrange(len(content))
    hostile = (
        b"\0",
        b'"',
        b"\xff\xfe",
        b"\r",
        b"{" * 5000,
        "\U0001f600".encode(),
        b"=cmd()",
        b"\xed\xa0\x80",
        b"9" * 5000,
    )
    return content[:place] + chance.choice(hostile) + content[place:]


def swapped(content: bytes, chance: Chance) -> bytes:
    half = len(content) // 2
    return content[half:] + content[:half]


DAMAGES = (flipped, cut, repeated, garbled, swapped)


def storm(
    folder: Path, files: int, chance: Chance, say: Callable[[str], None] = lambda line: None
) -> tuple[Counter, list]:
    """Damage `files` files and preprocess each; return how often each end occurred, and a line for each failure.

    `say` is called with a line of progress every 50 files.
    """
    scripts = {}
    for variant in ("nlp", "cv"):
        write(assemble(variant), folder / variant)
        # One unreadable image of 40 would exceed the default limit of 1 % and always end the run.
        settings = folder / variant / "settings.toml"
        settings.write_text(settings.read_text().replace("unreadable_share = 0.01", "unreadable_share = 0.2"))
        scripts[variant] = Forked(folder / variant, "data.preprocess")
    ends: Counter[str] = Counter()
    failures = []
    try:
        for number in range(files):
            name, (variant, make, beside) = chance.choice(list(KINDS.items()))
            how = chance.choice(DAMAGES)
            case = folder / f"case-{number}"
            for path, content in {**beside(), name: how(make(), chance)}.items():
                (case / "data" / path).parent.mkdir(parents=True, exist_ok=True)
                (case / "data" / path).write_bytes(content)
            problem, end = look(scripts[variant], case)
            ends[end] += 1
            if problem:
                failures.append(f"{name} {how.__name__} ({case}): {problem}")
            else:
                shutil.rmtree(case)
            if (number + 1) % 50 == 0:
                say(f"{number + 1} of {files} files, {len(failures)} failures")
    finally:
        for script in scripts.values():
            script.end()
    return ends, failures


def look(script: Forked, case: Path) -> tuple[str, str]:
    """Preprocess one case; return the problem ("" if it ended cleanly), and how it ended."""
    limited = ["--data", case / "data", "--output", case / "out"]
    code, said = script.run(limited, case / "log", seconds=SECONDS)
    if list(case.rglob("*.partial")):
        return "a half-written file is left", "failed"
    if code == 0:
        report = json.loads((case / "out/report/data.json").read_text())
        return "", "dropped and counted" if report["unreadable"]["count"] or report["dropped"] else "used"
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    if code == 1 and len(lines) == 1 and "Traceback" not in said:
        return "", "refused in one line"
    return f"exit status {code}: {said[-600:]}", "failed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    chance = random.Random(arguments.seed)
    ends, failures = storm(folder, arguments.files, chance, lambda line: print(line, file=sys.stderr, flush=True))
    print("| damaged files | used all the same | dropped and counted | refused in one line | failed |")
    print("|---|---|---|---|---|")
    ended = " | ".join(str(ends[end]) for end in ("used", "dropped and counted", "refused in one line", "failed"))
    print(f"| {arguments.files} | {ended} |")
    for failure in failures:
        print(failure, file=sys.stderr)
    if not failures:
        shutil.rmtree(folder)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
