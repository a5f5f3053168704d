"""A linear model over tokens and pairs of tokens: the default for texts without pretrained weights.

On a few thousand texts, an encoder trained from scratch is worse than logistic regression over TF-IDF. This is that
regression as a PyTorch module, trained in steps like any other model. Each token has a weight per class; so has each
pair of neighbours, hashed into a table of fixed size (Weinberger et al. 2009, feature hashing; Joulin et al. 2017,
bigrams).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutput

NAME = "ngrams"
FILE = "ngrams.safetensors"
CONFIG = {"buckets": 65_536, "pair_weight": 0.5}  # rows of the table for pairs; weight of a pair, relative to a token
# SGD with this multiple of [training] learning_rate. AdamW moves the weights of a word that was seen once as far as
# those of a common word: measured on six text data sets, it memorises the rare words.
SGD_RATE = 5e3
MIN_TEXTS = 2  # tokens and pairs in fewer training texts get weight 0
PRIME, FACTORS = 2**31 - 1, (1_000_003, 48_271)  # of the hash function for pairs


class NGrams(torch.nn.Module):
    """Weights (tokens + buckets, classes), and the inverse document frequency of each row.

    Row i is token i for i < tokens, otherwise the bucket of all pairs with the hash i - tokens.
    """

    def __init__(self, tokens: int, buckets: int, classes: int):
        super().__init__()
        self.tokens, self.buckets = tokens, buckets
        self.table = torch.nn.Parameter(torch.zeros(tokens + buckets, classes))
        self.bias = torch.nn.Parameter(torch.zeros(classes))
        self.register_buffer("idf", torch.ones(tokens + buckets))

    @classmethod
    def create(cls, tokens: int, classes: int, config: dict[str, Any]) -> tuple["NGrams", float]:
        """Return an untrained model and the weight of a pair. Raise ValueError if [model.config] is invalid."""
        chosen = CONFIG | config
        if unknown := sorted(chosen.keys() - CONFIG.keys()):
            raise ValueError(f"[model.config] {unknown[0]} is not a key for {NAME}. It has: {', '.join(CONFIG)}.")
        buckets, weight = chosen["buckets"], chosen["pair_weight"]
        if type(buckets) is not int or not 1 <= buckets <= 2**24:
            raise ValueError(f"[model.config] buckets is {buckets!r}. It must be a number between 1 and {2**24}.")
        if not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise ValueError(f"[model.config] pair_weight is {weight!r}. It must be between 0 and 1; 0: no pairs.")
        return cls(tokens, buckets, classes), float(weight)

    @classmethod
    def load(cls, folder: Path, tokens: int) -> "NGrams":
        """Load what `save_pretrained` wrote."""
        state = load_file(folder / FILE)
        rows, classes = state["table"].shape
        model = cls(tokens, rows - tokens, classes)
        model.load_state_dict(state)
        return model

    def save_pretrained(self, folder: Path) -> None:
        save_file(self.state_dict(), folder / FILE)

    def learn_frequencies(self, batches: Iterable[dict[str, torch.Tensor]], pair_weight: float) -> None:
        """Set the inverse document frequencies from the training texts: log((1 + n) / (1 + texts with it)) + 1.

        That of a pair is multiplied by `pair_weight`; that of a row in fewer than MIN_TEXTS texts is 0.
        """
        found, texts = torch.zeros(len(self.idf), dtype=torch.int64), 0
        for batch in batches:
            rows, first, _ = self.rows_of(**batch)
            found += torch.bincount(rows[first], minlength=len(self.idf))
            texts += len(rows)
        idf = torch.log((1 + texts) / (1 + found.double())) + 1
        idf[found < MIN_TEXTS] = 0
        idf[self.tokens :] *= pair_weight
        self.idf.copy_(idf)

    def rows_of(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the table rows of each text's tokens and pairs, sorted, with their first places and their counts.

        All have the shape (batch, 2 * longest - 1). The second is true where a row occurs first in its text, and never
        for padding; the third is how often the row occurs there.
        """
        # Hash each pair of neighbours: (batch, longest - 1).
        pairs = (input_ids[:, :-1] * FACTORS[0] + input_ids[:, 1:]) % PRIME * FACTORS[1] % PRIME % self.buckets
        # A pair is real if its second token is: padding is on the right.
        real = torch.cat((attention_mask, attention_mask[:, 1:]), dim=1).bool()
        beyond = len(self.idf)  # the row of padding: sorts after all others
        rows = torch.cat((input_ids, pairs + self.tokens), dim=1).masked_fill(~real, beyond).sort(dim=1).values
        before = functional.pad(rows[:, :-1], (1, 0), value=-1)
        first = (rows != before) & (rows < beyond)
        # Count each row: in sorted rows, its right and left insertion points are that far apart.
        times = torch.searchsorted(rows, rows, right=True) - torch.searchsorted(rows, rows)
        return rows.clamp(max=beyond - 1), first, times

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SequenceClassifierOutput:
        rows, first, times = self.rows_of(input_ids, attention_mask)
        # TF-IDF with sublinear term frequency, once per distinct row: (batch, 2 * longest - 1), scaled to length 1.
        weights = first * self.idf[rows] * (1 + times.log())
        weights = functional.normalize(weights, dim=1)
        logits = functional.embedding_bag(rows, self.table, mode="sum", per_sample_weights=weights)
        return SequenceClassifierOutput(logits=logits + self.bias)
