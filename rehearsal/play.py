"""Run the scenario from start to end, for one variant or both, and clean up whatever happens."""

import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from build import ROOT, VARIANTS
from build.assemble import edit_settings
from build.template import load
from build.upgrade import read_assignments
from rehearsal import server
from rehearsal.console import Console
from rehearsal.loopback import git_credentials
from rehearsal.scenario import Outcome, Project, ScenarioFailed, Scientist, install
from rehearsal.server import Emulator


@dataclass(frozen=True)
class Options:
    """The options of `make rehearse TASK= DATA= SETTINGS= PARAMETERS= INTERRUPT=1 KEEP=1 PORT=`."""

    variants: tuple[str, ...]
    data: Path | None
    settings: dict
    parameters: dict[str, str]
    interrupt: bool
    keep: bool
    port: int | None

    @classmethod
    def from_environment(cls, environment: dict[str, str]) -> "Options":
        """Read and check the variables before anything is started. Raises ValueError for an invalid one."""
        task, data, settings = (environment.get(name, "") for name in ("TASK", "DATA", "SETTINGS"))
        if task and task not in VARIANTS:
            raise ValueError(f"TASK is {task!r}. Choose one of: {', '.join(VARIANTS)}.")
        if (data or settings) and not task:
            raise ValueError(f"DATA and SETTINGS are for one task. Say which with TASK={' or TASK='.join(VARIANTS)}.")
        if data and not Path(data).exists():
            raise ValueError(f"DATA is {data!r}, and there is no such file or folder.")
        suffixes = dict(VARIANTS[task].files) if task else {}
        if data and suffixes and not any(path.suffix.lower() in suffixes for path in Path(data).rglob("*")):
            raise ValueError(f"DATA is {data!r}, and there is no file to predict in it ({', '.join(suffixes)}).")
        chosen = read_settings(settings, task) if settings else {}
        interrupt = environment.get("INTERRUPT", "") not in ("", "0")
        if interrupt:
            check_interruptible(chosen)
        port = environment.get("PORT", "")
        if port and not (port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"PORT is {port!r}. Give a number between 1 and 65535.")
        if not shutil.which("git"):
            raise ValueError("git is not installed. Install git and try again.")
        return cls(
            variants=(task,) if task else tuple(sorted(VARIANTS, key=lambda name: VARIANTS[name].order)),
            data=Path(data) if data else None,
            settings=chosen,
            parameters=read_parameters(environment.get("PARAMETERS", "")),
            interrupt=interrupt,
            keep=environment.get("KEEP", "") not in ("", "0"),
            port=int(port) if port else None,
        )


def read_parameters(text: str) -> dict[str, str]:
    """Return the project parameters in text like "MonthlyBudget=50 RetainData=true".

    Raises ValueError for a parameter that the project template does not have.
    """
    known = [name for name in load(ROOT / "templates/project.yaml")["Parameters"] if not name.startswith("SageMaker")]
    parameters = read_assignments(text)
    for name in parameters:
        if name not in known:
            raise ValueError(f"PARAMETERS names {name!r}, no parameter of the project template: {', '.join(known)}.")
    return parameters


def check_interruptible(settings: dict) -> None:
    """Raise ValueError if these settings have no step Train on spot instances that INTERRUPT=1 could interrupt."""
    mode = settings.get("compute", {}).get("mode", "spot")
    if mode == "on_demand":
        raise ValueError("INTERRUPT is for spot instances, and SETTINGS has [compute] mode = 'on_demand'. Drop one.")
    if settings.get("tuning", {}).get("jobs", 0):
        raise ValueError("INTERRUPT is for the step Train, and SETTINGS has [tuning] jobs. Drop one.")


def read_settings(path: str, task: str) -> dict:
    """Return the TOML that overrides the seed's settings. Raises ValueError if it does not fit them."""
    try:
        given = tomllib.loads(Path(path).read_text())
    except OSError:
        raise ValueError(f"SETTINGS is {path!r}, and there is no such file.") from None
    except UnicodeDecodeError:
        raise ValueError(f"SETTINGS {path} is not UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"SETTINGS {path} is not valid TOML: {error}.") from None
    # Apply it to a copy of the seed's settings.toml, so that an error shows before anything is started.
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(ROOT / "seed_code" / task / "settings.toml", folder))
        try:
            edit_settings(copy, given)
        except ValueError as error:
            raise ValueError(f"SETTINGS {path}: {error}") from None
    return given


def play(options: Options) -> None:
    """Start the emulator, run the scenario for each variant, and end everything, whatever happens on the way.

    With KEEP=1 the emulator stays up. Raises ValueError if one is up already, ScenarioFailed if a step fails.
    """
    place = server.claim() if options.keep else None
    if up := server.recall():
        raise ValueError(f"a rehearsal is up at {up.endpoint}. End it first with: make rehearse-down")
    server.end_orphans()
    console = Console()
    # Each of these signals must end everything that was started. SIGINT needs a handler too, since shells start
    # background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop_once)
    emulator = server.start(options.port)
    outcomes: list[Outcome] = []
    kept = False
    try:
        built, launch_role = install(emulator, console)
        for number, variant in enumerate(options.variants):
            # Cover both routes: the first variant comes from Service Catalog, the second from the template in S3.
            route = launch_role if number else None
            outcomes.append(play_variant(emulator, console, options, variant, built, route))
        kept = options.keep
    except ScenarioFailed:
        kept = options.keep  # so that the user can inspect what failed
        if kept:
            explain(emulator)
        raise
    finally:
        ignore_signals()  # a second Ctrl-C must not interrupt the clean-up
        if kept:
            server.remember(emulator)
            place.close()
        else:
            emulator.end()
    show(console, outcomes)
    if kept:
        explain(emulator)


def stop_once(number: int, frame: object) -> None:
    """Raise KeyboardInterrupt for the first signal, and ignore later ones: they would interrupt the clean-up."""
    ignore_signals()
    raise KeyboardInterrupt


def ignore_signals() -> None:
    """Ignore SIGINT, SIGTERM and SIGHUP while a rehearsal is being ended, which takes seconds."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def play_variant(emulator: Emulator, console: Console, options: Options, variant: str, built, launch_role) -> Outcome:
    """Run one variant: create a project, train, approve, deploy and predict, then delete it unless it is to be kept."""
    console.chapter(f"{variant}: a project, from its template to a prediction (data scientist)")
    started = time.monotonic()
    scientist = Scientist(emulator, console, variant, Path(emulator.folder) / "clones")
    project = scientist.create_project(built, launch_role, options.parameters)
    scientist.clone(project)
    scientist.wait_for_build(project, "first build")
    execution = scientist.next_execution(project)
    if options.data or options.settings:
        stop_sample_run(scientist, project, execution)
        use_own_data(scientist, project, options)
        scientist.wait_for_build(project, "build")
        execution = scientist.next_execution(project)
    if options.interrupt:
        emulator.interrupt_spot_training(execution.rsplit("/", 1)[-1])
    steps = scientist.follow(project, execution)
    if options.interrupt:
        scientist.tell_interruption(steps)
    model = scientist.registered(project, steps)
    plots = scientist.fetch_plots(model, steps)
    scientist.approve(project, model)
    payload, content_type, shown = VARIANTS[variant].example(options.data)
    scientist.predict(project, payload, content_type, shown)
    seconds = time.monotonic() - started
    outcome = Outcome(variant, model["ModelPackageVersion"], model["figures"], seconds, plots)
    if options.keep:
        return outcome
    # What follows is the same for both variants, so only the first one runs it.
    if not options.data and not options.settings and not options.interrupt and variant == options.variants[0]:
        continue_story(scientist, project, console)
    scientist.delete_project(project)
    return outcome


def stop_sample_run(scientist: Scientist, project: Project, execution: str) -> None:
    """Stop the run that the first build started on the sample: it is not needed with own data or settings."""
    with scientist.console.step("stop the run on the sample") as step:
        scientist.client("sagemaker").stop_pipeline_execution(
            PipelineExecutionArn=execution, ClientRequestToken=f"stop-{execution[-12:]}".ljust(32, "-")
        )
        step.result = execution.rsplit("/", 1)[-1]


def use_own_data(scientist: Scientist, project: Project, options: Options) -> None:
    """Upload the data, set [data] source in settings.toml, apply the given settings, and push."""
    change = json.loads(json.dumps(options.settings))  # a deep copy
    if options.data:
        files = (
            [options.data]
            if options.data.is_file()
            else sorted(path for path in options.data.rglob("*") if path.is_file())
        )
        with scientist.console.step("upload the data") as step:
            s3 = scientist.client("s3")
            for number, path in enumerate(files, 1):
                relative = path.name if options.data.is_file() else path.relative_to(options.data)
                s3.put_object(Bucket=project.bucket, Key=f"data/{relative}", Body=path.read_bytes())
                step.progress = lambda done=number: f"{done} of {len(files)} files"
            step.result = f"s3://{project.bucket}/data: {len(files)} files"
        change.setdefault("data", {})["source"] = f"s3://{project.bucket}/data"
    edit_settings(project.clone / "settings.toml", change)
    scientist.push(project, "our own data and settings")


def continue_story(scientist: Scientist, project: Project, console: Console) -> None:
    """Run what a team does next: change a hyperparameter, override parameters, edit the README, push a failing test."""
    settings = project.clone / "settings.toml"
    console.chapter(f"{project.variant}: what comes after")
    edit_settings(settings, {"training": {"weight_decay": 0.02}})
    scientist.push(project, "weight_decay = 0.02")
    scientist.wait_for_build(project, "build")
    steps = scientist.follow(project, scientist.next_execution(project))
    scientist.registered(project, steps)

    with console.step("start with Epochs=1, Threshold=0") as step:
        started = scientist.client("sagemaker").start_pipeline_execution(
            PipelineName=project.full_name,
            PipelineParameters=[{"Name": "Epochs", "Value": "1"}, {"Name": "Threshold", "Value": "0"}],
        )
        step.result = started["PipelineExecutionArn"].rsplit("/", 1)[-1]
    project.seen_executions.add(started["PipelineExecutionArn"])
    steps = scientist.follow(project, started["PipelineExecutionArn"])
    with console.step("hyperparameters of the job") as step:
        job = steps["Train"]["Metadata"]["TrainingJob"]["Arn"].rsplit("/", 1)[1]
        told = scientist.client("sagemaker").describe_training_job(TrainingJobName=job)["HyperParameters"]
        step.result = f"epochs = {told['epochs']}"
        if told["epochs"] != "1":
            raise ScenarioFailed(f"Epochs=1 was given, and the job got epochs = {told['epochs']}")

    readme = project.clone / "README.md"
    readme.write_text(readme.read_text() + "\nOurs since today.\n")
    scientist.push(project, "README only")
    scientist.wait_for_build(project, "build")
    with console.step("no run") as step:
        wait_for_unchanged(scientist, project)
        if execution := scientist.next_execution(project, wait=False):
            raise ScenarioFailed(f"a push of the README alone started {execution}")
        step.result = "the definition is the same, so no pipeline runs"

    (project.clone / "tests/test_broken.py").write_text("def test_that_fails():\n    assert 1 + 1 == 3\n")
    scientist.push(project, "a test that fails")
    scientist.listen(project)
    scientist.wait_for_build(project, "build", expected="FAILED")
    scientist.read_notice("ended as FAILED")


def wait_for_unchanged(scientist: Scientist, project: Project) -> None:
    """Wait until the function has logged that the definition is unchanged. Raises ScenarioFailed after 30 s."""
    deadline = time.monotonic() + 30
    while not any("unchanged" in line for line in scientist.function_log(project)()):
        if time.monotonic() > deadline:
            raise ScenarioFailed(
                "the function did not report an unchanged definition", scientist.function_log(project)()
            )
        time.sleep(0.1)


def show(console: Console, outcomes: list[Outcome]) -> None:
    """Print the closing table."""
    print()
    console.table(
        ("variant", "model version", "metrics on the test split", "to the prediction", "plots"),
        [
            (
                outcome.variant,
                str(outcome.version),
                ", ".join(f"{name} {value:.3f}" for name, value in outcome.metrics.items()),
                f"{outcome.seconds:.1f} s",
                os.path.relpath(outcome.plots),
            )
            for outcome in outcomes
        ],
    )
    print(f"\nFinished in {time.monotonic() - console.started:.0f} s.")


def explain(emulator: Emulator) -> None:
    """Print how to reach an emulator that is left up."""
    environment = "\n".join(f"  export {name}={value}" for name, value in emulator.environment().items())
    git = shlex.join(["git", *git_credentials(Path(sys.executable))])
    print(f"""
The emulated AWS stays up at {emulator.endpoint}. To talk to it with git, with boto3 and, where it is installed, with the AWS CLI (version 2):

{environment}
  aws sagemaker list-projects
  aws sagemaker list-model-packages
  {git} \\
      clone {emulator.endpoint}/v1/repos/<name>

End it with: make rehearse-down""")


def down() -> None:
    """End the rehearsal that was left up, and clean up after killed ones."""
    ignore_signals()
    emulator = server.recall()
    orphans = server.end_orphans()
    if orphans:
        print(f"cleaned up after {orphans} killed rehearsals")
    elif emulator is None:
        print("no rehearsal is up")
    if emulator is not None:
        emulator.end()
        print(f"ended the rehearsal at {emulator.endpoint}")
    server.forget()


def fail(error: ScenarioFailed) -> None:
    """Print which step failed, the end of its log, and what to try."""
    print(f"\nerror: {error}", file=sys.stderr)
    for line in error.log[-25:]:
        print(f"  | {line}", file=sys.stderr)
    print(
        error.hint or "Run it again with KEEP=1, which leaves the emulated AWS up to look around in.", file=sys.stderr
    )
