"""Check a pipeline definition: python -m spotkit.checks pipeline.json"""

import sys
from pathlib import Path

from spotkit import checks


def main(arguments: list[str]) -> str | None:
    """Return the error message or the usage for sys.exit, or None if the definition passes."""
    if len(arguments) != 1:
        return __doc__
    try:
        definition = checks.read(Path(arguments[0]).read_bytes())
        checks.refuse(definition)
    except OSError as error:
        return f"error: {arguments[0]}: {error.strerror}"
    except ValueError as error:
        return f"error: {arguments[0]}: {error}"
    print(f"{arguments[0]}: {len(definition['Steps'])} steps, nothing wrong")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
