"""The folder of a run while a process works on it: one process at a time, and one cell for good."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from lra_hgrn.config import Config, from_plain, identity, plain
from lra_hgrn.config.compose import read_yaml
from lra_hgrn.errors import Busy, UserError
from lra_hgrn.results.files import CONFIG, LOCK
from lra_hgrn.results.record import FILE, FINAL, Record, load_record


@contextmanager
def opened(config: Config, directory: Path, resume: bool) -> Iterator[Record | None]:
    """Hold a run's folder, made if missing; give the record if the run has ended already.

    The lock is the system's: it ends with the process that holds it, however that ends.

    Args:
        config: the cell.
        directory: the run's folder.
        resume: whether a part of this run may lie there.

    Raises:
        Busy: another process holds the folder.
        UserError: it cannot be written, or holds another run or, without ``resume``, any.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise Busy(f"Another process is at work in {directory}: wait for it, or choose another --output.") from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"Cannot write to {directory}: {reason}; choose another --output.") from None
    try:
        if not resume and (directory / CONFIG).is_file():
            raise UserError(f"{directory} holds a run already: add --resume to go on, or choose another --output.")
        yield ended(config, directory)
    finally:
        lock.release()


def ended(config: Config, directory: Path) -> Record | None:
    """Return the record of a run that has ended; None if there is more to do.

    Raises:
        UserError: the folder holds another run.
    """
    if not (directory / CONFIG).is_file():
        return None
    _check_same_cell(config, directory)
    record = load_record(directory / FILE) if (directory / FILE).is_file() else None
    return record if record is not None and record.status in FINAL else None


def _check_same_cell(config: Config, directory: Path) -> None:
    stored = from_plain(read_yaml(directory / CONFIG, str(directory / CONFIG)), str(directory / CONFIG))
    if (identity(stored), stored.seed) == (identity(config), config.seed):
        return
    old, new = (OmegaConf.create(plain(item)) for item in (stored, config))
    differing = [
        f"{section}.{key} was {old[section][key]!r}, now {value!r}"
        for section in ("task", "model", "optim", "train")
        for key, value in new[section].items()
        if old[section].get(key) != value
    ]
    reason = "; ".join(differing) or f"seed was {stored.seed}, now {config.seed}"
    raise UserError(f"{directory} was started with other options ({reason}); choose another --output.")
