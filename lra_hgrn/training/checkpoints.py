"""Checkpoint files: never half-written, read without running code, checked for damage."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.fabric.plugins import CheckpointIO

from lra_hgrn.errors import UserError
from lra_hgrn.results.files import CHECKPOINTS
from lra_tasks.errors import one_line

BEST, LAST, PREVIOUS = CHECKPOINTS


class AtomicCheckpointIO(CheckpointIO):
    """Write to a temporary name, sync, rename; read tensors and plain containers only.

    What `LAST` was before is kept as `PREVIOUS`.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        # Through memory: on a full disk torch's own writer fails with an error that does not say so.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST and path.exists():
                os.replace(path, path.with_name(PREVIOUS))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint into CPU memory without running code from it.

    Raises:
        UserError: it cannot be read, or its checksums do not hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not look at the checksums
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{damaged} in it is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or type(content.get("global_step")) is not int:
            raise ValueError("it holds no state of a run")
        return content
    except pickle.UnpicklingError:  # torch's own words advise to run the code that it holds
        reason = "it holds more than tensors and plain values, do not use it"
    except Exception as error:  # of a pickle that torch did not write its reader raises whatever it stumbles over
        reason = one_line(error, 200) or type(error).__name__
    raise UserError(f"The checkpoint {path} cannot be read ({reason}); delete it to start the run anew.")


class Newest(NamedTuple):
    """Where a run goes on from."""

    path: Path | None  # None: it begins
    step: int
    damaged: str  # a sentence, where a newer checkpoint cannot be read


def newest_checkpoint(directory: Path) -> Newest:
    """Return the newest checkpoint of a run that can be read.

    Where the only one is damaged there is none: the run begins again, which loses nothing but time.

    Raises:
        UserError: there are two, and both are damaged.
    """
    last, previous = directory / LAST, directory / PREVIOUS
    found = ""
    if last.is_file():
        try:
            return Newest(last, load_checkpoint(last)["global_step"], "")
        except UserError as error:
            found = str(error).partition(";")[0]
    if not previous.is_file():
        return Newest(None, 0, f"{found}: the run begins again." if found else "")
    step = load_checkpoint(previous)["global_step"]
    # Without a last one, the process was killed between the two renames: nothing is damaged.
    return Newest(previous, step, f"{found}: the run goes on from the one before, of step {step}." if found else "")
