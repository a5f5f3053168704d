"""Tokenise texts, each word once, and keep the ids of a split in memory-mapped files."""

import re
from array import array
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from spotkit.data.examples import Prepared
from spotkit.data.texts import cut

WORDS = re.compile(" *[^ ]+| +")  # words, each with the spaces before it
BEHIND_SPACES = re.compile(r" +\S+")  # a word with spaces before it
OTHER_SPACES = re.compile(r"[^\S ]")  # line ends, tabs and the like, which each tokenizer treats in its own way
MAX_WORDS, MAX_WORD = 200_000, 40  # kept in the cache of tokenised words: about 50 MB
WORDS_A_ROW = 200  # words that are tokenised together as one text


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
        self.padding = padding_of(tokenizer)
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


def write(prepared: Prepared, encoder: Encoder, scratch: Path, say: bool = True) -> Sequences:
    """Tokenise a split into memory-mapped files in `scratch`; with `say`, print how much of it max_tokens cuts."""
    scratch.mkdir(parents=True, exist_ok=True)
    lengths, owner, row = array("q"), array("q"), 0
    known: dict[str, bytes] = {}
    with (scratch / "ids.int32").open("wb") as file:
        for texts in prepared.in_file_order("text"):
            for sequences in encoder.encode(texts, known):
                for ids in sequences:
                    file.write(ids.tobytes())
                    lengths.append(len(ids))
                    owner.append(row)
                row += 1
    texts, texts_cut, tokens, tokens_cut = encoder.cut
    if texts_cut and say:
        print(
            f"[task] max_tokens ({encoder.settings['max_tokens']}) cuts {texts_cut / texts:.1%} of the texts, "
            f"and {tokens_cut / tokens:.1%} of all tokens",
            flush=True,
        )
    encoder.cut[:] = 0
    np.save(scratch / "lengths.npy", np.asarray(lengths))
    np.save(scratch / "rows.npy", np.asarray(owner))
    return mapped(prepared, encoder, scratch)


def mapped(prepared: Prepared, encoder: Encoder, scratch: Path) -> Sequences:
    """Return the sequences that `write` wrote to `scratch`, in this or another process of this machine."""
    example = np.empty(len(prepared), dtype=np.int64)  # row of the file -> example
    example[prepared.order] = np.arange(len(prepared))
    ids = np.memmap(scratch / "ids.int32", dtype=np.int32, mode="r")
    owner = example[np.load(scratch / "rows.npy")]
    return Sequences(ids, np.load(scratch / "lengths.npy"), owner, encoder.padding)


def sequences_of(texts: list[str], encoder: Encoder) -> Sequences:
    """Return the sequences of a few texts."""
    sequences = encoder.encode(texts)
    flat = [ids for found in sequences for ids in found]
    owner = np.repeat(np.arange(len(texts)), [len(found) for found in sequences])
    return Sequences(np.concatenate(flat), np.array([len(ids) for ids in flat]), owner, encoder.padding)


def is_by_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a text's ids are those of its words, concatenated: so for BERT's and GPT-2's (RoBERTa's) kinds."""
    split, normalizer = tokenizer.backend_tokenizer.pre_tokenizer, tokenizer.backend_tokenizer.normalizer
    gpt2s = isinstance(split, pre_tokenizers.ByteLevel) and split.use_regex
    return (
        (gpt2s or isinstance(split, pre_tokenizers.BertPreTokenizer))
        and (normalizer is None or isinstance(normalizer, normalizers.BertNormalizer))
        and all(token.special for token in tokenizer.added_tokens_decoder.values())
    )


def padding_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the padding token; without one, as in GPT-2's tokenizer, that of the end of the text."""
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id


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
