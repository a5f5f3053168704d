"""Train the model that settings.toml and task.py describe, and resume where an interrupted run stopped.

Run it locally:  python src/train.py --train work/prepared/train --validation work/prepared/validation --output work
On 2 processes:  torchrun --nproc-per-node 2 src/train.py --train ... (start.py does so on several GPUs or instances)
In SageMaker:    a training job, on demand or on spot instances.

An interruption does not change the result. All randomness is a function of the position in training: the order of an
epoch depends on (seed, epoch), augmentation on (seed, epoch, example), dropout on (seed, step, rank). So there is no
random state to save, and a run that was killed and resumed ends with the same weights as one that was not. This is why
the loop is our own: the ordering, saving and loading of a transformers Trainer would all have to be replaced.
"""

import argparse
import contextlib
import hashlib
import json
import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers.utils import logging as transformers_logging

import task
from spotkit import settings
from spotkit.data import examples
from spotkit.evaluation import metrics, plots, scoring
from spotkit.jobs import job
from spotkit.training import checkpoints, distributed, tracking

BATCHES_TO_GROUP = 50  # batches per length-sorting window
STEPS_WORTH_COMPILING = 10_000  # compiling takes about a minute, which shorter runs do not gain back
MAX_GRADIENT = 1.0  # norm that gradients are clipped to
SECONDS_BETWEEN_LINES = 10
# The inference images look for code/inference.py in the model's archive, and for these four functions in it.
ENTRY = "from spotkit.serving.inference import input_fn, model_fn, output_fn, predict_fn  # noqa: F401\n"


def parse_arguments() -> argparse.Namespace:
    channels, chosen, given = job.OPT_ML / "input/data", settings.load()["training"], job.hyperparameters()

    def channel(name: str) -> Path:
        return Path(os.environ.get(f"SM_CHANNEL_{name.upper()}", channels / name))

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--train", type=Path, default=channel("train"))
    parser.add_argument("--validation", type=Path, default=channel("validation"))
    parser.add_argument("--pretrained", type=Path, default=channel("pretrained"))
    parser.add_argument("--output", type=Path, help="a local folder that takes model, plots and checkpoints")
    for name in settings.TUNABLE:  # strings in hyperparameters.json; the images' toolkit also passes arguments
        kind = settings.KNOWN["training"][name]
        names = {f"--{name}", f"--{name.replace('_', '-')}"}
        parser.add_argument(*sorted(names), dest=name, type=kind, default=kind(given.get(name) or chosen[name]))
    arguments, others = parser.parse_known_args()
    # The toolkit passes every hyperparameter, its own too, as an argument; any other argument is mistyped.
    if mistyped := [flag for flag in others if flag.startswith("-") and flag.lstrip("-").split("=")[0] not in given]:
        parser.error(f"unrecognized arguments: {' '.join(mistyped)}")
    for name in settings.TUNABLE:
        settings.check_range("training", name, getattr(arguments, name))
    local = arguments.output
    arguments.model = local / "model" if local else Path(os.environ.get("SM_MODEL_DIR", job.OPT_ML / "model"))
    output = Path(os.environ.get("SM_OUTPUT_DATA_DIR", job.OPT_ML / "output/data"))
    arguments.plots = local / "plots" if local else output
    arguments.checkpoints = local / "checkpoints" if local else job.checkpoints()
    return arguments


# --- the signal ------------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    """Raised when training was asked to stop and its state is saved."""


class Interruption:
    """Remembers SIGTERM, by which SageMaker announces that it takes the instance away.

    Training checks it between steps, and between the batches of a validation.
    """

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self.request)

    def request(self, *_: object) -> None:
        self.requested = True


# --- the order of the data -------------------------------------------------------------------------------------------


def batches_of_epoch(
    count: int, lengths: np.ndarray | None, size: int, seed: int, epoch: int, processes: int = 1
) -> list[np.ndarray]:
    """Return the numbers 0 to `count` in batches of `size`, in an order that depends on (seed, epoch) alone.

    With `lengths`, sequences of similar length share a batch (length-grouped batching), and the batches are in random
    order. A small last batch is merged into the one before, so that every batch has at least two sequences for each
    process.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    order = generator.permutation(count)
    if lengths is not None:
        # Sort within windows of random sequences: less padding, and batches still differ from epoch to epoch.
        group = size * BATCHES_TO_GROUP
        groups = [order[start : start + group] for start in range(0, count, group)]
        order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in groups])
    # Merge a last batch of less than half the size into the one before: BatchNorm cannot train on a single example.
    starts = list(range(0, count, size))
    if len(starts) > 1 and count - starts[-1] < max(2 * processes, size / 2):
        starts.pop()
    batches = np.split(order, starts[1:])
    if lengths is not None:
        batches = [batches[number] for number in generator.permutation(len(batches))]
    return batches


def leave_signal_to_the_trainer(_: int) -> None:
    """Ignore SIGTERM in a worker of the DataLoader.

    The signal may go to the whole process group; the trainer still needs its workers to finish the step.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Batches(torch.utils.data.Dataset):
    """The batches of one epoch as a dataset: each is made on access, with this rank's share of its examples."""

    def __init__(
        self, items: Any, truth: np.ndarray, batches: list[np.ndarray], group: distributed.Group, **draws: int
    ):
        self.items, self.truth, self.batches, self.group, self.draws = items, truth, batches, group, draws

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
        chosen = self.batches[number][self.group.rank :: self.group.size]  # this rank's share
        labels = torch.from_numpy(self.truth[self.items.owner[chosen]])
        return self.items.batch(chosen), labels, draw_uniform(chosen, **self.draws)


def draw_uniform(items: np.ndarray, seed: int, epoch: int, count: int) -> torch.Tensor:
    """Return numbers in 0..1 of shape (items, count); each row depends on (seed, epoch, item) alone.

    Source: counter-based generators, Salmon et al. 2011.
    """
    if not count:
        return torch.empty(len(items), 0)
    # Philox is counter-based: with the item's number in the counter, each item has a stream of its own.
    draws = [np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, item])) for item in items]
    return torch.from_numpy(np.stack([draw.random(count) for draw in draws]))


# --- training --------------------------------------------------------------------------------------------------------


def precision_of(wanted: str, device: torch.device) -> torch.dtype:
    """Return the dtype of autocast: the one that is set or, for "auto", the best that the device supports."""
    if wanted == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wanted]


def learning_rate(step: int, steps: int, highest: float, warmup_share: float, schedule: str = "linear") -> float:
    """Return the learning rate of a step: a linear warm-up to `highest`, then a linear or half-cosine decay to 0."""
    warmup = warmup_share * steps
    left = (steps - step) / max(1.0, steps - warmup)  # 1 at the end of the warm-up, 0 at the end of training
    if schedule == "cosine":
        left = (1 - math.cos(math.pi * min(1.0, left))) / 2
    return highest * min((step + 1) / (warmup + 1), left)


def loss_of(
    logits: torch.Tensor,
    labels: torch.Tensor,
    problem: str,
    weights: torch.Tensor | None = None,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Return the sum of the examples' losses: cross entropy, or for multi_label the classes' mean binary cross entropy.

    `logits` has shape (batch, classes); `labels` has shape (batch,), or (batch, classes) for multi_label. `weights`
    (classes,) weight each example by its class; for multi_label, the examples that have the label.
    """
    if problem == "multi_label":
        wanted = labels * (1 - smoothing) + smoothing / 2  # (batch, classes)
        losses = functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weights, reduction="sum")
        return losses / labels.shape[1]
    # Not reduction="mean", which divides by the batch's weights: balanced weights average to 1 over all examples.
    return functional.cross_entropy(logits, labels, weight=weights, reduction="sum", label_smoothing=smoothing)


def class_weights(wanted: str | dict[str, float], truth: np.ndarray, labels: list[str]) -> np.ndarray | None:
    """Return the weights that [training] class_weights sets, of shape (classes,); None if all classes weigh the same.

    balanced: every class has the same weight in total (King and Zeng 2001); for multi_label, the examples with a label
    weigh as much as those without it. Raise ValueError for a name that is not a class.
    """
    if wanted == "none":
        return None
    if isinstance(wanted, dict):
        if unknown := [name for name in wanted if name not in labels]:
            raise ValueError(f"[training] class_weights names {unknown[0]!r}. The classes are: {', '.join(labels)}.")
        return np.array([wanted.get(name, 1.0) for name in labels])
    if truth.ndim == 2:
        having = truth.sum(axis=0)
        return (len(truth) - having) / np.maximum(having, 1)
    counts = np.bincount(truth, minlength=len(labels))
    return len(truth) / np.maximum(counts, 1) / max(1, np.count_nonzero(counts))


def loss_of_scores(scores: np.ndarray, truth: np.ndarray, problem: str) -> float:
    """Return the mean of the examples' losses from scores in 0..1: as loss_of, without weights and smoothing."""
    safe = np.clip(scores, 1e-12, 1 - 1e-12)
    if problem == "multi_label":
        return float(-(truth * np.log(safe) + (1 - truth) * np.log(1 - safe)).mean())
    return float(-np.log(safe[np.arange(len(truth)), truth]).mean())


class Training:
    """A training run, from the start or its last checkpoint to the end."""

    def __init__(
        self,
        classifier: Any,
        splits: dict[str, tuple[Any, np.ndarray]],
        arguments: argparse.Namespace,
        chosen: settings.Settings,
        group: distributed.Group,
        interruption: Interruption,
    ):
        self.classifier, self.arguments, self.chosen, self.group = classifier, arguments, chosen["training"], group
        self.metric = chosen["gate"]["metric"]
        self.interruption = interruption
        self.items, self.truth = splits["train"]
        self.validation_items, self.validation_truth = splits["validation"]
        self.device = torch.device("cuda", group.local_rank) if torch.cuda.is_available() else torch.device("cpu")
        classifier.model.to(self.device)
        self.frozen = chosen["model"]["freeze"]
        if self.frozen:
            classifier.model.requires_grad_(False)
            classifier.last_layer().requires_grad_(True)
        self.parameters = [parameter for parameter in classifier.model.parameters() if parameter.requires_grad]
        self.optimizer = self.make_optimizer()
        weights = class_weights(self.chosen["class_weights"], self.truth, classifier.labels)
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=self.device)
        self.dtype = precision_of(self.chosen["precision"], self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)
        if min(arguments.batch_size, len(self.items)) < 2 * group.size:
            raise ValueError(
                f"{len(self.items)} examples in batches of {arguments.batch_size} are too few for {group.size} processes, "
                "which need two each. Make batch_size larger, or take fewer instances."
            )
        self.steps_an_epoch = len(self.batches(0))
        self.steps = self.steps_an_epoch * arguments.epochs
        self.model = self.wrap(classifier.model)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}
        self.step = 0
        self.started, self.started_at = time.monotonic(), 0  # when and at which step this process began, for its speed
        self.seconds = 0.0  # of earlier, interrupted runs, up to their last checkpoint
        self.loss = torch.zeros((), dtype=torch.float64, device=self.device)  # summed this epoch
        self.seen = 0  # examples seen this epoch on this rank
        self.saved = self.spoken = time.monotonic()
        self.saving = 0.0  # seconds that training waited for checkpoints
        self.checkpoints = checkpoints.Checkpoints(arguments.checkpoints) if group.first else None
        hyperparameters = {name: getattr(arguments, name) for name in settings.TUNABLE}
        self.run_of = {
            "settings": chosen["model"] | chosen["task"] | chosen["training"] | hyperparameters,
            "metric": self.metric,
            "data": [fingerprint(*splits[name], classifier.labels) for name in ("train", "validation")],
        }
        self.run_of = json.loads(json.dumps(self.run_of))  # as a checkpoint returns it, to be compared

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Return AdamW, or SGD with momentum if the model sets `sgd`.

        Biases and the weights of norms, which have one dimension, do not decay.
        """
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": self.arguments.weight_decay},
            {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if factor := self.classifier.sgd:
            # SGD multiplies the decay by its learning rate, which is `factor` times the set one: divide it.
            return torch.optim.SGD(
                [group | {"factor": factor, "weight_decay": group["weight_decay"] / factor} for group in groups],
                momentum=0.9,
                fused=True,
            )
        return torch.optim.AdamW(groups, fused=True)

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return the model as it is trained: compiled if that pays, in DDP if there are several processes."""
        wanted, vary = self.chosen["compile"], self.items.lengths is not None
        worth = self.classifier.worth_compiling and self.steps >= STEPS_WORTH_COMPILING
        if wanted == "always" or (wanted == "auto" and worth and self.device.type == "cuda"):
            model = torch.compile(model, dynamic=True if vary else None)  # batches differ in length
        if self.group.size > 1:
            devices = [self.device] if self.device.type == "cuda" else None
            model = torch.nn.parallel.DistributedDataParallel(model, device_ids=devices)
        return model

    def arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        """Return the autocast context that the model runs in."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not torch.float32)

    def batches(self, epoch: int) -> list[np.ndarray]:
        size = self.arguments.batch_size
        count, lengths = len(self.items), self.items.lengths
        return batches_of_epoch(count, lengths, size, self.chosen["seed"], epoch, self.group.size)

    # --- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the end. Raise Interrupted, with everything saved, if the instance is taken away."""
        self.started, self.started_at = time.monotonic(), self.step
        while True:
            epochs_done, position = divmod(self.step, self.steps_an_epoch)
            if epochs_done > len(self.history):  # an epoch that is not validated yet, perhaps of an interrupted run
                self.validate()
            if self.step == self.steps or self.has_stopped_gaining():
                return
            self.model.train()
            if self.frozen:
                keep_frozen(self.classifier.model)
            for batch in self.load(epochs_done, position):
                self.train_on(*batch)
                self.between_steps()

    def has_stopped_gaining(self) -> bool:
        """Return whether [training] patience is over: so many epochs since the best one."""
        patience = self.chosen["patience"]
        best = next((entry["epoch"] for entry in self.history if entry["best"]), 0)
        return bool(patience) and self.step % self.steps_an_epoch == 0 and len(self.history) - best >= patience

    def load(self, epoch: int, position: int) -> Iterator[tuple[int, Any]]:
        """Yield the batches of an epoch from `position` on, each with its number of examples on all ranks."""
        batches = self.batches(epoch)
        draws = {"seed": self.chosen["seed"], "epoch": epoch, "count": self.classifier.num_draws}
        loader = torch.utils.data.DataLoader(
            Batches(self.items, self.truth, batches, self.group, **draws),
            batch_size=None,  # the dataset returns complete batches
            sampler=range(position, len(batches)),
            num_workers=self.chosen["workers"],
            worker_init_fn=leave_signal_to_the_trainer,
            pin_memory=self.device.type == "cuda",
        )
        for number, batch in enumerate(loader, position):
            yield len(batches[number]), batch

    def train_on(self, count: int, batch: tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]) -> None:
        """Run one step: forward, backward, update. `count` is the batch's number of examples on all ranks."""
        # For dropout: a resumed run draws the same numbers at this step.
        torch.manual_seed(examples.hash64(f"{self.chosen['seed']} {self.step} {self.group.rank}"))
        inputs, labels, random = batch
        inputs = {name: tensor.to(self.device, non_blocking=True) for name, tensor in inputs.items()}
        labels = labels.to(self.device, non_blocking=True)
        if random.shape[1]:
            inputs = self.classifier.augment(inputs, random)
        # Gradient accumulation, with two examples at least: BatchNorm cannot train on a single one.
        parts = max(1, min(self.chosen["accumulate"], len(labels) // 2))
        for part in torch.arange(len(labels), device=self.device).tensor_split(parts):
            self.learn_from({name: tensor[part] for name, tensor in inputs.items()}, labels[part], count)
        self.scaler.unscale_(self.optimizer)  # clip the gradients themselves, not scaled ones
        torch.nn.utils.clip_grad_norm_(self.parameters, MAX_GRADIENT)
        schedule = (self.arguments.learning_rate, self.arguments.warmup_share, self.chosen["schedule"])
        rate = learning_rate(self.step, self.steps, *schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.seen += len(labels)
        self.step += 1

    def learn_from(self, inputs: dict[str, torch.Tensor], labels: torch.Tensor, count: int) -> None:
        """Add the gradients of a batch, or of a part of it. `count` is as in train_on."""
        with self.arithmetic():
            logits = self.classifier.logits(self.model, inputs)  # (batch, classes)
        smoothing = self.chosen["label_smoothing"]
        loss = loss_of(logits.float(), labels, self.classifier.problem, self.weights, smoothing)
        # DDP averages gradients over the ranks; scale by world_size / batch_size to get the batch mean.
        self.scaler.scale(loss * self.group.size / count).backward()
        self.loss += loss.detach()

    def between_steps(self) -> None:
        """Print progress; save a checkpoint when it is time, or when the instance is taken away."""
        now = time.monotonic()
        if now - self.spoken >= SECONDS_BETWEEN_LINES and self.group.first:
            a_second = (self.step - self.started_at) / max(now - self.started, 1e-9)
            left = minutes((self.steps - self.step) / a_second) if a_second else "unknown"
            print(
                f"step {self.step} of {self.steps} ({self.step / self.steps:.0%}), "
                f"loss {self.loss.item() / max(1, self.seen):.4f}, {a_second:.1f} steps a second, {left} left",
                flush=True,
            )
            self.spoken = now
        if self.interruption.requested and self.group.first:
            self.stop()
        if self.checkpoints and now - self.saved >= self.chosen["checkpoint_seconds"]:
            self.save()

    def stop(self) -> None:
        """Save, and raise Interrupted. The other processes end when they lose this one."""
        self.save()
        self.checkpoints.wait()
        print(f"interrupted: checkpoint saved at step {self.step}", flush=True)
        self.tracker.finish("interrupted")
        raise Interrupted

    def while_validating(self) -> None:
        """Stop in the middle of a validation, if asked to; it is repeated after a resume."""
        if self.interruption.requested and self.group.first:
            self.stop()

    def validate(self) -> None:
        """Measure on the validation split, and keep the weights if they are the best so far."""
        self.group.share(self.classifier.model.buffers())  # BatchNorm's running means differ by rank
        sums = scoring.score(
            self.classifier,
            self.validation_items,
            self.group.rank,
            self.group.size,
            self.arithmetic,
            self.while_validating,
        )
        scores = scoring.mean(self.group.gather(sums))
        if not np.isfinite(scores).all():
            raise ValueError(
                f"training diverged before step {self.step}: the scores are no numbers. Lower learning_rate."
            )
        loss = self.loss.item() / self.seen  # of this rank's examples
        self.loss.zero_()
        self.seen = 0
        problem, truth = self.classifier.problem, self.validation_truth
        thresholds = metrics.tune_thresholds(scores, truth, problem, self.metric)
        measured = metrics.measure(scores, truth, problem, thresholds)
        if self.metric not in measured:
            known = ", ".join(measured)
            raise ValueError(f"[gate] metric is {self.metric!r}, which is not measured here. Choose: {known}.")
        entry = {
            "epoch": len(self.history) + 1,
            "step": self.step,
            "train_loss": loss,
            "validation_loss": loss_of_scores(scores, truth, problem),
            **{f"validation_{name}": value for name, value in measured.items()},
        }
        # If the metric is equal, the lower loss is better: its scores are closer to the truth.
        reached = (measured[self.metric], -entry["validation_loss"])
        better = not self.best or reached > (self.best["value"], -self.best.get("loss", float("inf")))
        self.history.append(entry | {"best": better})
        if better:
            for earlier in self.history[:-1]:
                earlier["best"] = False
            self.best = {
                "value": measured[self.metric],
                "loss": entry["validation_loss"],
                "step": self.step,
                "thresholds": thresholds,
            }
            if self.checkpoints:
                self.checkpoints.save(self.best_name(), {"best": self.classifier.model.state_dict()}, self.best)
        if self.group.first:
            self.tracker.log(shown(entry, self.metric), self.step)

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def best_name(self) -> str:
        return f"best-{self.best['step']:09}" if self.best else ""

    def save(self) -> None:
        """Save everything that the next step depends on."""
        started = time.monotonic()
        # Tensors of the optimizer's state by flat names, as safetensors needs them: "12.exp_avg".
        optimizer = {
            f"{number}.{name}": value
            for number, values in self.optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }
        state = {
            "run": self.run_of,
            "step": self.step,
            "loss": self.loss.item(),
            "seen": self.seen,
            "history": self.history,
            "best": self.best,
            "scaler": self.scaler.state_dict(),
            "tracking": self.tracker.state,
            "seconds": self.seconds + time.monotonic() - self.started,
        }
        if self.best and not (self.arguments.checkpoints / self.best_name()).exists():  # not written, or not yet
            self.checkpoints.save(self.best_name(), {"best": self.checkpoints.buffers["best"]}, self.best)
        files = {"model": self.classifier.model.state_dict(), "optimizer": optimizer}
        self.checkpoints.save(f"step-{self.step:09}", files, state, refers_to=self.best_name())
        self.saved = time.monotonic()
        self.saving += self.saved - started

    def resume(self) -> None:
        """Resume from the newest intact checkpoint, the same on all ranks; without one, start at step 0."""
        found = self.checkpoints.newest(self.run_of) if self.checkpoints else None
        found = self.group.gather(found)[0]  # rank 0's, for all ranks
        if self.group.first:
            print(f"resuming at step {found[1]['step']}" if found else "no checkpoint: starting at step 0", flush=True)
            name = os.environ.get("TRAINING_JOB_NAME", "local")
            self.tracker = tracking.Tracker(name, self.run_of["settings"], found and found[1]["tracking"])
        if not found:
            return
        path, state = found
        self.classifier.model.load_state_dict(checkpoints.load(path, "model"))
        values: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in checkpoints.load(path, "optimizer").items():
            number, _, name = key.partition(".")
            values.setdefault(int(number), {})[name] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": values, "param_groups": groups})
        if state["scaler"]:  # empty if the run was on another kind of GPU before, in bfloat16
            self.scaler.load_state_dict(state["scaler"])
        self.seconds = state["seconds"]
        self.step, self.history, self.best = state["step"], state["history"], state["best"]
        self.loss.fill_(state["loss"])
        self.seen = state["seen"]

    def load_best(self) -> None:
        """Load the weights that were best on the validation split, and set their thresholds."""
        self.checkpoints.wait()
        weights = self.checkpoints.buffers.get("best")  # in memory if saved by this process, else on disk
        weights = weights or checkpoints.load(self.arguments.checkpoints / self.best_name(), "best")
        self.classifier.model.load_state_dict(weights)
        self.classifier.facts["thresholds"] = self.best["thresholds"]


def keep_frozen(model: torch.nn.Module) -> None:
    """Put the frozen parts of a model in eval mode: no dropout, and BatchNorm keeps its running means."""
    for part in model.modules():
        weights = list(part.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            part.eval()


def minutes(seconds: float) -> str:
    """Return a duration as text, in seconds, minutes or hours."""
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


def fingerprint(items: Any, truth: np.ndarray, labels: list[str]) -> str:
    """Return a hash that changes with the data: with the number of sequences, their lengths, labels and class names."""
    lengths = np.empty(0) if items.lengths is None else items.lengths
    content = [str(len(items)).encode(), lengths.tobytes(), truth.tobytes(), json.dumps(labels).encode()]
    return hashlib.sha256(b"|".join(content)).hexdigest()[:16]


def shown(entry: dict[str, Any], metric: str) -> dict[str, float]:
    """Return the metrics of an epoch to print and track: those of tracking.METRICS, and the gate's."""
    names = ("epoch", *tracking.METRICS)
    return {name: entry[name] for name in dict.fromkeys((*names, f"validation_{metric}"))}


def tokenised(
    classifier: Any, splits: dict[str, examples.Prepared], folder: Path, group: distributed.Group
) -> dict[str, tuple[Any, np.ndarray]]:
    """Return the dataset and the labels of every split.

    One process of each machine tokenises; the others map its files into memory.
    """
    if group.local_rank == 0:
        for name, prepared in splits.items():
            classifier.items(prepared, folder / name)
    group.wait()
    return {name: (classifier.mapped_items(split, folder / name), split.truth) for name, split in splits.items()}


def save_model(classifier: Any, folder: Path) -> None:
    """Write the model and, beside it, the code that serves it."""
    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    classifier.save(folder)
    for name, path in job.python_files().items():  # not requirements.txt: inference needs only what its image has
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, code / name)
    (code / "inference.py").write_text(ENTRY)


def finish(training: Training) -> None:
    """Save the best model, the history and its plot, and print the best metrics."""
    arguments = training.arguments
    training.load_best()
    save_model(training.classifier, arguments.model)
    told = {
        "settings": training.run_of["settings"],
        "seconds": round(training.seconds + time.monotonic() - training.started),
        "history": training.history,
    }
    (arguments.model / "training.json").write_text(json.dumps(told, indent=2))
    best = next(entry for entry in training.history if entry["best"])
    arguments.plots.mkdir(parents=True, exist_ok=True)
    (arguments.plots / "training.png").write_bytes(plots.png(plots.history(training.history)))
    (arguments.plots / "history.json").write_text(json.dumps(training.history, indent=2))
    print(f"the best epoch is {best['epoch']} of {arguments.epochs}:", flush=True)
    tracking.say(shown(best, training.metric))  # so the last metrics in the log are those of the saved model
    training.tracker.finish("finished", [arguments.plots / "training.png"])
    # Else the next local run would go on from here. In SageMaker, the address in S3 depends on data and settings.
    if arguments.output:
        shutil.rmtree(arguments.checkpoints)


def pretrained_folder(given: Path, weights: str) -> Path | None:
    """Return the folder with pretrained weights; None for scratch and hub.

    Raise ValueError if the settings name a folder or an address that is not here.
    """
    if given.exists():
        return given
    if weights.startswith("/"):
        if not Path(weights).is_dir():
            raise ValueError(f"[model] weights is {weights!r}, which is no folder here. Correct it.")
        return Path(weights)
    if weights.startswith("s3://"):
        raise ValueError(
            f"[model] weights is {weights!r}, which a job gets as {given}, and which is not there. "
            f"On this machine, copy it first: aws s3 cp --recursive {weights} weights && make local PRETRAINED=weights"
        )
    return None


def main() -> None:
    interruption = Interruption()
    arguments, chosen = parse_arguments(), settings.load()
    transformers_logging.disable_progress_bar()
    group = distributed.join_processes()
    splits = {"train": examples.Prepared(arguments.train), "validation": examples.Prepared(arguments.validation)}
    sizes = {name: len(split) for name, split in splits.items()}
    classes = splits["train"].labels
    if group.first:
        print(f"{sizes['train']} to train on, {sizes['validation']} to validate on, {len(classes)} classes", flush=True)

    torch.manual_seed(chosen["training"]["seed"])  # for the initial weights
    pretrained = pretrained_folder(arguments.pretrained, chosen["model"]["weights"])
    classifier = task.Classifier.create(chosen, splits["train"], pretrained)
    with tempfile.TemporaryDirectory() as folder:
        shared = distributed.shared_folder(group, Path(folder))
        items = tokenised(classifier, splits, shared, group)
        training = Training(classifier, items, arguments, chosen, group, interruption)
        training.resume()
        try:
            training.run()
        except Interrupted:
            raise SystemExit(128 + signal.SIGTERM) from None
        except Exception:
            if group.first:
                training.tracker.finish("failed")
            raise
        if group.first:
            finish(training)
    group.leave()


if __name__ == "__main__":
    job.run(main)
