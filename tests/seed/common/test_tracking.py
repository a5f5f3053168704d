"""Test tracking.py: what training prints, and what it leaves out if no tracking service is set."""

import copy
import re
import sys

import pytest

from spotkit import settings
from spotkit.jobs import start
from spotkit.training import tracking


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "WANDB_SECRET", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


def test_the_line_of_an_epoch_is_what_the_metric_definitions_look_for(capsys):
    names = ("train_loss", "validation_loss", "validation_accuracy", "validation_macro_f1")
    tracking.Tracker("run", {}).log({"epoch": 1.0} | dict.fromkeys(names, 0.12345), step=10)

    line = capsys.readouterr().out
    found = {name: re.search(regex, line)[1] for name, regex in tracking.METRICS.items()}
    assert line.startswith("epoch=1.00 train_loss=0.1235 ")
    assert found == dict.fromkeys(names, "0.1235")


def test_where_nothing_is_set_nothing_is_installed_and_nothing_imported(capsys):
    tracker = tracking.Tracker("run", {"epochs": 1}, resumed={"MLflow": "an earlier run"})
    tracker.log({"epoch": 1.0, "train_loss": 0.5}, step=10)
    tracker.finish("finished")

    assert (tracker.state, start.tracking()) == ({}, [])
    assert capsys.readouterr().out == "epoch=1.00 train_loss=0.5000\n"
    assert not {"mlflow", "wandb"} & sys.modules.keys()


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"mlflow": "tracking.example.com"}, r"mlflow is 'tracking.example.com'. Give the http"),
        ({"mlflow": "https://ann:sesame@example.com"}, "mlflow has a user or a password in it(?!.*sesame)"),
        ({"wandb_project": "digits"}, "wandb_project is 'digits' and wandb_secret is ''. Name both"),
    ],
)
def test_a_tracking_service_that_a_job_could_not_reach_is_named(changed, said):
    chosen = copy.deepcopy(settings.load())
    chosen["tracking"].update(changed)

    with pytest.raises(ValueError, match=said):
        settings.check(chosen)
