"""The bundle's own build: python -m build <step>"""

import argparse
import sys
from pathlib import Path

from build import ROOT, VARIANTS, assemble, audit, definitions, lint, package, publish
from checks.__main__ import main as check_definition


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
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.step == "assemble":
        files = assemble.assemble(arguments.variant)
        assemble.write(files, arguments.folder)
        print(f"{len(files)} files in {arguments.folder}")
    elif arguments.step == "check":
        sys.exit(check_definition([arguments.definition]))
    elif arguments.step == "lint":
        sys.exit(not lint.lint())
    elif arguments.step == "audit":
        sys.exit(not audit.audit())
    elif arguments.step == "definitions":
        for path in definitions.write_all():
            print(path.relative_to(ROOT))
    else:
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


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
