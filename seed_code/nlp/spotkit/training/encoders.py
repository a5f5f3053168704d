"""Transformers models for texts: from scratch, or with pretrained weights; with their own head, or on the tokens' mean."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from spotkit.data.tokens import padding_of

POOLING = ("model", "mean")
HEAD = "head.safetensors"
FORMAT = {"use_safetensors": True, "dtype": torch.float32}  # how weights are loaded, whatever dtype they were saved in
USUAL_TOKENS = 512  # at most, with max_tokens = 0
# On Hopper, PyTorch prefers cuDNN's attention, which takes tens of milliseconds to plan for every new shape; and each
# batch has its own length. https://github.com/pytorch/pytorch/pull/155958
torch.backends.cuda.enable_cudnn_sdp(False)


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


def build(
    settings: dict[str, Any], labels: list[str], tokenizer: PreTrainedTokenizerBase, source: str | None
) -> PreTrainedModel | MeanPooled:
    """Return the model of [model] for these classes: from scratch, or with the pretrained weights of `source`.

    `source` is a folder or a name of the hub. Raise ValueError if a setting does not fit the model.
    """
    chosen, architecture = settings["model"], architecture_of(settings["task"])
    head = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {name: number for number, name in enumerate(labels)},
    }
    if source is None:
        known = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **head}
        model = architecture.from_config(AutoConfig.for_model(chosen["name"], **known | chosen["config"]))
    else:
        model = architecture.from_pretrained(source, **FORMAT, ignore_mismatched_sizes=True, **head)
    if architecture is AutoModel:
        if model.config.is_encoder_decoder:
            raise ValueError(f"[task] pooling is 'mean', and {model.config.model_type} has a decoder. Set it to model.")
        model = MeanPooled(model, len(labels))
    # Decoders classify by the last token that is not padding: the model and the batches need the same padding id.
    model.config.pad_token_id = padding_of(tokenizer)
    return model


def load(folder: Path, settings: dict[str, Any], classes: int) -> PreTrainedModel | MeanPooled:
    """Return the model that `save_pretrained` wrote to a folder. `settings` is [task]."""
    architecture = architecture_of(settings)
    model = architecture.from_pretrained(folder, **FORMAT)
    if architecture is AutoModel:
        model = MeanPooled(model, classes)
        model.head.load_state_dict(load_file(folder / HEAD))
    return model


def head_of(model: PreTrainedModel | MeanPooled) -> torch.nn.Module:
    """Return all layers but those of the encoder."""
    if isinstance(model, MeanPooled):
        return model.head
    return torch.nn.ModuleList([part for name, part in model.named_children() if name != model.base_model_prefix])


def architecture_of(settings: dict[str, Any]) -> Any:
    """Return the transformers class for [task] pooling: with the model's own classification head, or without a head.

    Raise ValueError for an unknown pooling.
    """
    if settings["pooling"] not in POOLING:
        raise ValueError(f"[task] pooling is {settings['pooling']!r}. Choose: {', '.join(POOLING)}.")
    return AutoModel if settings["pooling"] == "mean" else AutoModelForSequenceClassification


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
