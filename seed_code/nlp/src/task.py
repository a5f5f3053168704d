"""Text classification: how texts are read, prepared, batched, classified and served.

This file and settings.toml are what you edit to use your own data and your own model.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from examples import Example, Prepared

SETTINGS = {"text": str, "max_characters": int, "max_tokens": int, "vocabulary": int}
SUFFIXES = {".csv": ",", ".tsv": "\t", ".jsonl": None}
csv.field_size_limit(2**31 - 1)  # a text may be long; [task] max_characters cuts it
PROBLEM_TYPES = {"multi_class": "single_label_classification", "multi_label": "multi_label_classification"}


def read(data: Path, settings: dict[str, Any]) -> Iterator[Example]:
    """Yield the rows of one CSV, TSV or JSON lines file, or of a folder of them, in the order of their names."""
    found = [data] if data.is_file() else sorted(path for path in data.rglob("*") if path.is_file())
    files = [path for path in found if path.suffix.lower() in SUFFIXES]
    if not files:
        raise ValueError(f"no {', '.join(SUFFIXES)} file in {data}. Put your texts there.")
    for path in files:
        try:
            yield from read_file(path, settings["task"]["text"], settings["data"]["label"])
        except UnicodeDecodeError as error:
            raise ValueError(f"{path.name} is not UTF-8: {error}. Save it as UTF-8.") from error
        except (csv.Error, json.JSONDecodeError) as error:
            raise ValueError(f"{path.name} cannot be read: {error}. Correct that line.") from error


def read_file(path: Path, text: str, label: str) -> Iterator[Example]:
    """Yield the rows of one file. Raises ValueError for one without the columns of settings.toml."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        for number, row in rows(lines, SUFFIXES[path.suffix.lower()]):
            where = f"{path.name}, line {number}"
            if not isinstance(row, dict):
                raise ValueError(f"{where} is {row!r}, not an object with columns.")
            for column, setting in ((text, "[task] text"), (label, "[data] label")):
                if column not in row:
                    raise ValueError(
                        f"column {column!r} not in {path.name}, which has: {', '.join(map(str, row))}. "
                        f"Set {setting} in settings.toml."
                    )
            content = str(row[text] or "").strip()
            given = row[label] if isinstance(row[label], list) else [row[label]]
            labels = [name for value in given if value is not None and (name := str(value).strip())]
            yield Example(" ".join(content.lower().split()), labels, where, content)


def rows(lines: Any, delimiter: str | None) -> Iterator[tuple[int, Any]]:
    """Number and content of each row: delimited with a header, or (no delimiter) one JSON value a line."""
    if delimiter is None:
        yield from ((number, json.loads(line)) for number, line in enumerate(lines, 1) if line.strip())
    else:
        reader = csv.DictReader(lines, delimiter=delimiter)
        yield from ((reader.line_num, row) for row in reader)


def prepare(example: Example, settings: dict[str, Any]) -> dict[str, str]:
    """Cut a text by characters, so that one huge text cannot hold up the tokenizer."""
    return {"text": example.content[: settings["max_characters"]]}


def decode(body: bytes, content_type: str) -> list[dict[str, str]]:
    """Turn a request into rows like those of `prepare`. Raises ValueError for what is not text."""
    if content_type == "text/plain":
        return [{"text": body.decode("utf-8")}]
    if content_type == "application/json":
        request = json.loads(body)
        texts = request.get("inputs") if isinstance(request, dict) else request
        texts = [texts] if isinstance(texts, str) else texts
        if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
            return [{"text": text} for text in texts]
        raise ValueError('the request is not {"inputs": "a text"} or {"inputs": ["a text", "another"]}')
    raise ValueError(f"content type {content_type} is not served. Send text/plain or application/json.")


class Classifier:
    """A transformers sequence classifier and its tokenizer: what is trained, saved and served."""

    def __init__(self, model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, facts: dict[str, Any]):
        self.model = model
        self.tokenizer = tokenizer
        self.facts = facts
        self.problem: str = facts["problem"]
        self.labels: list[str] = facts["labels"]

    @classmethod
    def create(cls, settings: dict[str, Any], train: Prepared, pretrained: Path | None) -> "Classifier":
        """Build the model that [model] names, from scratch or with pretrained weights (hub name or folder)."""
        chosen = settings["model"]
        head = {
            "num_labels": len(train.labels),
            "problem_type": PROBLEM_TYPES[train.problem],
            "id2label": dict(enumerate(train.labels)),
            "label2id": {name: number for number, name in enumerate(train.labels)},
        }
        facts = {"problem": train.problem, "labels": train.labels, "task": settings["task"]}
        if chosen["weights"] == "scratch":
            tokenizer = train_tokenizer((row["text"] for row in map(train.__getitem__, range(len(train)))), settings)
            config = AutoConfig.for_model(
                chosen["name"], vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **head
            )
            config.update(chosen["config"])
            return cls(AutoModelForSequenceClassification.from_config(config), tokenizer, facts)
        source = str(pretrained) if pretrained else chosen["name"]
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForSequenceClassification.from_pretrained(
            source, use_safetensors=True, ignore_mismatched_sizes=True, **head
        )
        return cls(model, tokenizer, facts)

    def collate(self, rows: list[dict[str, Any]], training: bool = False) -> dict[str, torch.Tensor]:
        """Tokenise rows into one batch, padded to its longest text, with its attention mask and its labels."""
        batch = self.tokenizer(
            [row["text"][: self.facts["task"]["max_characters"]] for row in rows],
            truncation=True,
            max_length=self.facts["task"]["max_tokens"],
            padding=True,
            split_special_tokens=True,  # a "[SEP]" that somebody typed stays text
            return_token_type_ids=False,
            return_tensors="pt",
        )
        if "labels" in rows[0]:
            batch["labels"] = label_tensor([row["labels"] for row in rows], len(self.labels), self.problem)
        return dict(batch)

    @torch.inference_mode()
    def predict(self, rows: list[dict[str, Any]]) -> np.ndarray:
        """Scores between 0 and 1, of shape (rows, classes): softmax for multi_class, sigmoid for multi_label."""
        self.model.eval()
        batch = self.collate([{"text": row["text"]} for row in rows])
        logits = self.model(**{name: tensor.to(self.model.device) for name, tensor in batch.items()}).logits.float()
        scores = logits.softmax(-1) if self.problem == "multi_class" else logits.sigmoid()
        return scores.cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write weights (safetensors), configuration, tokenizer and facts."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        (folder / "facts.json").write_text(json.dumps(self.facts, indent=2))

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        """Read what `save` wrote."""
        facts = json.loads((folder / "facts.json").read_text())
        model = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True)
        return cls(model, AutoTokenizer.from_pretrained(folder), facts)


def label_tensor(labels: list[list[int]], classes: int, problem: str) -> torch.Tensor:
    """Class numbers (n,) for multi_class; zeros and ones (n, classes) for multi_label."""
    if problem == "multi_class":
        return torch.tensor([numbers[0] for numbers in labels])
    return torch.stack(
        [torch.zeros(classes).index_fill_(0, torch.tensor(numbers, dtype=torch.long), 1.0) for numbers in labels]
    )


def train_tokenizer(texts: Iterator[str], settings: dict[str, Any]) -> PreTrainedTokenizerBase:
    """Learn a byte-level BPE vocabulary from the training texts, for a model that starts from scratch.

    Not WordPiece: its trainer breaks ties at random, so that equal data would train another model every time.
    """
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings["task"]["vocabulary"],
        min_frequency=2,
        special_tokens=list(special.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
