"""Serve the model: the four functions that the SageMaker inference images call.

https://github.com/aws/sagemaker-huggingface-inference-toolkit#-user-defined-codemodules
"""

import json
from pathlib import Path
from typing import Any

import task


def model_fn(model_dir: str, context: Any = None) -> task.Classifier:
    """Load the model once, when the endpoint starts."""
    return task.Classifier.load(Path(model_dir))


def input_fn(body: bytes | str, content_type: str, context: Any = None) -> list[dict[str, Any]]:
    """Read a request. Raises ValueError, which the caller sees, for what cannot be read."""
    return task.decode(body.encode() if isinstance(body, str) else bytes(body), content_type.split(";")[0].strip())


def predict_fn(rows: list[dict[str, Any]], classifier: task.Classifier, context: Any = None) -> list[dict[str, Any]]:
    """For each row its label (multi_label: its labels, those that score at least 0.5) and all scores, best first."""
    answers = []
    for scores in classifier.predict(rows):
        ranked = sorted(zip(classifier.labels, map(float, scores), strict=True), key=lambda pair: -pair[1])
        found: dict[str, Any] = {"label": ranked[0][0]}
        if classifier.problem == "multi_label":
            found = {"labels": [name for name, score in ranked if score >= 0.5]}
        answers.append(found | {"scores": {name: round(score, 6) for name, score in ranked}})
    return answers


def output_fn(answers: list[dict[str, Any]], accept: str = "application/json", context: Any = None) -> str:
    """The answers as JSON."""
    return json.dumps(answers)
