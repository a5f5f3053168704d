"""The environment without what would lead git or AWS calls elsewhere: variables, profiles, proxies for this machine."""

import os
from collections.abc import Mapping

LOOPBACK = ("127.0.0.1", "localhost")
# The files of a user's profiles name other regions, endpoints and certificates; nobody here has an instance's metadata.
NO_PROFILES = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return NO_PROXY in both spellings, with the loopback interface beside what the user's own say."""
    entries = [
        entry.strip() for name in ("NO_PROXY", "no_proxy") for entry in environment.get(name, "").split(",") if entry
    ]
    joined = ",".join(dict.fromkeys([*entries, *LOOPBACK]))
    return {"NO_PROXY": joined, "no_proxy": joined}


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the user's settings of git and AWS, GIT_DIR of a git hook among them."""
    kept = {name: value for name, value in environment.items() if not name.startswith(("AWS_", "GIT_"))}
    return {**kept, **NO_PROFILES, **without_proxy(environment)}
