"""Find edits in spotkit/, which a newer version would overwrite, and copy a module to src/ to change it there.

python -m spotkit.manifest                         list the edited files; exit status 1 if there are any
python -m spotkit.manifest eject training.train    copy it to src/spotkit/training/train.py, which takes precedence
"""

import hashlib
import sys
from pathlib import Path

import spotkit

ROOT = Path(spotkit.ROOT)
PACKAGE = "spotkit/"


def recorded(seed: Path = ROOT / "SEED") -> dict[str, str]:
    """Return the SHA-256 of each file of spotkit/ as it landed, by its path."""
    lines = (line.partition(" = ") for line in seed.read_text().splitlines())
    return {name: value for name, _, value in lines if name.startswith(PACKAGE)}


def edited(root: Path = ROOT) -> list[str]:
    """Return the files of spotkit/ that were changed, removed or added since they landed, with which of it they were."""
    before = recorded(root / "SEED")
    paths = (path for path in (root / PACKAGE).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    now = {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    found = {name: "removed" for name in before.keys() - now.keys()}
    found |= {name: "added" for name in now.keys() - before.keys()}
    found |= {name: "changed" for name in before.keys() & now.keys() if before[name] != now[name]}
    return [f"{name}: {what}" for name, what in sorted(found.items())]


def ejected(root: Path = ROOT) -> list[str]:
    """Return the modules of src/spotkit/, which take the place of those in spotkit/, by their path in spotkit/."""
    return sorted(str(path.relative_to(root / "src")) for path in (root / "src" / PACKAGE).rglob("*.py"))


def eject(module: str, root: Path = ROOT) -> Path:
    """Copy a module to src/spotkit/. Raise ValueError if there is no such module, or if it was ejected before."""
    name = Path(*module.removeprefix("spotkit.").split(".")).with_suffix(".py")
    source, target = root / PACKAGE / name, root / "src" / PACKAGE / name
    if not source.is_file():
        names = sorted(str(path.relative_to(root / PACKAGE)) for path in (root / PACKAGE).rglob("*.py"))
        known = ", ".join(each.removesuffix(".py").replace("/", ".") for each in names if "__init__" not in each)
        raise ValueError(f"there is no module {module!r} in spotkit/. Choose one of: {known}.")
    if target.exists():
        raise ValueError(f"{target.relative_to(root)} is there already. Edit it, or remove it to go back to spotkit's.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    return target


def main(arguments: list[str]) -> str | None:
    """Return what is wrong, or the usage, for sys.exit; None if nothing is."""
    if arguments[:1] == ["eject"] and len(arguments) == 2:
        try:
            print(
                f"edit {eject(arguments[1]).relative_to(ROOT)}: it takes the place of spotkit's, and stays when spotkit/ is replaced"
            )
        except ValueError as error:
            return f"error: {error}"
        return None
    if arguments:
        return __doc__
    if found := edited():
        return "\n".join(
            [*found, "error: spotkit/ was edited. Undo that, and eject the module instead: make eject MODULE=..."]
        )
    print(f"{len(recorded())} files of spotkit/ as they landed; ejected: {', '.join(ejected()) or 'none'}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
