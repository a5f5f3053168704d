"""The user's settings of AWS, git and proxies redirect no call of a rehearsal.

The rehearsal in test_rehearsal.py runs with such settings.
"""

import os

from rehearsal.surroundings import clean

HOSTILE = {
    "AWS_PROFILE": "production",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "AKIAWRONGWRONGWRONG0",
    "AWS_SECRET_ACCESS_KEY": "theirs",
    "AWS_SESSION_TOKEN": "theirs",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_CA_BUNDLE": "/no/such/file",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_EC2_METADATA_DISABLED": "false",
    "GIT_DIR": "/no/such/repository",
    "GIT_WORK_TREE": "/no/such/repository",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "NO_PROXY": "registry.internal,10.0.0.1",
}


def test_no_proxy_keeps_what_it_has_and_nothing_of_aws_or_git_is_left():
    kept = clean(HOSTILE)

    assert kept["NO_PROXY"] == kept["no_proxy"] == "registry.internal,10.0.0.1,127.0.0.1,localhost"
    assert {name for name in kept if name.startswith(("AWS_", "GIT_"))} == {
        "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_EC2_METADATA_DISABLED",
    }  # fmt: skip
    assert kept["AWS_CONFIG_FILE"] == os.devnull


def test_applied_twice_it_is_the_same():
    once = clean(HOSTILE)

    assert clean(once) == once
