"""Refuse settings that this project's jobs could not use: weights, data, secrets and networks that they cannot reach."""

from spotkit import settings
from spotkit.checks import Project


def require(project: Project, chosen: settings.Settings, in_build: bool) -> None:
    """Raise ValueError for the first setting that this project's jobs could not use.

    On a laptop (`in_build` is false) the project is an example, whose bucket and secrets say nothing.
    """
    require_weights_of_jobs(project, chosen)
    if project.isolated:
        require_no_network(chosen)
    if in_build:
        require_own_bucket(project, chosen)
        require_own_secret(project, chosen)


def require_weights_of_jobs(project: Project, chosen: settings.Settings) -> None:
    """Raise ValueError if the weights are in a folder of this machine, which no job can read."""
    if (weights := chosen["model"]["weights"]).startswith("/"):
        raise ValueError(
            f"[model] weights is {weights!r}, a folder of this machine, which no job has. "
            f"Upload it (aws s3 cp --recursive {weights} s3://{project.bucket}/weights), and name that address."
        )


def require_own_bucket(project: Project, chosen: settings.Settings) -> None:
    """Raise ValueError if data or weights are in a bucket that the jobs' role cannot read."""
    readable = (project.bucket, *project.buckets)
    for section, key in (("data", "source"), ("model", "weights")):
        address = chosen[section][key]
        if address.startswith("s3://") and address.split("/")[2] not in readable:
            raise ValueError(
                f"[{section}] {key} is {address!r}, not in s3://{', s3://'.join(readable)}. Copy it there, or have the "
                f"platform team add the bucket to the project's parameter DataBucketArns."
            )


def require_own_secret(project: Project, chosen: settings.Settings) -> None:
    """Raise ValueError if the secret is not the project's: the jobs' role can read no other."""
    secret, own = chosen["tracking"]["wandb_secret"], f"sagemaker-{project.id}/"
    if secret and not secret.startswith(own):
        raise ValueError(f"[tracking] wandb_secret is {secret!r}. Name it {own}..., as in {own}wandb.")


def require_no_network(chosen: settings.Settings) -> None:
    """Raise ValueError if a setting needs a network, which isolated jobs do not have."""
    asked = {f"[tracking] {name}": '""' for name, value in chosen["tracking"].items() if value}
    if chosen["model"]["weights"] == "hub":
        asked["[model] weights"] = '"scratch", or an address in S3'
    if chosen["gate"]["allowed_drop"] < 1:  # the evaluation looks up the approved model in Model Registry
        asked["[gate] allowed_drop"] = "1.0"
    if asked:
        raise ValueError(
            f"this project's jobs have no network, which {', '.join(asked)} would need. Set "
            f"{', '.join(f'{setting} to {value}' for setting, value in asked.items())}; or have the platform team set the "
            "project's parameter NetworkIsolation to false."
        )
