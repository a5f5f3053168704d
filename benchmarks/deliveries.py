"""A storm of events for the function that runs the pipeline, against the played AWS, and what became of it.

    .venv/bin/python -m benchmarks.deliveries [10000]

Versions are pushed one by one, now and then several at once. Each event is delivered by a function that may be one of
four at a time; 20 % come twice, 5 % and more come after events of later versions, 10 % meet a fault of an API, and one in
ten functions dies before or after one of its calls and is delivered again. After each round the pipeline has to have the
newest version's content, that version has to have run exactly once, and every run must have had its own definition.
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
from project import Project
from rehearsal import server

Hook = Callable[[str], None]
A_PROJECT = 500
FAULTS = ("ThrottlingException", "ConflictException", "InternalFailure", "ServiceUnavailable")


class Death(BaseException):
    """A function's process ends here and now."""


def definition(message: str) -> bytes:
    """A pipeline that ends at once, so that its runs cost nothing."""
    step = {"Name": "Fail", "Type": "Fail", "Arguments": {"ErrorMessage": message}}
    return json.dumps({"Version": "2020-12-01", "Parameters": [], "Steps": [step]}).encode()


def message_of(text: str) -> str:
    return json.loads(text)["Steps"][0]["Arguments"]["ErrorMessage"]


class Pushes:
    """A project, what is pushed to it, and the deliveries of that to the function."""

    def __init__(self, played: Any, bucket: str, name: str):
        self.played = played
        self.s3, self.sagemaker = played.client("s3"), played.client("sagemaker")
        self.project = Project(name, "p-tests", bucket, name, name)
        self.key = f"{name}/pipeline.json"
        self.versions: list[DefinitionVersion] = []
        self.refusals: list[tuple[str, str]] = []

    @staticmethod
    def environment(role: str, topic: str) -> dict[str, str]:
        """The variables that the template gives the function."""
        return {
            "PIPELINE_ROLE_ARN": role,
            "NOTICES_TOPIC_ARN": topic,
            "AWS_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_NAME": "tests",
            "IMAGE_ACCOUNT": "763104351884",
            "WAIT_SECONDS": "0.01",
        }

    def put(self, body: bytes) -> DefinitionVersion:
        version = self.s3.put_object(Bucket=self.project.bucket, Key=self.key, Body=body).get("VersionId", UNVERSIONED)
        self.versions.append(DefinitionVersion(self.project.bucket, self.key, version))
        return self.versions[-1]

    def refuse_once(self, operation: str, code: str) -> None:
        """Have the next call of an operation refused, as AWS does when it is busy."""
        self.refusals.append((operation, code))

    def deliver(
        self,
        version: DefinitionVersion,
        before: Hook | None = None,
        after: Hook | None = None,
        config: Config | None = None,
    ) -> dict[str, str]:
        """Invoke the function with clients of its own; the hooks see the name of each call."""
        config = config or Config(retries={"mode": "standard", "total_max_attempts": 1})
        clients = {name: self.played.client(name, config=config) for name in ("s3", "sagemaker", "sns")}
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
        """Change the pipeline as somebody would by hand."""
        self.sagemaker.update_pipeline(PipelineName=self.project.pipeline, PipelineDefinition=body.decode())

    def current(self) -> str:
        """The message of the definition that the pipeline has."""
        described = self.sagemaker.describe_pipeline(PipelineName=self.project.pipeline)
        return message_of(described["PipelineDefinition"])

    def executions(self) -> list[dict[str, Any]]:
        """Every run, the first one first."""
        pages = self.sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=self.project.pipeline)
        found = [execution for page in pages for execution in page["PipelineExecutionSummaries"]]
        return sorted(found, key=lambda execution: execution["StartTime"])

    def runs(self) -> list[str]:
        """The message of the definition that each run had."""
        return [self.ran(execution["PipelineExecutionArn"]) for execution in self.executions()]

    def ran(self, arn: str) -> str:
        text = self.sagemaker.describe_pipeline_definition_for_execution(PipelineExecutionArn=arn)
        return message_of(text["PipelineDefinition"])

    def settle(self) -> None:
        """Wait until none of the newest runs is under way."""
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
    """What a storm did, and what it found wrong."""

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
    """Push and deliver until there were so many deliveries, and look after every round."""
    score = Score()
    late: list[DefinitionVersion] = []
    seen: set[str] = set()
    while score.deliveries < deliveries:
        pushed = [pushes.put(definition(f"{score.versions + n}")) for n in range(1 if chance.random() < 0.8 else 3)]
        score.versions += len(pushed)
        # An older one of several may come after later versions, and so may a second event of the newest.
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
    """What befalls one invocation of the function: it dies at a call, or an API refuses one."""

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
    """Deliver an event again and again, as Lambda and a redrive do, until it is done: deaths, faults, deliveries."""
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
    """After a round: the newest version ran once and is what the pipeline has, the others ran once at most."""
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
    """Start a played AWS of its own and let a storm loose on it."""
    played = server.start()
    try:
        played.client("s3").create_bucket(Bucket="deliveries-111122223333")
        played.client("s3").put_bucket_versioning(
            Bucket="deliveries-111122223333", VersioningConfiguration={"Status": "Enabled"}
        )
        trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = played.client("iam").create_role(RoleName="deliveries", AssumeRolePolicyDocument=document)["Role"]["Arn"]
        topic = played.client("sns").create_topic(Name="deliveries")["TopicArn"]
        os.environ.update(Pushes.environment(role, topic))
        execute_pipeline.logger.setLevel("ERROR")
        whole, chance = Score(), random.Random(seed)
        for number in range(-(-deliveries // A_PROJECT)):  # a long history makes every look at it slow
            pushes = Pushes(played, "deliveries-111122223333", f"deliveries{number}")
            whole.add(storm(pushes, min(A_PROJECT, deliveries - whole.deliveries), chance, lambda score: None))
            progress(whole)
        return whole
    finally:
        played.end()


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
