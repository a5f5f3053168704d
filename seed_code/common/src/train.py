"""Train the model that settings.toml and task.py describe, and go on where an interrupted run stopped.

Run it locally:  python src/train.py --train work/prepared/train --validation work/prepared/validation --output work
In SageMaker:    a training job, on demand or on spot instances; the container runs this file itself.
"""

import argparse
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging as transformers_logging

import examples
import job
import metrics
import settings
import task


def parse_arguments() -> argparse.Namespace:
    channels, chosen, given = job.OPT_ML / "input/data", settings.load()["training"], job.hyperparameters()

    def channel(name: str) -> Path:
        return Path(os.environ.get(f"SM_CHANNEL_{name.upper()}", channels / name))

    def hyperparameter(name: str) -> float:
        value = float(given.get(name) or chosen[name])
        settings.check_range("training", name, value)
        return value

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, default=channel("train"))
    parser.add_argument("--validation", type=Path, default=channel("validation"))
    parser.add_argument("--pretrained", type=Path, default=channel("pretrained"))
    parser.add_argument("--output", type=Path, help="a local folder that takes model, plots and checkpoints")
    parser.add_argument("--epochs", type=int, default=int(hyperparameter("epochs")))
    parser.add_argument("--batch-size", type=int, default=int(hyperparameter("batch_size")))
    parser.add_argument("--learning-rate", type=float, default=hyperparameter("learning_rate"))
    arguments = parser.parse_args()
    local = arguments.output
    arguments.model = local / "model" if local else Path(os.environ.get("SM_MODEL_DIR", job.OPT_ML / "model"))
    plots = Path(os.environ.get("SM_OUTPUT_DATA_DIR", job.OPT_ML / "output/data"))
    arguments.plots = local / "plots" if local else plots
    arguments.checkpoints = local / "checkpoints" if local else job.OPT_ML / "checkpoints"
    return arguments


class Interruption(TrainerCallback):
    """Saves and stops after the current step when SageMaker takes the instance away (SIGTERM)."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self.request)

    def request(self, *_: object) -> None:
        self.requested = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_save |= self.requested
        control.should_training_stop |= self.requested
        return control


class Progress(TrainerCallback):
    """Prints one line an epoch, in the form that pipeline.py's metric definitions look for, and one every 10 seconds."""

    EVERY_SECONDS = 10
    NAMES = {
        "loss": "train_loss",
        "eval_loss": "validation_loss",
        "eval_accuracy": "validation_accuracy",
        "eval_macro_f1": "validation_macro_f1",
    }

    def __init__(self) -> None:
        self.spoken = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if time.monotonic() - self.spoken >= self.EVERY_SECONDS:
            self.say(f"step {state.global_step} of {state.max_steps} ({state.global_step / state.max_steps:.0%})")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        figures = [f"{name}={logs[key]:.4f}" for key, name in self.NAMES.items() if key in (logs or {})]
        if figures:
            self.say(f"epoch={state.epoch:.2f} " + " ".join(figures))

    def say(self, line: str) -> None:
        self.spoken = time.monotonic()
        print(line, flush=True)


def make_trainer(classifier: Any, train: Any, validation: Any, arguments: argparse.Namespace, chosen: dict) -> Trainer:
    """A Hugging Face Trainer over the task's batches, measured on the validation split after every epoch."""
    truth = metrics.targets([validation[i]["labels"] for i in range(len(validation))], len(train.labels), train.problem)

    def compute_metrics(prediction: Any) -> dict[str, float]:
        logits = torch.from_numpy(prediction.predictions)
        scores = logits.softmax(-1) if train.problem == "multi_class" else logits.sigmoid()
        return metrics.measure(scores.numpy(), truth, train.problem)

    class TaskTrainer(Trainer):
        """The Trainer, with augmentation in the batches of training only."""

        def get_eval_dataloader(self, eval_dataset: Any = None) -> torch.utils.data.DataLoader:
            size = self.args.eval_batch_size
            batches = torch.utils.data.DataLoader(validation, batch_size=size, collate_fn=classifier.collate)
            return self.accelerator.prepare(batches)

    training = TrainingArguments(
        output_dir=str(arguments.checkpoints),
        num_train_epochs=arguments.epochs,
        per_device_train_batch_size=arguments.batch_size,
        per_device_eval_batch_size=2 * arguments.batch_size,
        learning_rate=arguments.learning_rate,
        weight_decay=chosen["weight_decay"],
        warmup_steps=chosen["warmup_share"],
        seed=chosen["seed"],
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="macro_f1",
        bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False),
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
        logging_strategy="epoch",
        disable_tqdm=True,
    )
    trainer = TaskTrainer(
        model=classifier.model,
        args=training,
        train_dataset=train,
        eval_dataset=validation,
        data_collator=lambda rows: classifier.collate(rows, training=True),
        compute_metrics=compute_metrics,
        callbacks=[Progress()],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def plot_history(history: list[dict[str, float]], path: Path) -> None:
    """Draw training and validation loss, and validation accuracy, over the epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    losses, quality = figure.subplots(1, 2)
    curves = (
        (losses, "loss", "training"),
        (losses, "eval_loss", "validation"),
        (quality, "eval_accuracy", "accuracy"),
        (quality, "eval_macro_f1", "macro F1"),
    )
    for axes, key, name in curves:
        points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    losses.set(title="loss", xlabel="epoch")
    quality.set(title="validation", xlabel="epoch", ylim=(0, 1.02))
    for axes in (losses, quality):
        axes.legend()
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def save(classifier: Any, folder: Path) -> None:
    """Write the model and, beside it, the code that serves it."""
    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    classifier.save(folder)
    for path in (*job.CODE.glob("*.py"), job.CODE / "requirements.txt"):
        shutil.copyfile(path, code / path.name)


def main() -> None:
    arguments = parse_arguments()
    chosen = settings.load()
    transformers_logging.disable_progress_bar()
    set_seed(chosen["training"]["seed"])
    train, validation = examples.Prepared(arguments.train), examples.Prepared(arguments.validation)
    print(f"{len(train)} to train on, {len(validation)} to validate on, {len(train.labels)} classes", flush=True)

    pretrained = arguments.pretrained if arguments.pretrained.exists() else None
    classifier = task.Classifier.create(chosen, train, pretrained)
    trainer = make_trainer(classifier, train, validation, arguments, chosen["training"])
    interruption = Interruption()
    trainer.add_callback(interruption)

    arguments.checkpoints.mkdir(parents=True, exist_ok=True)
    checkpoint = get_last_checkpoint(str(arguments.checkpoints))
    print(f"resuming from {Path(checkpoint).name}" if checkpoint else "no checkpoint: starting at step 0", flush=True)
    trainer.train(resume_from_checkpoint=checkpoint)
    if interruption.requested:
        print(f"interrupted: checkpoint saved at step {trainer.state.global_step}", flush=True)
        raise SystemExit(143)

    save(classifier, arguments.model)
    if (
        arguments.output
    ):  # a local run starts anew next time; in SageMaker the address of checkpoints says what they are of
        shutil.rmtree(arguments.checkpoints)
    plot_history(trainer.state.log_history, arguments.plots / "training.png")
    (arguments.plots / "history.json").write_text(json.dumps(trainer.state.log_history, indent=2))


if __name__ == "__main__":
    job.run(main)
