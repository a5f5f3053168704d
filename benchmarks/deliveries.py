"""Stress the function that runs the pipeline with duplicate, late and failing events, against the emulator.

    .venv/bin/python -m benchmarks.deliveries [10000]

Versions are pushed one by one, now and then several at once. Up to four invocations run at a time. 20 % of the events
are delivered twice, at least 5 % after events of later versions, 10 % of the invocations meet an API error, and one in
ten dies before or after one of its calls, upon which its event is delivered again. After each round the pipeline must
have the content of the newest version, that version must have run exactly once, and every run must have had its own
definition.
"""

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "lambda")]

import botocore.exceptions
from botocore.config import Config

import execute_pipeline
from benchmarks.measuring import progress, show
from execute_pipeline import UNVERSIONED, DefinitionVersion
from rehearsal import server
from spotkit.checks.project import Project

Hook = Callable[[str], None]
A_PROJECT = 500  # deliveries
FAULTS = ("ThrottlingException", "ConflictException", "InternalFailure", "ServiceUnavailable")


class Death(BaseException):
    """The process of a function dies.

    A BaseException, so that no `except Exception` of the function can handle it.
    """


def definition(message: str) -> bytes:
    """Return a definition whose only step is Fail with a message: its runs end at once."""
    step = {"Name": "Fail", "Type": "Fail", "Arguments": {"ErrorMessage": message}}
    return json.dumps({"Version": "2020-12-01", "Parameters": [], "Steps": [step]}).encode()


def message_of(text: str) -> str:
    return json.loads(text)["Steps"][0]["Arguments"]["ErrorMessage"]


class Pushes:
    """A project, the versions of its definition, and their deliveries to the function."""

    def __init__(self, emulator: Any, bucket: str, name: str):
        self.emulator = emulator
        self.s3, self.sagemaker = emulator.client("s3"), emulator.client("sagemaker")
        own = {"NAME": name, "ID": "p-tests", "BUCKET": bucket, "MODEL_GROUP": name}
        variables = {f"PROJECT_{variable}": value for variable, value in own.items()}
        self.project = Project.from_environment({**os.environ, **variables})
        self.key = f"{name}/pipeline.json"
        self.versions: list[DefinitionVersion] = []
        self.refusals: list[tuple[str, str]] = []

    @staticmethod
    def environment(role: str, topic: str) -> dict[str, str]:
        """Return the environment variables that the template sets for the function."""
        return {
            "PIPELINE_ROLE_ARN": role,
            "NOTICES_TOPIC_ARN": topic,
            "AWS_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_NAME": "tests",
            "PROJECT_IMAGE_ACCOUNT": "763104351884",
            "WAIT_SECONDS": "0.01",
        }

    def put(self, body: bytes) -> DefinitionVersion:
        version = self.s3.put_object(Bucket=self.project.bucket, Key=self.key, Body=body).get("VersionId", UNVERSIONED)
        self.versions.append(DefinitionVersion(self.project.bucket, self.key, version))
        return self.versions[-1]

    def refuse_once(self, operation: str, code: str) -> None:
        """Make the next call of an operation fail with an error code, as AWS does when it is busy."""
        self.refusals.append((operation, code))

    def deliver(
        self,
        version: DefinitionVersion,
        before: Hook | None = None,
        after: Hook | None = None,
        config: Config | None = None,
    ) -> dict[str, str]:
        """Invoke the function with new clients, which call the hooks with the name of each operation.

        An exception raised by a hook is raised by the call.
        """
        config = config or Config(retries={"mode": "standard", "total_max_attempts": 1})
        clients = {name: self.emulator.client(name, config=config) for name in ("s3", "sagemaker", "sns")}
        for client in clients.values():
            client.meta.events.register("before-call", self.hook(before, refuses=True))
            client.meta.events.register("after-call", self.hook(after))
        return execute_pipeline.execute(clients, self.project, version)

    def hook(self, seen: Hook | None, refuses: bool = False) -> Callable[..., None]:
        def call(model: Any, **more: Any) -> None:
            if refuses and self.refusals and self.refusals[0][0] == model.name:
                _, code = self.refusals.pop(0)
                raise botocore.exceptions.ClientError({"Error": {"Code": code, "Message": "busy"}}, model.name)
            if seen:
                seen(model.name)

        return call

    def overwrite_pipeline(self, body: bytes) -> None:
        """Change the pipeline outside the function, as a person would by hand."""
        self.sagemaker.update_pipeline(PipelineName=self.project.pipeline, PipelineDefinition=body.decode())

    def current(self) -> str:
        """Return the message of the pipeline's current definition."""
        described = self.sagemaker.describe_pipeline(PipelineName=self.project.pipeline)
        return message_of(described["PipelineDefinition"])

    def executions(self) -> list[dict[str, Any]]:
        """Return all runs, oldest first."""
        pages = self.sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=self.project.pipeline)
        found = [execution for page in pages for execution in page["PipelineExecutionSummaries"]]
        return sorted(found, key=lambda execution: execution["StartTime"])

    def runs(self) -> list[str]:
        """Return the message of each run's definition, oldest run first."""
        return [self.ran(execution["PipelineExecutionArn"]) for execution in self.executions()]

    def ran(self, arn: str) -> str:
        text = self.sagemaker.describe_pipeline_definition_for_execution(PipelineExecutionArn=arn)
        return message_of(text["PipelineDefinition"])

    def settle(self) -> None:
        """Wait until none of the 50 newest runs is executing."""
        newest = {"SortBy": "CreationTime", "SortOrder": "Descending", "MaxResults": 50}
        while any(
            execution["PipelineExecutionStatus"] == "Executing"
            for execution in self.sagemaker.list_pipeline_executions(PipelineName=self.project.pipeline, **newest)[
                "PipelineExecutionSummaries"
            ]
        ):
            time.sleep(0.02)


@dataclass
class Score:
    """Counts of what a storm did, and a line for each wrong result."""

    deliveries: int = 0
    versions: int = 0
    counts: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: "Score") -> None:
        self.deliveries += other.deliveries
        self.versions += other.versions
        self.counts.update(other.counts)
        self.wrong += other.wrong

    def row(self) -> tuple[int, ...]:
        names = ("duplicates", "late", "faults", "deaths", "runs", "twice", "lost", "stale")
        return (self.deliveries, self.versions, *(self.counts[name] for name in names))


def storm(pushes: Pushes, deliveries: int, chance: random.Random, progress: Callable[[Score], None]) -> Score:
    """Push and deliver in rounds until `deliveries` is reached, and judge the state after each round."""
    score = Score()
    late: list[DefinitionVersion] = []
    seen: set[str] = set()
    while score.deliveries < deliveries:
        pushed = [pushes.put(definition(f"{score.versions + n}")) for n in range(1 if chance.random() < 0.8 else 3)]
        score.versions += len(pushed)
        # Hold back some events of older versions, and some duplicates, until the next round: they are delivered after
        # later versions were pushed.
        kept = [version for version in pushed[:-1] if chance.random() < 0.5]
        again = [version for version in pushed if chance.random() < 0.2]
        events = [version for version in pushed if version not in kept] + late
        late = [*kept, *(version for version in again if chance.random() < 0.2)]
        events += [version for version in again if version not in late]
        score.counts.update(duplicates=len(again), late=len(late))
        chance.shuffle(events)
        seeds = [chance.random() for _ in events]
        with ThreadPoolExecutor(4) as pool:
            for deaths, faults, count in pool.map(
                lambda pair: until_done(pushes, *pair), zip(events, seeds, strict=True)
            ):
                score.counts["deaths"] += deaths
                score.counts["faults"] += faults
                score.deliveries += count
        judge(pushes, pushed, seen, score)
        progress(score)
    return score


class Trouble:
    """A hook that injects faults into one invocation: the process dies at a call, or an API refuses one."""

    def __init__(self, chance: random.Random):
        self.dies = chance.random() < 0.1
        self.at, self.side = chance.randrange(1, 10), chance.choice(["before", "after"])
        self.refuses = chance.choice(FAULTS) if chance.random() < 0.1 else ""
        self.calls = 0

    def __call__(self, name: str) -> None:
        self.calls += 1
        if self.dies and self.calls == self.at:
            raise Death
        if self.refuses and self.calls == self.at % 5 + 1:
            raise botocore.exceptions.ClientError({"Error": {"Code": self.refuses, "Message": "busy"}}, name)


def until_done(pushes: Pushes, version: DefinitionVersion, seed: float) -> tuple[int, int, int]:
    """Deliver an event until an invocation succeeds, as Lambda's retries and a redrive do.

    Return the numbers of deaths, faults and deliveries.
    """
    chance = random.Random(seed)
    deaths = faults = 0
    while True:
        trouble = Trouble(chance)
        try:
            pushes.deliver(version, **{trouble.side: trouble})
        except Death:
            deaths += 1
        except botocore.exceptions.ClientError:
            faults += 1
        else:
            return deaths, faults, deaths + faults + 1


def judge(pushes: Pushes, pushed: list[DefinitionVersion], seen: set[str], score: Score) -> None:
    """Count what is wrong after a round and add it to the score.

    The newest version must have run exactly once and be the pipeline's definition; older versions may run at most once.
    """
    pushes.settle()
    newest = str(score.versions - 1)
    listed = pushes.sagemaker.list_pipeline_executions(
        PipelineName=pushes.project.pipeline, SortBy="CreationTime", SortOrder="Descending", MaxResults=50
    )["PipelineExecutionSummaries"]
    fresh = [execution for execution in listed if execution["PipelineExecutionArn"] not in seen]
    seen |= {execution["PipelineExecutionArn"] for execution in fresh}
    runs = Counter(pushes.ran(execution["PipelineExecutionArn"]) for execution in fresh)
    notes = {version.note: str(score.versions - len(pushed) + n) for n, version in enumerate(pushed)}
    mismatched = [
        execution
        for execution in fresh
        if notes.get(execution["PipelineExecutionDescription"]) != pushes.ran(execution["PipelineExecutionArn"])
    ]
    found = {
        "runs": len(fresh),
        "twice": sum(count > 1 for count in runs.values()),
        "lost": int(runs[newest] == 0),
        "stale": len(mismatched) + int(pushes.current() != newest),
    }
    score.counts.update(found)
    if found["twice"] or found["lost"] or found["stale"]:
        score.wrong.append(f"version {newest}: ran {dict(runs)}, the pipeline has {pushes.current()}")


def run(deliveries: int, seed: int = 1, progress: Callable[[Score], None] = lambda score: None) -> Score:
    """Start an emulator and run storms against it until there were `deliveries` deliveries; return the total score."""
    emulator = server.start()
    try:
        emulator.client("s3").create_bucket(Bucket="deliveries-111122223333")
        emulator.client("s3").put_bucket_versioning(
            Bucket="deliveries-111122223333", VersioningConfiguration={"Status": "Enabled"}
        )
        trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = emulator.client("iam").create_role(RoleName="deliveries", AssumeRolePolicyDocument=document)["Role"][
            "Arn"
        ]
        topic = emulator.client("sns").create_topic(Name="deliveries")["TopicArn"]
        os.environ.update(Pushes.environment(role, topic))
        execute_pipeline.logger.setLevel("ERROR")
        whole, chance = Score(), random.Random(seed)
        for number in range(-(-deliveries // A_PROJECT)):  # a long history makes listing runs slow
            pushes = Pushes(emulator, "deliveries-111122223333", f"deliveries{number}")
            whole.add(storm(pushes, min(A_PROJECT, deliveries - whole.deliveries), chance, lambda score: None))
            progress(whole)
        return whole
    finally:
        emulator.end()


def main() -> str | None:
    deliveries = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000

    score = run(deliveries, progress=lambda whole: progress(f"  {whole.deliveries} of {deliveries} deliveries"))
    headings = (
        "deliveries",
        "versions",
        "twice",
        "late",
        "with a fault",
        "deaths",
        "runs",
        "run twice",
        "lost",
        "stale",
    )
    show(headings, [score.row()])
    return "\n".join(score.wrong) or None


if __name__ == "__main__":
    sys.exit(main())
