"""Emulate AWS on a port of the loopback interface.

    python -m rehearsal.aws --port 4566 --folder <a folder for what runs>

Prints the word "ready" once it accepts requests. On SIGINT or SIGTERM it ends every process that it started, and exits.
"""

import argparse
import asyncio
import os
import shutil
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    # ministack reads its configuration from the environment when it is imported.
    os.environ |= {
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": "111122223333",
        "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(arguments.port),
        "IOT_MTLS_ENABLED": "0",  # otherwise it listens on every network interface
        "LAMBDA_EXECUTOR": "local",
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
        "MINISTACK_ACCOUNT_ID": "111122223333",
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": "us-east-1",
        "TMPDIR": str(folder / "tmp"),
    }
    for name in ("AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        os.environ.pop(name, None)
    (folder / "tmp").mkdir(parents=True, exist_ok=True)

    from rehearsal.aws import adapter, processes
    from rehearsal.aws.budgets import Budgets
    from rehearsal.aws.builds import Builds
    from rehearsal.aws.codecommit import CodeCommit
    from rehearsal.aws.front import front
    from rehearsal.aws.gate import gate
    from rehearsal.aws.quotas import Quotas
    from rehearsal.aws.sagemaker import SageMaker
    from rehearsal.aws.servicecatalog import ServiceCatalog

    del os.environ["LOG_LEVEL"]  # meant for ministack, not for the functions that it starts
    os.environ["PYTHONPATH"] = str(
        Path(__file__).parent.parent / "runtime"
    )  # where the functions that it starts find sitecustomize.py
    adapter.keep_bodies_in(folder / "objects")
    repositories = CodeCommit(folder / "repositories")
    Builds(folder / "builds")
    Quotas()
    Budgets()
    sagemaker = SageMaker(folder, ServiceCatalog())

    async def serve() -> None:
        try:
            own = front(repositories, sagemaker.interrupt)
            await adapter.serve(
                lambda application: gate(application, arguments.port, own),
                arguments.port,
                lambda: print("ready", flush=True),
            )
        finally:
            processes.end_all()
            shutil.rmtree(folder / "tmp", ignore_errors=True)
            sys.stdout.flush()
            # Exit without waiting for ministack's worker threads: they can take minutes, and nothing depends on them.
            os._exit(0)

    asyncio.run(serve())


if __name__ == "__main__":
    main()
