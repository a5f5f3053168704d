"""Write this project's SageMaker pipeline definition to standard output.

    python pipeline.py > pipeline.json

    Preprocess -> Train (spot | on_demand | both to compare), or Tune -> Evaluate -> Gate -> Register, or Fail

Nothing is uploaded and no request is sent to AWS: equal inputs give the same bytes on any machine.
"""

import json
import sys

from spotkit.definition import sdk  # first: it prepares the SDK to work offline

# isort: split
from sagemaker.mlops.workflow.pipeline import Pipeline

from spotkit import settings
from spotkit.checks import Project
from spotkit.definition import limits, steps
from spotkit.definition.places import EXAMPLE


def build(project: Project, settings: settings.Settings) -> Pipeline:
    """Return the pipeline that settings.toml describes. Add steps of your own here."""
    build = steps.Build.of(project, settings)
    mode = settings["compute"]["mode"]

    preprocess = steps.preprocess(build)
    if settings["tuning"]["jobs"]:
        training = [steps.tune(build, preprocess, spot=mode != "on_demand")]
    else:
        training = [steps.train(build, preprocess, "Train", spot=mode != "on_demand")]
    if mode == "compare":
        training.append(steps.train(build, preprocess, "TrainOnDemand", spot=False))
    evaluate = steps.evaluate(build, preprocess, training)
    register = steps.register(build, training[0], evaluate)
    gate = steps.gate(build, evaluate, register)

    return Pipeline(
        name=project.model_group,
        parameters=build.parameters.used(settings),
        steps=[preprocess, *training, evaluate, gate],
        pipeline_experiment_config=None,  # otherwise every run creates an experiment and a trial
        sagemaker_session=build.session,
    )


def main() -> None:
    project = Project.from_environment(EXAMPLE | sdk.ENVIRONMENT)
    try:
        chosen = settings.load()
        limits.require(project, chosen, in_build="PROJECT_BUCKET" in sdk.ENVIRONMENT)
    except ValueError as error:
        sys.exit(f"error: {error}")
    definition = json.loads(build(project, chosen).definition())
    json.dump(sdk.finished(definition), sys.stdout, indent=2, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
