"""Text classification: what an example is, how the model is built, how a batch is made, how a prediction is read.

Edit this file and settings.toml to use your own data and your own model. spotkit/protocols.py says what is asked of it,
and tests/test_contract.py checks it.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from spotkit.data import texts, tokens
from spotkit.data.examples import Example, Prepared, Skipped, Unreadable
from spotkit.evaluation import scoring
from spotkit.serving import media
from spotkit.training import encoders, ngrams

SETTINGS = {
    "text": str | list,
    "max_characters": int,
    "max_tokens": int,
    "long_texts": str,
    "vocabulary": int,
    "pooling": str,
}
NOUN = "texts"  # what reports call the examples
SIZE = "characters"  # what reports call the size that `prepare` returns
SHOWN_CHARACTERS = 300  # of a text in a report
MAX_TOKENS = 6  # per character: its bytes, and spaces around it


# --- examples --------------------------------------------------------------------------------------------------------


def read(data: Path, settings: dict[str, Any]) -> Iterator[Example | Unreadable | Skipped]:
    """Yield the rows of one file, or of the files of a folder sorted by name, one at a time.

    Raise ValueError if a setting or a file is invalid, and NothingToRead if there is no file to read.
    """
    encoders.architecture_of(settings["task"])
    yield from texts.read(data, settings)


def identify(example: Example, settings: dict[str, Any]) -> Example | Unreadable:
    """Return the example: reading has set its key."""
    return example


def learned(greatest: int) -> dict[str, Any]:
    """Return {}: preparing a text needs nothing learned from the training split."""
    return {}


def prepare(example: Example, settings: dict[str, Any]) -> tuple[dict[str, str], int]:
    """Return the row that training reads, and the length of the text in characters before it is cut.

    The text is cut here, so that one huge text does not hold up the tokenizer.
    """
    return {"text": texts.cut(example.content, settings)}, len(example.content)


def note_of(row: dict[str, Any]) -> str:
    """Return "": there are no warnings about prepared texts."""
    return ""


def thumbnail_of(row: dict[str, Any], settings: dict[str, Any]) -> None:
    """Return None: lookalikes.py compares images only."""


def show(row: dict[str, Any], settings: dict[str, Any]) -> dict[str, str]:
    """Return what a report shows of a row: the beginning of its text."""
    return {"text": row["text"][:SHOWN_CHARACTERS] + ("…" if len(row["text"]) > SHOWN_CHARACTERS else "")}


def decode(body: bytes, content_type: str) -> list[dict[str, Any]]:
    """Return the rows of a request, one per text. Raise ValueError if its content type or its body is invalid."""
    return texts.decode(body, content_type)


# --- the model -------------------------------------------------------------------------------------------------------


class Classifier:
    """A transformers model, or the linear model, with its tokenizer and metadata: what is trained, saved and served."""

    num_draws = 0  # draws per text: texts are not augmented
    worth_compiling = True  # with short texts, launching kernels takes longer than running them

    def __init__(self, model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, facts: dict[str, Any]):
        self.model = model
        self.tokenizer = tokenizer
        self.facts = facts
        self.sgd = ngrams.SGD_RATE if isinstance(model, ngrams.NGrams) else 0.0  # 0: trained with AdamW
        self.problem: str = facts["problem"]
        self.labels: list[str] = facts["labels"]
        self.encoder = tokens.Encoder(tokenizer, facts["task"])

    @classmethod
    def create(cls, settings: dict[str, Any], train: Prepared, pretrained: Path | None) -> "Classifier":
        """Build the model that [model] names: from scratch, or with pretrained weights from the hub or a folder.

        `train` gives the problem, the classes and, for a model from scratch, the texts to train its tokenizer on.
        `pretrained` is the folder, or None. Raise ValueError if a setting does not fit the model.
        """
        chosen = settings["model"]
        facts = {"problem": train.problem, "labels": train.labels, "task": dict(settings["task"])}
        encoders.architecture_of(settings["task"])
        source = None
        if chosen["weights"] == "scratch":
            contents = (text for batch in train.in_file_order("text") for text in batch)
            tokenizer = tokens.train_tokenizer(contents, settings)
            if chosen["name"] == ngrams.NAME:
                return cls.of_ngrams(chosen["config"], train, tokenizer, facts)
        else:
            check_model(chosen)
            source = str(pretrained) if pretrained else chosen["name"]
            tokenizer = AutoTokenizer.from_pretrained(source)
        model = encoders.build(settings, train.labels, tokenizer, source)
        facts["task"]["max_tokens"] = encoders.tokens_taken(model, settings["task"]["max_tokens"])
        return cls(model, tokenizer, facts)

    @classmethod
    def of_ngrams(
        cls, config: dict[str, Any], train: Prepared, tokenizer: PreTrainedTokenizerBase, facts: dict[str, Any]
    ) -> "Classifier":
        """Return the linear model with document frequencies from the training split."""
        model, pair_weight = ngrams.NGrams.create(len(tokenizer), len(train.labels), config)
        task = facts["task"]
        task["max_tokens"] = task["max_tokens"] or MAX_TOKENS * task["max_characters"] + 8  # the complete text
        classifier = cls(model, tokenizer, facts)
        with tempfile.TemporaryDirectory() as folder:
            items = tokens.write(train, classifier.encoder, Path(folder), say=False)
            batches = scoring.batches(items.lengths, len(items))
            model.learn_frequencies(map(items.batch, batches), pair_weight)
        return classifier

    def items(self, prepared: Prepared, scratch: Path) -> tokens.Sequences:
        """Tokenise a split into memory-mapped files in `scratch`, and print how much of it is cut."""
        return tokens.write(prepared, self.encoder, scratch)

    def mapped_items(self, prepared: Prepared, scratch: Path) -> tokens.Sequences:
        """Return the sequences that `items` wrote to `scratch`, in this or another process of this machine."""
        return tokens.mapped(prepared, self.encoder, scratch)

    def items_of_request(self, rows: list[dict[str, Any]]) -> tokens.Sequences:
        """Tokenise the rows of a request. Raise ValueError for an invalid one."""
        contents = media.one_by_one(rows, lambda row: texts.text_of(row, self.facts["task"]))
        return tokens.sequences_of(contents, self.encoder)

    def last_layer(self) -> torch.nn.Module:
        """Return the layers that [model] freeze trains: all but the encoder. Raise ValueError for the linear model."""
        if isinstance(self.model, ngrams.NGrams):
            raise ValueError(f"[model] freeze is true, and {ngrams.NAME} has no layers. Set it to false.")
        return encoders.head_of(self.model)

    def logits(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return logits (batch, classes); `model` is self.model, or its compiled or DDP wrapper."""
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits

    def save(self, folder: Path) -> None:
        """Write the weights (safetensors), the configuration, the tokenizer and the metadata."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        (folder / "facts.json").write_text(json.dumps(self.facts, indent=2))

    @classmethod
    def load(cls, folder: Path) -> "Classifier":
        """Load what `save` wrote."""
        transformers_logging.disable_progress_bar()  # an endpoint's log is read by lines
        facts = json.loads((folder / "facts.json").read_text())
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if (folder / ngrams.FILE).exists():
            return cls(ngrams.NGrams.load(folder, len(tokenizer)), tokenizer, facts)
        return cls(encoders.load(folder, facts["task"], len(facts["labels"])), tokenizer, facts)


def check_model(chosen: dict[str, Any]) -> None:
    """Raise ValueError if [model] asks the hub for the linear model, which is not there."""
    if chosen["weights"] == "hub" and chosen["name"] == ngrams.NAME:
        raise ValueError(
            f"[model] name is {ngrams.NAME!r}, and weights is 'hub', which does not have it. "
            'Name a model of the hub, as "distilbert-base-uncased", or set weights to scratch.'
        )
