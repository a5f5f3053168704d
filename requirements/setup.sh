#!/bin/sh
# Make the environments, from nothing and once: `make` runs this when a requirements file has changed.
# One for builds, jobs and tests, as CodeBuild has one; one for the emulator, which pins botocore; one for what tracks
# training, which no project needs before it sets it; one for linters, which pin what they like.
set -eu
cd "$(dirname "$0")/.."
fail() { echo "error: $1" >&2; exit 2; }

command -v git > /dev/null || fail "git is not installed. Install git and run make again."
"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' ||
    fail "$PYTHON is not Python 3.11 to 3.13. Name one that is, as in: make rehearse PYTHON=python3.12"
echo "Setting up .venv, once: 2 to 4 minutes and 8 GB, most of it PyTorch"
rm -rf .venv
"$PYTHON" -m venv .venv/uv
.venv/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
install() {
    echo "  $1"
    shift
    .venv/uv/bin/uv pip install --quiet --no-deps --require-hashes --compile-bytecode --python "$@"
}
.venv/uv/bin/uv venv --quiet --allow-existing --python "$PYTHON" .venv
install "1 of 4: builds, jobs and tests" .venv/bin/python -r seed_code/common/requirements.txt -r requirements/development.txt
.venv/uv/bin/uv venv --quiet --python "$PYTHON" .venv/emulator
install "2 of 4: what plays AWS" .venv/emulator/bin/python -r requirements/emulator.txt
.venv/uv/bin/uv venv --quiet --python "$PYTHON" .venv/tracking
install "3 of 4: what tracks training" .venv/tracking/bin/python -r requirements/tracking.txt
.venv/uv/bin/uv venv --quiet --python "$PYTHON" .venv/lint
install "4 of 4: what checks the templates" .venv/lint/bin/python -r requirements/lint.txt -r requirements/guard.txt
touch .venv/ready
