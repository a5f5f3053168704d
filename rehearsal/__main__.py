"""python -m rehearsal play | down   (make rehearse, make rehearse-down)"""

import os
import signal
import sys

STOPPED = "\nstopped: everything that was started has ended"


def stop_at_once(number: int, frame: object) -> None:
    """Exit on Ctrl-C during the slow imports below, when there is nothing to clean up yet."""
    os.write(2, f"{STOPPED}\n".encode())
    os._exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, stop_at_once)

from botocore.exceptions import BotoCoreError, ClientError  # noqa: E402

from rehearsal import play, server, surroundings  # noqa: E402
from rehearsal.scenario import ScenarioFailed  # noqa: E402


def main() -> int:
    if sys.argv[1:] not in (["play"], ["down"]):
        print(__doc__, file=sys.stderr)
        return 2
    cleaned = surroundings.clean(os.environ)
    os.environ.clear()
    os.environ.update(cleaned)
    try:
        if sys.argv[1] == "down":
            play.down()
        else:
            play.play(play.Options.from_environment(dict(os.environ)))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ScenarioFailed as error:
        play.fail(error)
        return 1
    except (RuntimeError, OSError, BotoCoreError, ClientError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        server.end_own()  # the signal may have come before play() was ready to clean up
        print(STOPPED, file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
