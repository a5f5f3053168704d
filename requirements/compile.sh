#!/bin/sh
# Resolve every requirements file anew: `sh requirements/compile.sh`. Review the result like code.
set -eu
cd "$(dirname "$0")/.."
compile() { uv pip compile --quiet --no-header --generate-hashes --universal --python-version 3.11 "$@"; }
compile requirements/jobs.in requirements/definitions.in \
    --override requirements/definitions.overrides -o seed_code/common/requirements.txt
compile requirements/development.in -c seed_code/common/requirements.txt -o requirements/development.txt
compile requirements/emulator.in -o requirements/emulator.txt
compile requirements/tracking.in -c seed_code/common/requirements.txt \
    --override requirements/tracking.overrides -o requirements/tracking.txt
compile requirements/lambda.in -o requirements/lambda.txt
compile requirements/uv.in -o requirements/uv.txt
compile requirements/lint.in -o requirements/lint.txt
compile requirements/guard.in --no-deps -o requirements/guard.txt
compile requirements/quality.in --no-deps -o requirements/quality.txt
