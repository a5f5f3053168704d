"""The variants of the bundle: each is a folder of seed_code/ with a variant.toml."""

import re
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

FILE = "variant.toml"  # does not land
NAME = re.compile(r"[a-z]{1,12}")  # a part of logical ids, S3 keys and addresses


@dataclass(frozen=True)
class Variant:
    """A variant: its product in Service Catalog, and its project in a rehearsal.

    `order` is its place in a rehearsal of all variants. `files` maps suffixes of files that can be requests to their
    content types; it is empty if requests are not files.
    """

    name: str
    folder: Path
    title: str
    description: str
    order: int
    project: str
    content_type: str
    request: str = ""
    text: str = ""
    files: tuple[tuple[str, str], ...] = ()

    @property
    def logical_id(self) -> str:
        """The beginning of the logical ids of its resources in the portfolio's template."""
        return self.name.capitalize()

    def example(self, data: Path | None) -> tuple[bytes, str, str]:
        """Return a request to predict, its content type, and its name: a file of `data`, otherwise the variant's own."""
        content_types = dict(self.files)
        if data is not None and content_types:
            path = next(path for path in sorted(data.rglob("*")) if path.suffix.lower() in content_types)
            return path.read_bytes(), content_types[path.suffix.lower()], f"{path.parent.name}/{path.name}"
        if self.text:
            return self.text.encode(), self.content_type, f"{self.text[:40]!r}..."
        archive, found, member = self.request.partition(".zip/")
        if not found:
            return (self.folder / self.request).read_bytes(), self.content_type, self.request
        with zipfile.ZipFile(self.folder / f"{archive}.zip") as opened:
            return opened.read(member), self.content_type, member


def read(folder: Path) -> Variant:
    """Return the variant in a folder. Raise ValueError if its variant.toml is incomplete or has a key too many."""
    path = folder / FILE
    given = tomllib.loads(path.read_text())
    rehearsal = given.pop("rehearsal", {})
    values = given | rehearsal
    values["files"] = tuple(values.get("files", {}).items())
    if not NAME.fullmatch(folder.name):
        raise ValueError(f"{folder}: a variant's folder is called by 1 to 12 lower case letters.")
    try:
        variant = Variant(folder.name, folder, **values)
    except TypeError as error:
        raise ValueError(
            f"{path}: {str(error).partition('.__init__() ')[2]}. See those of the other variants."
        ) from None
    if bool(variant.text) == bool(variant.request):
        raise ValueError(f"{path}: [rehearsal] has text and request, or neither. Give one of them.")
    return variant


def find(seeds: Path) -> dict[str, Variant]:
    """Return the variants in a folder of seeds by name, sorted."""
    return {path.parent.name: read(path.parent) for path in sorted(seeds.glob(f"*/{FILE}"))}
