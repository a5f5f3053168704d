"""Measure the training of a text classifier, compared with the originals' loop, which pads every text to 512 tokens.

    .venv/bin/python benchmarks/text_training.py [--quick]     (make benchmark ONLY=text_training; 5 minutes)

One thread, CPU time. A 6-layer encoder of MiniLM's size is trained from scratch in float32 as the seed does it:
preprocess.py, a tokenizer trained on the texts, length-grouped batching, train.py's own step. Only some of an epoch's
batches are used, evenly spaced in length. The originals' loop has the same model, texts and batch size.
"""

import copy
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import made, seed
from benchmarks.measuring import items_a_second, parse, progress, show

DATA = ROOT.parent / "shared/data"
TOKENS = 512
ROUNDS = 2
MODEL = {"n_layers": 6, "n_heads": 12, "dim": 384, "hidden_dim": 1536, "max_position_embeddings": TOKENS}
SMALL = {**MODEL, "n_layers": 1, "n_heads": 2, "dim": 32, "hidden_dim": 32}


@dataclass(frozen=True)
class Texts:
    """A file of texts, its columns, the target speed-up, and the number of our training steps per round."""

    file: Path
    text: str
    label: str
    target: float
    steps: int

    def settings(self, quick: bool) -> seed.Changes:
        return {
            "data": {"label": self.label},
            "task": {"text": self.text, "max_tokens": TOKENS, "vocabulary": 1000 if quick else 30522},
            "model": {"name": "distilbert", "config": SMALL if quick else MODEL},
            "training": {"epochs": 1, "batch_size": 4 if quick else 16},
        }


REAL = {
    "hate_tweets": Texts(DATA / "hate_tweets/train.csv", "tweet", "label", 20, 16),
    "womens_reviews": Texts(DATA / "womens_reviews/reviews.csv", "Review Text", "Rating", 5, 8),
    "mtsamples": Texts(DATA / "mtsamples/mtsamples.csv", "transcription", "medical_specialty", 1.1, 4),
}


class Fixed:
    """The originals' training loop: every text padded to TOKENS tokens."""

    def __init__(self, training: Any):
        self.model = copy.deepcopy(training.classifier.model).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        data = TensorDataset(*padded(training, TOKENS))
        self.loader = DataLoader(data, batch_size=training.arguments.batch_size, shuffle=True, drop_last=True)

    def step(self, _: int) -> int:
        """Train on one random batch; return its number of texts."""
        ids, mask, labels = (tensor.to(self.model.device) for tensor in next(iter(self.loader)))
        self.model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return len(ids)


def padded(training: Any, length: int, most: int = 512) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids and mask, of shape (texts, length), and labels of the first `most` sequences, padded to `length`."""
    items = training.items
    places = list(zip(items.starts, items.lengths, strict=True))[:most]
    ids = {"input_ids": [items.ids[start : start + count].tolist() for start, count in places]}
    found = training.classifier.tokenizer.pad(ids, padding="max_length", max_length=length, return_tensors="pt")
    return found["input_ids"], found["attention_mask"], torch.from_numpy(training.truth[items.owner[:most]])


class Grouped:
    """train.py's own training steps, on a sample of an epoch's batches, sorted by length."""

    def __init__(self, nlp: SimpleNamespace, training: Any, steps: int):
        self.nlp, self.training, self.steps = nlp, training, steps
        lengths = training.items.lengths
        self.batches = sorted(training.batches(0), key=lambda batch: lengths[batch].max())

    def step(self, round_: int) -> int:
        """Train on batches evenly spaced from the shortest to the longest; return their number of texts.

        Each round uses different batches.
        """
        places = [(step + (round_ + 0.5) / ROUNDS) / self.steps for step in range(self.steps)]
        chosen = [self.batches[int(place * len(self.batches))] for place in places]
        training = self.training
        made_up = self.nlp.train.Batches(
            training.items, training.truth, chosen, training.group, seed=1, epoch=0, count=0
        )
        for items, batch in zip(chosen, DataLoader(made_up, batch_size=None), strict=True):
            training.train_on(len(items), batch)
        return sum(map(len, chosen))


def measure(texts: Texts, quick: bool) -> tuple[float, dict[str, float]]:
    """Return the mean tokens per text, and the samples per second of both ways."""
    with seed.landed("nlp", texts.settings(quick)) as nlp:
        training = seed.training(nlp, seed.prepare(nlp, texts.file))
        ways = {"fixed 512": Fixed(training).step, "ours": Grouped(nlp, training, texts.steps).step}
        return training.items.lengths.mean(), items_a_second(ways, ROUNDS)


def main(given: list[str] | None = None) -> None:
    quick = parse(given, __doc__).quick
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        chosen = REAL
        if quick:
            file = made.write_texts(Path(folder) / "made.csv", 200, words=(3, 30))
            chosen = {"made up": Texts(file, "text", "label", 1, 2)}
        for name, texts in chosen.items():
            progress(f"{name}:")
            if not texts.file.exists():
                rows.append((name, "absent: skipped", "", "", "", ""))
                continue
            tokens, rate = measure(texts, quick)
            ratio = rate["ours"] / rate["fixed 512"]
            found = f"{tokens:.0f}", f"{rate['fixed 512']:.2f}", f"{rate['ours']:.2f}", f"{ratio:.1f}x"
            rows.append((name, *found, f"{texts.target}x"))
    show(("texts", "mean tokens", "fixed 512, samples/s", "ours, samples/s", "ratio", "target"), rows)


if __name__ == "__main__":
    main()
