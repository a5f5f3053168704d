"""Emulate CodeCommit: bare git repositories behind `git http-backend`, and events for pushes and pull requests."""

import base64
import os
import shutil
import subprocess
import tempfile
import threading
import zipfile
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from rehearsal.aws import adapter
from rehearsal.aws.protocol import AwsError, Caller, Service, now, page, short_id

MAX_SEED_BYTES = 20 * 2**20
AUTHOR = {
    "GIT_AUTHOR_NAME": "AWS CloudFormation",
    "GIT_AUTHOR_EMAIL": "noreply-cloudformation@amazon.com",
    "GIT_COMMITTER_NAME": "AWS CloudFormation",
    "GIT_COMMITTER_EMAIL": "noreply-cloudformation@amazon.com",
}


class CodeCommit(Service):
    """Repositories, their refs and pull requests."""

    name = "codecommit"
    target_prefix = "CodeCommit_20150413"

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.repositories: dict[str, dict[str, Any]] = {}
        self.pull_requests: dict[str, dict[str, Any]] = {}
        self.push_lock = threading.Lock()
        folder.mkdir(parents=True)
        adapter.add_resource_type(
            "AWS::CodeCommit::Repository",
            self.create_from_template,
            self.update_from_template,
            self.delete_from_template,
        )

    # --- repositories -----------------------------------------------------------------------------------------

    def resource_of(self, operation: str, parameters: dict[str, Any], path: str) -> str:
        name = parameters.get("repositoryName") or "*"
        if targets := parameters.get("targets"):
            name = targets[0]["repositoryName"]
        return arn_of(name) if name != "*" else "*"

    def create_from_template(self, logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict]:
        name = properties["RepositoryName"]
        if name in self.repositories:
            raise ValueError(f"Repository {name} already exists")
        repository = {
            "accountId": adapter.ACCOUNT,
            "repositoryId": short_id(32),
            "repositoryName": name,
            "repositoryDescription": properties.get("RepositoryDescription", ""),
            "defaultBranch": "main",
            "creationDate": now(),
            "lastModifiedDate": now(),
            "cloneUrlHttp": f"{adapter.endpoint()}/v1/repos/{name}",
            "Arn": arn_of(name),
        }
        git(self.folder, "init", "--quiet", "--bare", "--initial-branch", "main", name)
        git(self.folder / name, "config", "http.receivepack", "true")
        if code := properties.get("Code"):
            self.seed(name, code.get("BranchName", "main"), code["S3"])
        self.repositories[name] = repository
        attributes = {"Arn": repository["Arn"], "CloneUrlHttp": repository["cloneUrlHttp"], "Name": name}
        return repository["repositoryId"], attributes

    def seed(self, name: str, branch: str, source: dict[str, str]) -> None:
        """Create the first commit from a zip in S3, as CloudFormation does for `Code`.

        Raises ValueError for a zip of more than 20 MB, or with a path that leads out of the repository.
        """
        s3 = adapter.client("s3", adapter.root_credentials())
        body = s3.get_object(Bucket=source["Bucket"], Key=source["Key"])["Body"].read()
        if len(body) > MAX_SEED_BYTES:
            raise ValueError(f"s3://{source['Bucket']}/{source['Key']} is larger than 20 MB")
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(BytesIO(body)) as archive:
            for entry in archive.infolist():
                if PurePosixPath(entry.filename).is_absolute() or ".." in PurePosixPath(entry.filename).parts:
                    raise ValueError(f"{source['Key']} holds {entry.filename!r}, a path outside the repository")
            archive.extractall(folder)
            git(Path(folder), "init", "--quiet", "--initial-branch", branch)
            git(Path(folder), "add", "--all", "--force")
            git(
                Path(folder),
                "commit",
                "--quiet",
                "--message",
                "Initial commit by AWS CloudFormation",
                environment=AUTHOR,
            )
            git(Path(folder), "push", "--quiet", str(self.folder / name), branch)

    def update_from_template(self, physical_id: str, old: dict, new: dict, stack: str) -> tuple[str, dict]:
        repository = self.repositories[new["RepositoryName"]]
        repository["repositoryDescription"] = new.get("RepositoryDescription", "")
        attributes = {
            "Arn": repository["Arn"],
            "CloneUrlHttp": repository["cloneUrlHttp"],
            "Name": new["RepositoryName"],
        }
        return physical_id, attributes

    def delete_from_template(self, physical_id: str, properties: dict[str, Any]) -> None:
        name = properties["RepositoryName"]
        if self.repositories.pop(name, None):
            shutil.rmtree(self.folder / name)

    def get_repository(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        return {"repositoryMetadata": self.find(parameters["repositoryName"])}

    def list_repositories(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        keys = ("repositoryName", "repositoryId")
        return page(
            [{key: found[key] for key in keys} for found in self.repositories.values()], parameters, "repositories"
        )

    def get_branch(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        self.find(parameters["repositoryName"])
        name = parameters["branchName"]
        commit = self.refs(parameters["repositoryName"]).get(f"refs/heads/{name}")
        if commit is None:
            raise AwsError("BranchDoesNotExistException", f"{name} does not exist")
        return {"branch": {"branchName": name, "commitId": commit}}

    def find(self, name: str) -> dict[str, Any]:
        if name not in self.repositories:
            raise AwsError("RepositoryDoesNotExistException", f"{name} does not exist")
        return self.repositories[name]

    # --- pull requests ----------------------------------------------------------------------------------------

    def create_pull_request(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        target = parameters["targets"][0]
        name, source = target["repositoryName"], target["sourceReference"].removeprefix("refs/heads/")
        destination = target.get("destinationReference", "main").removeprefix("refs/heads/")
        self.find(name)
        if source == destination:
            raise AwsError("SourceAndDestinationAreSameException", f"Source and destination are both {source}.")
        refs = self.refs(name)
        for branch in (source, destination):
            if f"refs/heads/{branch}" not in refs:
                raise AwsError("ReferenceDoesNotExistException", f"{branch} does not exist in {name}")
        request = {
            "pullRequestId": str(len(self.pull_requests) + 1),
            "title": parameters["title"],
            "creationDate": now(),
            "lastActivityDate": now(),
            "pullRequestStatus": "OPEN",
            "pullRequestTargets": [
                {
                    "repositoryName": name,
                    "sourceReference": f"refs/heads/{source}",
                    "destinationReference": f"refs/heads/{destination}",
                    "sourceCommit": refs[f"refs/heads/{source}"],
                    "destinationCommit": refs[f"refs/heads/{destination}"],
                }
            ],
        }
        self.pull_requests[request["pullRequestId"]] = request
        self.raise_pull_request("pullRequestCreated", request)
        return {"pullRequest": request}

    def get_pull_request(self, parameters: dict[str, Any], caller: Caller) -> dict[str, Any]:
        if parameters["pullRequestId"] not in self.pull_requests:
            raise AwsError("PullRequestDoesNotExistException", f"no pull request {parameters['pullRequestId']}")
        return {"pullRequest": self.pull_requests[parameters["pullRequestId"]]}

    def raise_pull_request(self, event: str, request: dict[str, Any]) -> None:
        target = request["pullRequestTargets"][0]
        keys = ("sourceReference", "destinationReference", "sourceCommit", "destinationCommit")
        detail = {
            "event": event,
            "pullRequestId": request["pullRequestId"],
            "pullRequestStatus": request["pullRequestStatus"],
            "repositoryNames": [target["repositoryName"]],
            "title": request["title"],
            **{key: target[key] for key in keys},
        }
        arn = arn_of(target["repositoryName"])
        adapter.raise_event("aws.codecommit", "CodeCommit Pull Request State Change", detail, [arn])

    # --- git over HTTP ----------------------------------------------------------------------------------------

    def refuse_git(self, path: str, query: str, headers: dict[str, str]) -> adapter.Response | None:
        """Return the response to a git request that is not allowed, or None if it is. This needs no body."""
        name = repository_of(path)
        writes = "git-receive-pack" in path or "service=git-receive-pack" in query
        try:
            self.authorize_git(name, headers, writes)
        except adapter.AccessDenied as error:
            return 403, {"Content-Type": "text/plain"}, f"{error}\n".encode()
        except PermissionError:
            challenge = {"WWW-Authenticate": 'Basic realm="CodeCommit"', "Content-Type": "text/plain"}
            return 401, challenge, b"credentials are needed, by a credential helper for CodeCommit\n"
        if name not in self.repositories:
            return 404, {"Content-Type": "text/plain"}, f"repository {name} does not exist\n".encode()
        return None

    def serve_git(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> adapter.Response:
        """Serve git's smart HTTP protocol under /v1/repos/<name>, and raise events for what a push changed."""
        name = repository_of(path)
        if not path.endswith("git-receive-pack"):
            return self.run_backend(method, path, query, headers, body)
        with self.push_lock:  # one push at a time, so that the difference between the refs is due to this one
            before = self.refs(name)
            response = self.run_backend(method, path, query, headers, body)
            after = self.refs(name)
        self.raise_changes(name, before, after)
        return response

    def authorize_git(self, name: str, headers: dict[str, str], writes: bool) -> None:
        """Check the signature of the credentials, and IAM.

        Raises PermissionError without credentials, AccessDenied if they are wrong or do not allow the operation.
        """
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic":
            raise PermissionError
        try:
            username, _, password = base64.b64decode(given, validate=True).decode().partition(":")
        except ValueError as error:
            raise adapter.AccessDenied(f"the git credentials are not Base64 of UTF-8: {error}") from error
        key = adapter.verify_git_signature(username, password, headers["host"].split(":")[0], f"/v1/repos/{name}")
        adapter.git_may(key, "codecommit:GitPush" if writes else "codecommit:GitPull", arn_of(name))

    def run_backend(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> adapter.Response:
        """Run `git http-backend`, a CGI program, on a request and return its response."""
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": headers.get("git-protocol", ""),
            "PATH_INFO": path.removeprefix("/v1/repos"),
            "QUERY_STRING": query,
            "REQUEST_METHOD": method,
            "CONTENT_TYPE": headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            "REMOTE_USER": "git",
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        status = int(fields.pop("Status", "200").split()[0])
        return status, fields, content

    def refs(self, name: str) -> dict[str, str]:
        """Return the commit of each branch and tag by its full name, such as refs/heads/main."""
        listed = git(self.folder / name, "for-each-ref", "--format=%(refname) %(objectname)")
        return dict(line.split() for line in listed.splitlines())

    def raise_changes(self, name: str, before: dict[str, str], after: dict[str, str]) -> None:
        """Raise an event for each ref that a push created, moved or deleted, and each pull request that it updated."""
        for reference in sorted(before.keys() | after.keys()):
            old, new = before.get(reference), after.get(reference)
            if old == new:
                continue
            kind, _, short = reference.removeprefix("refs/").partition("/")
            change = "referenceCreated" if old is None else "referenceDeleted" if new is None else "referenceUpdated"
            detail = {
                "event": change,
                "repositoryName": name,
                "repositoryId": self.repositories[name]["repositoryId"],
                "referenceType": "branch" if kind == "heads" else "tag",
                "referenceName": short,
                "referenceFullName": reference,
                **({"commitId": new} if new else {}),
                **({"oldCommitId": old} if old else {}),
            }
            adapter.raise_event("aws.codecommit", "CodeCommit Repository State Change", detail, [arn_of(name)])
            for request in self.pull_requests.values():
                target = request["pullRequestTargets"][0]
                if target["repositoryName"] == name and target["sourceReference"] == reference and new and old:
                    target["sourceCommit"] = new
                    self.raise_pull_request("pullRequestSourceBranchUpdated", request)


def repository_of(path: str) -> str:
    """Return the repository's name from the path of a git request."""
    return path.removeprefix("/v1/repos/").split("/")[0]


def arn_of(name: str) -> str:
    """Return the ARN of a repository."""
    return f"arn:aws:codecommit:{adapter.REGION}:{adapter.ACCOUNT}:{name}"


def git(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run git without this machine's configuration, and return its output. Raises RuntimeError if it fails."""
    clean = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, **(environment or {})}
    done = subprocess.run(["git", *arguments], cwd=folder, env=clean, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout
