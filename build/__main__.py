"""Build, check and install the bundle: python -m build <step>"""

import argparse
import sys
from pathlib import Path

import botocore.exceptions

from build import ROOT, VARIANTS, assemble, audit, definitions, install, lint, package, publish
from build.account import connect
from build.plan import Request
from build.redrive import redrive
from build.seed_diff import seed_diff
from build.upgrade import read_assignments
from spotkit.checks.__main__ import main as check_definition


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m build", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True, metavar="step")
    step = steps.add_parser("assemble", help="lay out the repository that a team receives")
    step.add_argument("variant", help=" or ".join(VARIANTS))
    step.add_argument("folder", type=Path, help="a new folder")
    steps.add_parser("lint", help="check code, templates and files")
    steps.add_parser("audit", help="report licences and vulnerabilities of what is required")
    steps.add_parser("definitions", help="regenerate pipeline_json/ from the seeds")
    step = steps.add_parser("check", help="find what AWS would refuse in a pipeline definition")
    step.add_argument("definition", help="a pipeline.json")
    for name, what in (("package", "build dist/"), ("publish", "upload what dist/ would hold")):
        step = steps.add_parser(name, help=what)
        step.add_argument("--bucket", default=package.DEFAULT_BUCKET, help="where the bundle is installed from")
        if name == "publish":
            step.add_argument("--dry-run", action="store_true", help="show what would be uploaded")
    for name, what in (
        ("install", "install the bundle in this account and region, or bring it up to date"),
        ("uninstall", "take it away again"),
    ):
        step = steps.add_parser(name, help=what)
        step.add_argument("--bucket", default="", help="the bundle's bucket; made when it is not there")
        step.add_argument(
            "--studio-role", default="", help="ARN of the role that creates projects; the domain's by default"
        )
        step.add_argument("--dry-run", action="store_true", help="print the plan, and do nothing")
        if name == "install":
            step.add_argument("--s3-route", action="store_true", help="offer the templates without Service Catalog too")
            step.add_argument("--instance-type", default="ml.g4dn.xlarge", help="whose spot quota is looked at")
            step.add_argument("--projects", default="", help="running projects to update: all, or names with commas")
            step.add_argument("--parameters", default="", help="values for these projects: Name=value, with spaces")
        else:
            step.add_argument("--force", action="store_true", help="delete the projects made from it, too")
    step = steps.add_parser("redrive", help="deliver again what a project's functions could not do")
    step.add_argument("project", help="the project's name")
    step = steps.add_parser("seed-diff", help="print what a newer seed changes, as a patch")
    step.add_argument("old", help="a commit or tag of the bundle: SEED in a repository names its own")
    step.add_argument("new", help="another")
    step.add_argument("variant", help=" or ".join(VARIANTS))
    return parser.parse_args()


def build(arguments: argparse.Namespace) -> None:
    """Run the step package or publish: build what an installation uploads, and write, list or upload it."""
    built = package.package(arguments.bucket)
    if arguments.step == "package":
        package.write(built, ROOT / "dist")
        added = list(built.objects)
    elif arguments.dry_run:
        added = publish.plan(built, set())
    else:
        import boto3

        added = publish.publish(boto3.client("s3"), built)
    where = "dist" if arguments.step == "package" else f"s3://{built.bucket}"
    for key in added:
        print(f"{where}/{key}  {len(built.objects[key]):,} bytes")


def change_account(arguments: argparse.Namespace) -> None:
    """Run the step install, uninstall or redrive in the account of the current credentials."""
    account = connect()
    if arguments.step == "redrive":
        redrive(account, arguments.project)
        return
    request = Request(bucket=arguments.bucket, studio_role=arguments.studio_role)
    if arguments.step == "uninstall":
        install.uninstall(account, request, arguments.force, arguments.dry_run)
        return
    more = {
        "s3_route": arguments.s3_route,
        "instance_type": arguments.instance_type,
        "projects": tuple(name for name in arguments.projects.split(",") if name),
        "parameters": read_assignments(arguments.parameters),
    }
    install.install(account, Request(**vars(request) | more), arguments.dry_run)


def main() -> None:
    arguments = parse_arguments()
    if arguments.step == "assemble":
        files = assemble.assemble(arguments.variant)
        assemble.write(files, arguments.folder)
        print(f"{len(files)} files in {arguments.folder}")
    elif arguments.step == "lint":
        sys.exit(not lint.lint())
    elif arguments.step == "audit":
        sys.exit(not audit.audit())
    elif arguments.step == "definitions":
        for path in definitions.write_all():
            print(path.relative_to(ROOT))
    elif arguments.step == "check":
        sys.exit(check_definition([arguments.definition]))
    elif arguments.step == "seed-diff":
        print(seed_diff(arguments.old, arguments.new, arguments.variant), end="")
    elif arguments.step in ("install", "uninstall", "redrive"):
        change_account(arguments)
    else:
        build(arguments)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, TimeoutError, botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
