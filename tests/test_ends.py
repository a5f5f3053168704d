"""What surrounds a rehearsal does not lead it elsewhere, and what it starts is ended."""

import os
import subprocess
import sys

from conftest import ROOT

from rehearsal import surroundings


def test_the_users_settings_of_aws_and_git_are_dropped_and_no_proxy_is_extended():
    hostile = {
        "AWS_PROFILE": "work",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_CA_BUNDLE": "/no/such",
        "GIT_DIR": "/no/such",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "no_proxy": "registry.example, 10.0.0.1",
    }

    cleaned = surroundings.clean(hostile)

    assert cleaned == {
        **surroundings.NO_PROFILES,
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "registry.example,10.0.0.1,127.0.0.1",
        "no_proxy": "registry.example,10.0.0.1,127.0.0.1",
    }


def test_the_git_helper_without_credentials_says_what_to_export():
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal.git_credentials", "get"],
        input="protocol=http\nhost=127.0.0.1:1\npath=v1/repos/x\n",
        cwd=ROOT,
        env=surroundings.clean(os.environ),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("error: no git credentials for 127.0.0.1:1: there are no AWS credentials: export")
