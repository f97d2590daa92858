"""Files of a run: their names, writing that leaves them either whole or absent, and the end of a log."""

import os
from pathlib import Path

CONFIG = "config.yaml"  # the resolved options
METRICS = "metrics.csv"  # losses and accuracies, step by step
COLUMNS = ("step", "epoch", "split", "loss", "accuracy", "lr", "seconds")  # of it


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write ``content`` under a temporary name in the same folder, then rename it to ``path``."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def last_line(log: Path) -> str:
    """Return the last line of a log: what a process died of, most often."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no output"
