"""python -m rehearsal play | down   (make rehearse, make rehearse-down)"""

import os
import sys

from botocore.exceptions import BotoCoreError, ClientError

from rehearsal import play
from rehearsal.story import StoryFailed


def forget_surroundings() -> None:
    """Drop what would lead git or AWS calls elsewhere: GIT_DIR inside a git hook, a proxy for the loopback interface."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        del os.environ[name]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"


def main() -> int:
    if sys.argv[1:] not in (["play"], ["down"]):
        print(__doc__, file=sys.stderr)
        return 2
    forget_surroundings()
    try:
        if sys.argv[1] == "down":
            play.down()
        else:
            play.play(play.Wish.from_environment(dict(os.environ)))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except StoryFailed as error:
        play.fail(error)
        return 1
    except (RuntimeError, OSError, BotoCoreError, ClientError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped: everything that was started has ended", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
