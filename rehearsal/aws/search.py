"""Random search for a tuning job: draw the next hyperparameters, and decide which trials to stop early."""

import math
import random
import statistics
from typing import Any


def draw(ranges: dict[str, list[dict[str, Any]]], source: random.Random) -> dict[str, str]:
    """Return hyperparameters drawn from their ranges, as strings, which is what training jobs take."""
    values = {}
    for entry in ranges.get("ContinuousParameterRanges", []):
        values[entry["Name"]] = str(draw_number(entry, source))
    for entry in ranges.get("IntegerParameterRanges", []):
        if entry.get("ScalingType") == "Logarithmic":
            values[entry["Name"]] = str(round(draw_number(entry, source)))
        else:
            values[entry["Name"]] = str(source.randint(int(entry["MinValue"]), int(entry["MaxValue"])))
    for entry in ranges.get("CategoricalParameterRanges", []):
        values[entry["Name"]] = source.choice(entry["Values"])
    return values


def draw_number(entry: dict[str, str], source: random.Random) -> float:
    """Return a number drawn uniformly from a range, on the range's scale (linear or logarithmic)."""
    least, most = float(entry["MinValue"]), float(entry["MaxValue"])
    if entry.get("ScalingType") == "Logarithmic":
        return math.exp(source.uniform(math.log(least), math.log(most)))
    return source.uniform(least, most)


def is_hopeless(values: list[float], earlier: list[list[float]], maximize: bool) -> bool:
    """Return whether the newest value is worse than the median of earlier jobs' running averages at the same epoch.

    `values` and each list of `earlier` have one objective value per epoch.

    https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-early-stopping.html
    """
    epoch = len(values)
    averages = [statistics.mean(others[:epoch]) for others in earlier if len(others) >= epoch > 0]
    if not averages:
        return False
    middle = statistics.median(averages)
    return values[-1] < middle if maximize else values[-1] > middle
