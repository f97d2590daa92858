"""Files of a run: their names, writing that leaves them either whole or absent, and the end of a log."""

import contextlib
import os
import re
import secrets
from pathlib import Path

CONFIG = "config.yaml"  # the resolved options
METRICS = "metrics.csv"  # losses and accuracies, step by step
COLUMNS = ("step", "epoch", "split", "loss", "accuracy", "lr", "seconds")  # of it
CHECKPOINTS = ("best.ckpt", "last.ckpt", "previous.ckpt")  # best on validation, newest, the one before it
PENDING = "best.pending.ckpt"  # the best of all once the last one says so
LOCK = ".lock"  # held by the process that works on the run

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write ``content`` under a temporary name in the same folder, sync it, and rename it to ``path``.

    Whatever ends the process or the machine, ``path`` is as it was before or holds all of ``content``.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    # Drawn: two hosts that share the folder may have processes of one number.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a power cut could leave the name without the content
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise
    return path


def is_temporary(name: str) -> bool:
    """Tell whether `write_whole` gives files such a name until they are whole."""
    return _TEMPORARY.fullmatch(name) is not None


def last_line(log: Path) -> str:
    """Return the last line of a log: what a process died of, most often."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no output"
