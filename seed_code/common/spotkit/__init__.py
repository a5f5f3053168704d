"""The part of this repository that a newer version of the template replaces. Yours is the rest: settings.toml, src/, pipeline.py, deploy/, tests/.

- `data`: read tables and images, divide them into splits, write them for training.
- `training`: the training loop, its checkpoints, several processes, tracking.
- `evaluation`: metrics, baselines, plots and pages.
- `serving`: what the endpoint runs.
- `jobs`: how a SageMaker job starts, and where it finds things.
- `definition`: the pipeline definition, and what it refers to in S3.
- `checks`: what AWS would refuse in the definition and in deploy/.
- `deploy`: the endpoint's CloudFormation template.

A module below src/spotkit/ takes the place of the one here with the same path.
"""

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.join(ROOT, "src")  # in a job, src/ is laid beside this folder instead
if os.path.isdir(SOURCE) and SOURCE not in sys.path:
    sys.path.insert(0, SOURCE)


def overlay(path: list[str], name: str) -> list[str]:
    """Return a package's __path__ with the folder of src/ in front that may replace its modules."""
    return [os.path.join(SOURCE, *name.split(".")), *path]


__path__ = overlay(__path__, __name__)
