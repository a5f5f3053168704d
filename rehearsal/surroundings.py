"""Remove from the environment what would send git or AWS calls elsewhere: variables, profiles, proxies for loopback."""

import os
from collections.abc import Mapping

LOOPBACK = ("127.0.0.1", "localhost")
# Profile files may set other regions, endpoints and certificates; there is no instance metadata service to ask.
NO_PROFILES = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return NO_PROXY in both spellings: the user's entries, and the loopback interface."""
    entries = [
        entry.strip() for name in ("NO_PROXY", "no_proxy") for entry in environment.get(name, "").split(",") if entry
    ]
    joined = ",".join(dict.fromkeys([*entries, *LOOPBACK]))
    return {"NO_PROXY": joined, "no_proxy": joined}


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the user's git and AWS variables; a git hook, for one, sets GIT_DIR."""
    kept = {name: value for name, value in environment.items() if not name.startswith(("AWS_", "GIT_"))}
    return {**kept, **NO_PROFILES, **without_proxy(environment)}
