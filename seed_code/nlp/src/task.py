"""Text classification: read, prepare, batch, classify and serve texts.

Edit this file and settings.toml to use your own data and your own model. preprocess.py calls the functions; train.py,
evaluate.py and inference.py use `Classifier`, and inference.py also `decode`.
"""

import json
import re
import tempfile
import unicodedata
from array import array
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import logging as transformers_logging

from spotkit.data import tables
from spotkit.data.examples import Example, NothingToRead, Prepared, Skipped, Unreadable
from spotkit.data.tables import NoText, as_text, is_utf8, labels_of, value_at
from spotkit.evaluation import scoring
from spotkit.serving import media
from spotkit.training import ngrams

SETTINGS = {
    "text": str | list,
    "max_characters": int,
    "max_tokens": int,
    "long_texts": str,
    "vocabulary": int,
    "pooling": str,
}
LONG_TEXTS = ("head", "head_tail", "windows")
POOLING = ("model", "mean")
HEAD = "head.safetensors"
FORMAT = {"use_safetensors": True, "dtype": torch.float32}  # how weights are loaded, whatever dtype they were saved in
NOUN = "texts"  # what reports call the examples
SIZE = "characters"  # what reports call the size that `prepare` returns
SHOWN_CHARACTERS = 300  # of a text in a report
FORM = (
    'the request is not {"inputs": "a text"} or {"inputs": ["a text", "another"]}, '
    'nor with {"title": "...", "text": "..."} in place of each text'
)
WORDS = re.compile(" *[^ ]+| +")  # words, each with the spaces before it
BEHIND_SPACES = re.compile(r" +\S+")  # a word with spaces before it
OTHER_SPACES = re.compile(r"[^\S ]")  # line ends, tabs and the like, which each tokenizer treats in its own way
MAX_WORDS, MAX_WORD = 200_000, 40  # kept in the cache of tokenised words: about 50 MB
WORDS_A_ROW = 200  # words that are tokenised together as one text
USUAL_TOKENS = 512  # at most, with max_tokens = 0
MAX_TOKENS = 6  # per character: its bytes, and spaces around it
# On Hopper, PyTorch prefers cuDNN's attention, which takes tens of milliseconds to plan for every new shape; and each
# batch has its own length. https://github.com/pytorch/pytorch/pull/155958
torch.backends.cuda.enable_cudnn_sdp(False)


# --- reading ---------------------------------------------------------------------------------------------------------


def read(data: Path, settings: dict[str, Any]) -> Iterator[Example | Unreadable | Skipped]:
    """Yield the rows of one file, or of the files of a folder sorted by name, one at a time.

    Raise ValueError if a setting or a file is invalid, and NothingToRead if there is no file to read.
    """
    if settings["task"]["long_texts"] not in LONG_TEXTS:
        raise ValueError(f"[task] long_texts is {settings['task']['long_texts']!r}. Choose: {', '.join(LONG_TEXTS)}.")
    architecture_of(settings["task"])
    columns, label = text_columns(settings["task"]), settings["data"]["label"]
    labels = [label] if isinstance(label, str) else label
    if both := [name for name in labels if name in columns]:
        raise ValueError(
            f"[task] text names {both[0]!r}, which is [data] label: the model would see the label. Remove it from text."
        )
    needed = tables.columns_needed(dict.fromkeys(columns, "[task] text"), settings["data"])
    empty = True
    for table in tables.find(data):
        if not isinstance(table, tables.Table):
            yield table
            continue
        empty = False
        split = table.split
        for row in tables.rows(table, needed, settings["data"]["columns"]):
            if isinstance(row.content, dict):
                yield example_of(row, columns, settings["data"], split)
            else:
                yield row.content
    if empty:
        raise NothingToRead(f"no {', '.join(tables.SUFFIXES)} file in {tables.shown(data)}. Put your texts there.")


def text_columns(settings: dict[str, Any]) -> list[str]:
    """Return the columns that make up a text. Raise ValueError if [task] text names none, or one twice."""
    named = settings["text"]
    columns = [named] if isinstance(named, str) else named
    named_well = columns and all(isinstance(column, str) and column for column in columns)
    if not named_well or len(set(columns)) < len(columns):
        raise ValueError(f'[task] text is {named!r}. Name a column, or several different ones: ["title", "text"].')
    return columns


def join(row: dict[str, Any], columns: list[str]) -> str:
    """Return the text of a row: the values of its columns that are not empty, separated by " | "."""
    return " | ".join(filter(None, (as_text(value_at(row, column), column) for column in columns)))


def example_of(row: tables.Row, columns: list[str], data: dict[str, Any], split: str) -> Example | Unreadable:
    """Return the example of a row, or the reason why there is none.

    The text is normalised (Unicode NFC). Texts that differ only in case or in whitespace have equal keys.
    """
    try:
        content = join(row.content, columns)
        labels = labels_of(row.content, data["label"], data["problem"] == "multi_label")
        split, group = tables.place_of(row.content, data, split)
    except NoText as error:
        return Unreadable(row.where, str(error))
    for what, texts in (("text", [content]), ("label", labels)):
        if any("\0" in text for text in texts):
            return Unreadable(row.where, f"a NUL byte in the {what}")
    if not all(map(is_utf8, (content, *labels))):
        return Unreadable(row.where, tables.NOT_UTF8)
    content = unicodedata.normalize("NFC", content)
    key = " ".join(content.lower().split())
    return Example(key, labels, row.where, content, row.note, split, group)


def identify(example: Example, settings: dict[str, Any]) -> Example | Unreadable:
    """Return the example: `example_of` has set its key."""
    return example


def learned(greatest: int) -> dict[str, Any]:
    """Return {}: preparing a text needs nothing learned from the training split."""
    return {}


def prepare(example: Example, settings: dict[str, Any]) -> tuple[dict[str, str], int]:
    """Return the row that training reads, and the length of the text in characters before it is cut.

    The text is cut here, so that one huge text does not hold up the tokenizer.
    """
    return {"text": cut(example.content, settings)}, len(example.content)


def cut(text: str, settings: dict[str, Any]) -> str:
    """Cut a text to max_characters: its start, or with long_texts = "head_tail" one half each from start and end."""
    text, most = unicodedata.normalize("NFC", text), settings["max_characters"]
    if len(text) <= most or settings["long_texts"] != "head_tail":
        return text[:most]
    return text[: most - most // 2] + " " + text[len(text) - most // 2 :]


def note_of(row: dict[str, Any]) -> str:
    """Return "": there are no warnings about prepared texts."""
    return ""


def thumbnail_of(row: dict[str, Any], settings: dict[str, Any]) -> None:
    """Return None: lookalikes.py compares images only."""


def show(row: dict[str, Any], settings: dict[str, Any]) -> dict[str, str]:
    """Return what a report shows of a row: the beginning of its text."""
    return {"text": row["text"][:SHOWN_CHARACTERS] + ("…" if len(row["text"]) > SHOWN_CHARACTERS else "")}


def decode(body: bytes, content_type: str) -> list[dict[str, Any]]:
    """Return the rows of a request, one per text. Raise ValueError if its content type or its body is invalid.

    A row has "text", "columns" (a dict) or, from CSV, "values" in the order of [task] text.
    """
    kind, charset = media.parse(content_type)
    if kind == "text/plain":
        return [{"text": media.text_of(body, charset)}]
    if kind == media.CSV:
        return [{"values": values} for values in media.rows_of(media.text_of(body, charset))]
    if kind in (media.ONE, media.LINES):
        return media.rows_made(body, (kind, charset), row_of, FORM)
    raise ValueError(
        f"content type {kind} is not served. Send text/plain, application/json, application/jsonlines or text/csv."
    )


def row_of(item: Any) -> dict[str, Any]:
    """Return the row of one JSON value: a text, or an object with the columns of one. Raise ValueError for others."""
    if isinstance(item, str) and is_utf8(item):
        return {"text": item}
    if isinstance(item, dict):
        return {"columns": item}
    raise ValueError(f"{media.shown(item)} is not a string; {FORM}")


def text_of(row: dict[str, Any], settings: dict[str, Any]) -> str:
    """Return the text of a request's row, joined from its columns as in training.

    Raise ValueError if a column is missing or holds no text, or if the text is empty.
    """
    if "text" in row:
        text = row["text"]
    else:
        columns = text_columns(settings)
        given = row["columns"] if "columns" in row else dict(zip(columns, row["values"], strict=False))
        if len(row.get("values", columns)) != len(columns):
            raise ValueError(f"a row has {len(row['values'])} values. Send {', '.join(columns)}, without a header.")
        if missing := [column for column in columns if column not in given]:
            raise ValueError(
                f"the request has no {', '.join(missing)}. Send all of: {', '.join(columns)}; or one text."
            )
        for column in columns:
            if not isinstance(given[column], str | int | float | None) or not is_utf8(as_text(given[column])):
                raise ValueError(f"{column} is {ascii(given[column])} in the request. Send a text.")
        text = join(given, columns)
    if not text.strip():
        raise ValueError("a text of the request is empty. Send at least a word.")
    return text


# --- batches ---------------------------------------------------------------------------------------------------------


class Sequences:
    """Token ids of many texts in one flat array; a text has one sequence, or several with long_texts = "windows".

    `ids` has the shape (tokens,). Sequence i is ids[starts[i] : starts[i] + lengths[i]] and belongs to example
    owner[i]; the sequences are sorted by example.
    """

    def __init__(self, ids: np.ndarray, lengths: np.ndarray, owner: np.ndarray, padding: int):
        order = np.argsort(owner, kind="stable")
        starts = np.cumsum(lengths) - lengths
        self.ids, self.padding = ids, padding
        self.starts, self.lengths, self.owner = starts[order], lengths[order], owner[order]

    def __len__(self) -> int:
        return len(self.owner)

    def batch(self, items: np.ndarray) -> dict[str, torch.Tensor]:
        """Return these sequences, padded to the longest, with their attention mask: int64 (batch, longest) each."""
        lengths = self.lengths[items]
        ids = np.full((len(items), lengths.max()), self.padding, dtype=np.int64)
        for row, start, length in zip(ids, self.starts[items], lengths, strict=True):
            row[:length] = self.ids[start : start + length]
        mask = np.arange(ids.shape[1]) < lengths[:, None]
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


class Encoder:
    """Turns texts into token ids in batches; the ids are those of the tokenizer for each single text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: dict[str, Any]):
        self.backend = tokenizer.backend_tokenizer
        self.backend.encode_special_tokens = True  # a typed "[SEP]" stays text
        self.backend.no_truncation()
        self.backend.no_padding()
        self.settings = settings
        self.by_words = is_by_words(tokenizer)
        # Find the special tokens before and after a text by encoding one without and with them.
        bare, whole = (self.backend.encode("a", add_special_tokens=special).ids for special in (False, True))
        start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
        self.before = np.array(whole[:start], dtype=np.int32)
        self.after = np.array(whole[start + len(bare) :], dtype=np.int32)
        self.room = settings["max_tokens"] - len(self.before) - len(self.after)  # tokens of the text itself
        self.cut = np.zeros(4, dtype=np.int64)  # counts: texts, cut texts, tokens, cut tokens
        if self.room < 2:
            raise ValueError(f"[task] max_tokens is {settings['max_tokens']}, too few for a text. Take at least 8.")

    def encode(self, texts: list[str], known: dict[str, bytes] | None = None) -> list[list[np.ndarray]]:
        """Return the sequences of each text: ids with the model's special tokens, at most max_tokens long.

        `known` is a cache of tokenised words, empty at first, to pass from call to call: for many texts, encoding is
        then several times as fast.
        """
        texts = [cut(text, self.settings) for text in texts]
        found = self.tokens(texts) if known is None or not self.by_words else self.tokens_by_words(texts, known)
        if known is not None and self.settings["long_texts"] != "windows":  # a split, not a request
            self.cut += (len(found), sum(len(ids) > self.room for ids in found), sum(map(len, found)),
                         sum(max(0, len(ids) - self.room) for ids in found))  # fmt: skip
        return [[np.concatenate((self.before, piece, self.after)) for piece in self.pieces(ids)] for ids in found]

    def tokens(self, texts: list[str]) -> list[np.ndarray]:
        """Return all ids of each text, without special tokens."""
        found = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in found]

    def tokens_by_words(self, texts: list[str], known: dict[str, bytes]) -> list[np.ndarray]:
        """Return the same as `tokens` from the ids of the words; only words that are not in `known` are tokenised."""
        # A text with other whitespace is not split: it counts as one word.
        split = [[text] if OTHER_SPACES.search(text) else WORDS.findall(text) for text in texts]
        new = set(chain.from_iterable(split)).difference(known)
        behind_spaces = list(filter(BEHIND_SPACES.fullmatch, new))
        alone = list(new.difference(behind_spaces))
        known.update(zip(behind_spaces, self.tokens_of_words(behind_spaces), strict=True))
        known.update(zip(alone, (ids.tobytes() for ids in self.tokens(alone)), strict=True))
        found = [np.frombuffer(b"".join(map(known.__getitem__, words)), dtype=np.int32) for words in split]
        for word in new:
            if len(word) > MAX_WORD:
                del known[word]
        if len(known) > MAX_WORDS:
            known.clear()
        return found

    def tokens_of_words(self, words: list[str]) -> Iterator[bytes]:
        """Yield the ids of each word as int32 bytes; the words begin with spaces. Many are one text: half the work."""
        rows = [words[start : start + WORDS_A_ROW] for start in range(0, len(words), WORDS_A_ROW)]
        found = self.backend.encode_batch(["".join(row) for row in rows], add_special_tokens=False)
        for row, encoding in zip(rows, found, strict=True):
            ids = np.array(encoding.ids, dtype=np.int32).tobytes()
            begins = [begin for begin, _ in encoding.offsets]
            first = 4 * np.searchsorted(begins, np.cumsum([0, *map(len, row)]))  # of each word in `ids`, in bytes
            yield from (ids[start:end] for start, end in pairwise(first.tolist()))

    def pieces(self, ids: np.ndarray) -> list[np.ndarray]:
        """Return the parts of a text's ids that are used, at most `room` ids each, as [task] long_texts says."""
        if len(ids) <= self.room or self.settings["long_texts"] == "head":
            return [ids[: self.room]]
        if self.settings["long_texts"] == "head_tail":
            tail = self.room // 2
            return [np.concatenate((ids[: self.room - tail], ids[-tail:]))]
        # Windows overlap by a quarter, so that a sentence that one window cuts is complete in the other.
        step = self.room - self.room // 4
        return [ids[start : start + self.room] for start in range(0, len(ids) - self.room // 4, step)]


def is_by_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a text's ids are those of its words, concatenated: so for BERT's and GPT-2's (RoBERTa's) kinds."""
    split, normalizer = tokenizer.backend_tokenizer.pre_tokenizer, tokenizer.backend_tokenizer.normalizer
    gpt2s = isinstance(split, pre_tokenizers.ByteLevel) and split.use_regex
    return (
        (gpt2s or isinstance(split, pre_tokenizers.BertPreTokenizer))
        and (normalizer is None or isinstance(normalizer, normalizers.BertNormalizer))
        and all(token.special for token in tokenizer.added_tokens_decoder.values())
    )


# --- the model -------------------------------------------------------------------------------------------------------


class MeanPooled(torch.nn.Module):
    """An encoder with a linear layer on the mean of its tokens' hidden states.

    Sentence encoders are trained with this mean (Reimers and Gurevych 2019).
    """

    def __init__(self, encoder: PreTrainedModel, classes: int):
        super().__init__()
        if isinstance(pooler := getattr(encoder, "pooler", None), torch.nn.Module):
            pooler.requires_grad_(False)  # it transforms the first token, which is not used here
        self.encoder = encoder
        self.head = torch.nn.Linear(encoder.config.hidden_size, classes)

    @property
    def config(self) -> PreTrainedConfig:
        return self.encoder.config

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SequenceClassifierOutput:
        # States: (batch, tokens, hidden); mask: (batch, tokens, 1).
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        return SequenceClassifierOutput(logits=self.head((states * mask).sum(1) / mask.sum(1).clamp(min=1)))

    def save_pretrained(self, folder: Path) -> None:
        self.encoder.save_pretrained(folder)
        save_file(self.head.state_dict(), folder / HEAD)


class Classifier:
    """A transformers model, or the linear model, with its tokenizer and metadata: what is trained, saved and served."""

    num_draws = 0  # draws per text: texts are not augmented

    def __init__(self, model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, facts: dict[str, Any]):
        self.model = model
        self.tokenizer = tokenizer
        self.facts = facts
        self.sgd = ngrams.SGD_RATE if isinstance(model, ngrams.NGrams) else 0.0  # 0: trained with AdamW
        self.problem: str = facts["problem"]
        self.labels: list[str] = facts["labels"]
        self.encoder = Encoder(tokenizer, facts["task"])
        self.padding = padding_of(tokenizer)

    @classmethod
    def create(cls, settings: dict[str, Any], train: Prepared, pretrained: Path | None) -> "Classifier":
        """Build the model that [model] names: from scratch, or with pretrained weights from the hub or a folder.

        `train` gives the problem, the classes and, for a model from scratch, the texts to train its tokenizer on.
        `pretrained` is the folder, or None. Raise ValueError if a setting does not fit the model.
        """
        chosen = settings["model"]
        head = {
            "num_labels": len(train.labels),
            "id2label": dict(enumerate(train.labels)),
            "label2id": {name: number for number, name in enumerate(train.labels)},
        }
        facts = {"problem": train.problem, "labels": train.labels, "task": dict(settings["task"])}
        architecture = architecture_of(settings["task"])
        if chosen["weights"] == "scratch":
            texts = (text for batch in train.in_file_order("text") for text in batch)
            tokenizer = train_tokenizer(texts, settings)
            if chosen["name"] == ngrams.NAME:
                return cls.of_ngrams(chosen["config"], train, tokenizer, facts)
            known = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **head}
            config = AutoConfig.for_model(chosen["name"], **known | chosen["config"])
            model = architecture.from_config(config)
        else:
            check_model(chosen)
            source = str(pretrained) if pretrained else chosen["name"]
            tokenizer = AutoTokenizer.from_pretrained(source)
            model = architecture.from_pretrained(source, **FORMAT, ignore_mismatched_sizes=True, **head)
        if architecture is AutoModel:
            if model.config.is_encoder_decoder:
                raise ValueError(
                    f"[task] pooling is 'mean', and {model.config.model_type} has a decoder. Set it to model."
                )
            model = MeanPooled(model, len(train.labels))
        # Decoders classify by the last token that is not padding: the model and the batches need the same padding id.
        model.config.pad_token_id = padding_of(tokenizer)
        facts["task"]["max_tokens"] = tokens_taken(model, settings["task"]["max_tokens"])
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
            items = classifier.items(train, Path(folder), say=False)
            batches = scoring.batches(items.lengths, len(items))
            model.learn_frequencies(map(items.batch, batches), pair_weight)
        return classifier

    def items(self, prepared: Prepared, scratch: Path, say: bool = True) -> Sequences:
        """Tokenise a split into memory-mapped files in `scratch`; with `say`, print how much of it is cut."""
        scratch.mkdir(parents=True, exist_ok=True)
        lengths, owner, row = array("q"), array("q"), 0
        known: dict[str, bytes] = {}
        with (scratch / "ids.int32").open("wb") as file:
            for texts in prepared.in_file_order("text"):
                for sequences in self.encoder.encode(texts, known):
                    for ids in sequences:
                        file.write(ids.tobytes())
                        lengths.append(len(ids))
                        owner.append(row)
                    row += 1
        texts, texts_cut, tokens, tokens_cut = self.encoder.cut
        if texts_cut and say:
            print(
                f"[task] max_tokens ({self.facts['task']['max_tokens']}) cuts {texts_cut / texts:.1%} of the texts, "
                f"and {tokens_cut / tokens:.1%} of all tokens",
                flush=True,
            )
        self.encoder.cut[:] = 0
        np.save(scratch / "lengths.npy", np.asarray(lengths))
        np.save(scratch / "rows.npy", np.asarray(owner))
        return self.mapped_items(prepared, scratch)

    def mapped_items(self, prepared: Prepared, scratch: Path) -> Sequences:
        """Return the sequences that `items` wrote to `scratch`, in this or another process of this machine."""
        example = np.empty(len(prepared), dtype=np.int64)  # row of the file -> example
        example[prepared.order] = np.arange(len(prepared))
        ids = np.memmap(scratch / "ids.int32", dtype=np.int32, mode="r")
        return Sequences(ids, np.load(scratch / "lengths.npy"), example[np.load(scratch / "rows.npy")], self.padding)

    def items_of_request(self, rows: list[dict[str, Any]]) -> Sequences:
        """Tokenise the rows of a request. Raise ValueError for an invalid one."""
        texts = media.one_by_one(rows, lambda row: text_of(row, self.facts["task"]))
        sequences = self.encoder.encode(texts)
        flat = [ids for found in sequences for ids in found]
        owner = np.repeat(np.arange(len(rows)), [len(found) for found in sequences])
        return Sequences(np.concatenate(flat), np.array([len(ids) for ids in flat]), owner, self.padding)

    def last_layer(self) -> torch.nn.Module:
        """Return the layers that [model] freeze trains: all but the encoder. Raise ValueError for the linear model."""
        if isinstance(self.model, MeanPooled):
            return self.model.head
        if isinstance(self.model, ngrams.NGrams):
            raise ValueError(f"[model] freeze is true, and {ngrams.NAME} has no layers. Set it to false.")
        encoder = self.model.base_model_prefix
        return torch.nn.ModuleList([part for name, part in self.model.named_children() if name != encoder])

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
        if (folder / ngrams.FILE).exists():
            tokenizer = AutoTokenizer.from_pretrained(folder)
            return cls(ngrams.NGrams.load(folder, len(tokenizer)), tokenizer, facts)
        architecture = architecture_of(facts["task"])
        model = architecture.from_pretrained(folder, **FORMAT)
        if architecture is AutoModel:
            model = MeanPooled(model, len(facts["labels"]))
            model.head.load_state_dict(load_file(folder / HEAD))
        return cls(model, AutoTokenizer.from_pretrained(folder), facts)


def check_model(chosen: dict[str, Any]) -> None:
    """Raise ValueError if [model] asks the hub for the linear model, which is not there."""
    if chosen["weights"] == "hub" and chosen["name"] == ngrams.NAME:
        raise ValueError(
            f"[model] name is {ngrams.NAME!r}, and weights is 'hub', which does not have it. "
            'Name a model of the hub, as "distilbert-base-uncased", or set weights to scratch.'
        )


def architecture_of(settings: dict[str, Any]) -> Any:
    """Return the transformers class for [task] pooling: with the model's own classification head, or without a head.

    Raise ValueError for an unknown pooling.
    """
    if settings["pooling"] not in POOLING:
        raise ValueError(f"[task] pooling is {settings['pooling']!r}. Choose: {', '.join(POOLING)}.")
    return AutoModel if settings["pooling"] == "mean" else AutoModelForSequenceClassification


def padding_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the padding token; without one, as in GPT-2's tokenizer, that of the end of the text."""
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id


def tokens_taken(model: torch.nn.Module, max_tokens: int) -> int:
    """Return the tokens per text: [task] max_tokens, or if it is 0, as many as the model takes, up to 512.

    Raise ValueError if the model has fewer positions.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    # RoBERTa's positions begin after the padding id: those up to it are not available.
    for name, part in model.named_modules():
        if positions and name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            positions -= part.padding_idx + 1
    if positions and max_tokens > positions:
        raise ValueError(f"[task] max_tokens is {max_tokens}, and {model.config.model_type} takes {positions} at most.")
    return max_tokens or min(positions or USUAL_TOKENS, USUAL_TOKENS)


def train_tokenizer(texts: Iterator[str], settings: dict[str, Any]) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE tokenizer on the training texts, for a model from scratch.

    Not WordPiece: its trainer breaks ties at random, so that equal data would give a different model every time.
    """
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
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
