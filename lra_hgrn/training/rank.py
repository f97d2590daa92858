"""`python -m lra_hgrn.training.rank`: a process of a run that is not the first one; `Ranks` starts it."""

import json
import os
import sys
import threading
from pathlib import Path

from lra_hgrn.config import from_plain
from lra_hgrn.errors import Stopped
from lra_hgrn.training.run import join


def main() -> None:
    """Read from the standard input what to do, and end when it closes."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    try:
        join(from_plain(order["config"], "the first process"), Path(order["directory"]), order["mode"])
    except Stopped:
        return


def _end_with_the_first() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
