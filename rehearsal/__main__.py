"""python -m rehearsal play | down   (make rehearse, make rehearse-down)"""

import os
import sys

from botocore.exceptions import BotoCoreError, ClientError

from rehearsal import play
from rehearsal.loopback import surroundings
from rehearsal.story import StoryFailed


def main() -> int:
    if sys.argv[1:] not in (["play"], ["down"]):
        print(__doc__, file=sys.stderr)
        return 2
    kept = surroundings(dict(os.environ))
    os.environ.clear()
    os.environ.update(kept)
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
