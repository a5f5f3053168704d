"""Checkpoints that survive interruptions and full disks: complete or absent, and verified before they are used.

A checkpoint is a folder, `step-000000120`. It is written under another name, with the SHA-256 of its files in
manifest.json, synced to disk, and only then renamed. If it is damaged (a full disk, a copy that was cut short), the one
before it is used.
"""

import hashlib
import json
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

MANIFEST, STATE = "manifest.json", "state.json"
KEPT = 2  # if the newest is damaged, the one before it is used

Tensors = dict[str, torch.Tensor]


class Checkpoints:
    """The checkpoints in a folder. `save` returns when the tensors are copied; a background thread writes them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.writer = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[None] | None = None
        self.buffers: dict[str, Tensors] = {}  # host memory, reused for every save
        folder.mkdir(parents=True, exist_ok=True)
        for partial in folder.glob("partial-*"):
            shutil.rmtree(partial)

    def save(self, name: str, files: dict[str, Tensors], state: dict[str, Any], refers_to: str = "") -> None:
        """Copy tensors and state, and start to write them as the checkpoint `name`; first wait for the previous write.

        `refers_to` is another checkpoint that this one needs: the best weights so far.
        """
        self.wait()
        copies = {file: self.copy(file, tensors) for file, tensors in files.items()}
        text = json.dumps(state | {"refers_to": refers_to})
        self.writing = self.writer.submit(self.write, name, copies, text)

    def copy(self, file: str, tensors: Tensors) -> Tensors:
        """Copy tensors into buffers on the host, in pinned memory for those of a GPU."""
        buffers = self.buffers.setdefault(file, {})
        for name, tensor in tensors.items():
            if name not in buffers:
                pinned = tensor.device.type == "cuda"
                buffers[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
            buffers[name].copy_(tensor.detach(), non_blocking=True)
        # The copies are asynchronous: wait before the next step changes the tensors.
        if any(tensor.device.type == "cuda" for tensor in tensors.values()):
            torch.cuda.synchronize()
        return {name: buffers[name] for name in tensors}

    def write(self, name: str, files: dict[str, Tensors], state: str) -> None:
        """Write a checkpoint; it gets its name only when all of it is on disk."""
        partial = self.folder / f"partial-{name}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for file, tensors in files.items():
            save_file(tensors, partial / f"{file}.safetensors")
        (partial / STATE).write_text(state)
        manifest = {path.name: digest(path) for path in sorted(partial.iterdir())}
        (partial / MANIFEST).write_text(json.dumps(manifest))
        # Sync before the rename: after a crash, the name must not exist without its content.
        for path in (*partial.iterdir(), partial):
            force(path)
        shutil.rmtree(self.folder / name, ignore_errors=True)
        partial.rename(self.folder / name)
        force(self.folder)
        if name.startswith("step-"):
            self.prune()

    def wait(self) -> None:
        """Wait until the last save is on disk. If it failed, print why; training goes on."""
        if self.writing:
            try:
                self.writing.result()
            except (OSError, SafetensorError) as error:
                print(f"a checkpoint could not be written: {error}; the one before it stays", flush=True)
            self.writing = None

    def prune(self) -> None:
        """Remove all but the newest KEPT steps and the best weights that they refer to.

        Only after a step is written: new best weights are saved before any step refers to them.
        """
        kept = self.steps()[:KEPT]
        needed = {path.name for path in kept} | {read_state(path).get("refers_to", "") for path in kept}
        for path in self.folder.iterdir():
            if path.name.startswith(("step-", "best-")) and path.name not in needed and len(kept) == KEPT:
                shutil.rmtree(path, ignore_errors=True)

    def steps(self) -> list[Path]:
        """Return the folders of the step checkpoints, newest first."""
        return sorted(self.folder.glob("step-*"), reverse=True)

    def newest(self, run: dict[str, Any]) -> tuple[Path, dict[str, Any]] | None:
        """Return the newest intact checkpoint of this run, with its state; None if there is none.

        Newer ones, which are damaged or of another run, are removed, each with a line that says why. `run` is what the
        state must hold under "run": the settings and the data that the checkpoint was trained with.
        """
        for path in self.steps():
            problem = damage(path)
            state = {} if problem else read_state(path)
            if not problem and state["refers_to"] and (problem := damage(self.folder / state["refers_to"])):
                problem = f"its {state['refers_to']} is damaged: {problem}"
            if not problem and state["run"] != run:
                problem = f"it is of another run: {difference(state['run'], run)}"
            if not problem:
                return path, state
            print(f"checkpoint {path.name} is passed over: {problem}", flush=True)
            shutil.rmtree(path)
        return None


def difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return what differs between two descriptions of a run, as text."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name} was {old.get(name)}, and is {new.get(name)}" for name in names)


def load(path: Path, file: str) -> Tensors:
    """Return the tensors in one file of a checkpoint."""
    return load_file(path / f"{file}.safetensors")


def read_state(path: Path) -> dict[str, Any]:
    """Return the state that was saved beside the tensors; {} if it cannot be read."""
    try:
        return json.loads((path / STATE).read_text())
    except (OSError, ValueError):
        return {}


def damage(path: Path) -> str:
    """Return what is wrong with a checkpoint; an empty string if it is intact."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        if set(manifest) != {entry.name for entry in path.iterdir()} - {MANIFEST}:
            return "its files are not those of its manifest"
        wrong = [name for name, expected in manifest.items() if digest(path / name) != expected]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    if not {STATE} <= set(manifest):
        return f"{STATE} is missing"
    return f"{', '.join(wrong)} changed since it was written" if wrong else ""


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def force(path: Path) -> None:
    """Sync a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
