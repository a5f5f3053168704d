"""Package the bundle: seeds, functions and stamped templates, each named after the hash of its content."""

import hashlib
import re
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from build import ROOT, VARIANTS, VERSION
from build.assemble import assemble, tracked
from spotkit.checks import Service

DEFAULT_BUCKET = "sagemaker-bundle-111122223333"
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can represent
# Files to drop from the functions' zip. Of the distributions' metadata only version and licence matter, and of
# Powertools only the logger.
NOT_AT_RUN_TIME = re.compile(
    r"(RECORD|INSTALLER|REQUESTED|\.lock|\.pyc|\.pyi)$"
    r"|^(jsonschema|referencing)/(tests|benchmarks)/|^aws_lambda_powertools/(event_handler/|utilities/(?!__init__|jmespath_utils/))"
)
# Of the portfolio's template: what is repeated for each variant, and in it, for each release.
PER_VARIANT = re.compile(r"(?m)^ *# for each variant\n((?:.*\n)*?) *# end\n")
ARTIFACT = re.compile(r"(?m)^        - Name: ([a-z]+)-release\n(?:.*\n)+? +- Bucket: .*\n")
BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class Release:
    """A version of the Service Catalog products: its name, and the S3 keys of its project templates by variant."""

    name: str
    projects: dict[str, str]


@dataclass(frozen=True)
class Package:
    """Everything that an installation uploads.

    `objects` are contents by S3 key; `portfolio` and `projects` (by variant) are the keys of the templates among them.
    """

    bucket: str
    objects: dict[str, bytes]
    portfolio: str
    projects: dict[str, str]
    releases: tuple[Release, ...]


def package(bucket: str = DEFAULT_BUCKET, earlier: tuple[Release, ...] = ()) -> Package:
    """Build the complete package for a bucket.

    The products offer the earlier releases, and this one if it is not among them. Raise ValueError for an invalid
    bucket name.
    """
    if not BUCKET_NAME.fullmatch(bucket):
        raise ValueError(f"{bucket!r} is not a bucket name: 3 to 63 lower case letters, digits, hyphens and dots.")
    objects: dict[str, bytes] = {}

    def add(kind: str, suffix: str, content: bytes) -> str:
        key = f"{kind}-{hashlib.sha256(content).hexdigest()[:20]}.{suffix}"
        objects[key] = content
        return key

    functions = add("functions/functions", "zip", zipped(function_files()))
    projects = {}
    for variant in VARIANTS:
        stamp = {
            "Variant": variant,
            "Version": VERSION,
            "Bucket": bucket,
            "SeedKey": add(f"seeds/{variant}", "zip", zipped(assemble(variant))),
            "FunctionsKey": functions,
        }
        projects[variant] = add(f"templates/project-{variant}", "yaml", stamped("project.yaml", stamp))
    stamp = {
        "Version": VERSION,
        "Bucket": bucket,
    }
    releases = with_this(earlier, projects)
    portfolio = add(
        "templates/portfolio", "yaml", offering(stamped("portfolio.yaml", stamp).decode(), releases).encode()
    )
    return Package(bucket, dict(sorted(objects.items())), portfolio, projects, releases)


def with_this(earlier: tuple[Release, ...], projects: dict[str, str]) -> tuple[Release, ...]:
    """Return the earlier releases, plus one of these project templates if it is new.

    If VERSION was released before with other templates, its name gets a content-hash suffix.
    """
    if any(release.projects == projects for release in earlier):
        return earlier
    mark = hashlib.sha256(" ".join(projects.values()).encode()).hexdigest()[:8]
    name = f"{VERSION}-{mark}" if VERSION in {release.name for release in earlier} else VERSION
    return (*earlier, Release(name, projects))


def write(package: Package, folder: Path) -> None:
    """Write a package into a folder, after deleting everything in it."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for key, content in package.objects.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)


def zipped(files: dict[str, bytes]) -> bytes:
    """Return a reproducible zip, which depends on names and contents alone.

    Entries are sorted, have a constant time, and are stored uncompressed, since versions of zlib compress differently.
    """
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, body in sorted(files.items()):
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.create_system = 3  # Unix, on every platform
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, body)
    return content.getvalue()


def function_files() -> dict[str, bytes]:
    """Return the files of the functions' zip: lambda/, spotkit's checks, and requirements for the Lambda runtime's platform.

    Raise ValueError if the requirements cannot be installed.
    """
    files = {path.name: path.read_bytes() for path in sorted((ROOT / "lambda").glob("*.py"))}
    package = ROOT / "seed_code/common/spotkit"
    files |= {f"spotkit/checks/{name}": content for name, content in tracked(package / "checks").items()}
    files["spotkit/__init__.py"] = (package / "__init__.py").read_bytes()
    files["spotkit/checks/service.json"] = Service.cut().text().encode()
    with tempfile.TemporaryDirectory() as folder:
        uv = ROOT / ".venv/uv/bin/uv"
        command = [str(uv if uv.exists() else "uv"), "pip", "install", "--quiet", "--target", folder, "--no-deps"]
        command += ["--require-hashes", "--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_28"]
        command += ["--only-binary", ":all:", "-r", str(ROOT / "requirements/lambda.txt")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"what the functions need could not be installed: {done.stderr.strip()}")
        for path in sorted(Path(folder).rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_file() and not NOT_AT_RUN_TIME.search(name):
                files[name] = path.read_bytes()
    return files


def stamped(template: str, stamp: dict[str, str]) -> bytes:
    """Return a template with the values of its Bundle mapping set. Raise ValueError if the mapping has other names."""
    text = (ROOT / "templates" / template).read_text()
    found = re.search(r"(?m)^    Stamp:\n((?:      \w+: .*\n)+)", text)
    names = re.findall(r"(?m)^      (\w+):", found.group(1)) if found else []
    if sorted(names) != sorted(stamp):
        raise ValueError(f"{template}: the mapping Bundle has {', '.join(names)}, not {', '.join(stamp)}.")
    values = "".join(f"      {name}: '{stamp[name]}'\n" for name in names)
    return (text[: found.start(1)] + values + text[found.end(1) :]).encode()


def offering(text: str, releases: tuple[Release, ...]) -> str:
    """Return the portfolio's template with a product for each variant, and its artifact for each release, oldest first.

    All releases are listed because CloudFormation deletes artifacts that a template no longer lists, although projects
    may have been created with them.
    """

    def of_variants(block: re.Match[str]) -> str:
        products = []
        for variant in VARIANTS.values():
            product = block[1].replace("Variant", variant.logical_id).replace("variant-", f"{variant.name}-")
            for what, value in (("title", variant.title), ("description", variant.description)):
                product = product.replace(f"variant {what}", value.replace("'", "''"))
            products.append(product)
        return "".join(products)

    def of_releases(artifact: re.Match[str]) -> str:
        variant = artifact[1]
        return "".join(
            artifact[0]
            .replace(f"{variant}-release", f"'{release.name}'")
            .replace(f"templates/project-{variant}-not-packaged.yaml", release.projects[variant])
            for release in releases
            if variant in release.projects
        )

    text, artifacts = ARTIFACT.subn(of_releases, PER_VARIANT.sub(of_variants, text))
    if artifacts != len(VARIANTS):
        raise ValueError(f"portfolio.yaml: {artifacts} provisioning artifacts for {len(VARIANTS)} variants.")
    return text
