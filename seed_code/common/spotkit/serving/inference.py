"""Serve the model: the four functions that the SageMaker inference images call.

https://github.com/aws/sagemaker-huggingface-inference-toolkit#-user-defined-codemodules
"""

from pathlib import Path
from typing import Any

import task
from spotkit.evaluation import scoring
from spotkit.serving import media


def model_fn(model_dir: str, context: Any = None) -> task.Classifier:
    """Load the model once, when the endpoint starts."""
    return task.Classifier.load(Path(model_dir))


def input_fn(body: bytes | str, content_type: str, context: Any = None) -> list[dict[str, Any]]:
    """Parse a request. Raise ValueError, whose message the caller sees, if it is invalid."""
    return task.decode(body.encode() if isinstance(body, str) else bytes(body), content_type)


def predict_fn(rows: list[dict[str, Any]], classifier: task.Classifier, context: Any = None) -> list[dict[str, Any]]:
    """Return a prediction for each row: its label (multi_label: its labels), and all scores, best first.

    The labels are decided by the thresholds that training tuned.
    """
    scores = scoring.mean([scoring.score(classifier, classifier.items_of_request(rows))])
    decided = scoring.decide(scores, classifier.problem, classifier.facts.get("thresholds"))
    answers = []
    for row, decision in zip(scores, decided, strict=True):
        ranked = sorted(zip(classifier.labels, map(float, row), strict=True), key=lambda pair: -pair[1])
        found: dict[str, Any] = {"scores": {name: round(value, 6) for name, value in ranked}}
        if classifier.problem == "multi_label":
            chosen = {name for name, yes in zip(classifier.labels, decision, strict=True) if yes}
            answers.append({"labels": [name for name, _ in ranked if name in chosen]} | found)
        else:
            answers.append({"label": classifier.labels[int(decision)]} | found)
    return answers


def output_fn(answers: list[dict[str, Any]], accept: str = "application/json", context: Any = None) -> str:
    """Return predictions as JSON, JSON lines or CSV. Raise ValueError if `accept` allows none of them."""
    return media.written(answers, media.answer_as(accept))
