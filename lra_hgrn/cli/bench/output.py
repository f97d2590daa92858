"""What the verbs of `lra bench` share: what was measured on, and files that are tried before time is spent."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lra_hgrn.errors import UserError

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

_SUFFIXES = (".pdf", ".png", ".svg")


def measured_on(device: "torch.device") -> dict[str, Any]:
    """Return device, backend of the kernels, threads, date, commit and versions, for a file of JSON.

    Raises:
        UserError: the environment variable HGRN_BACKEND names a backend that is unknown or cannot run there.
    """
    import torch

    from lra_hgrn.training import environment

    return {
        "device": environment.device_name(device),
        "backend": environment.kernel_backend(device),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": environment.git_commit(),
        "versions": environment.versions(),
    }


def check_writable(path: Path, option: str) -> None:
    """Make the folder of a file that an option names, and raise a UserError if the file cannot be written."""
    if path.is_dir():
        raise UserError(f"Cannot write {path}: it is a folder; choose another {option}.")
    trial = path.with_name(f".{path.name}.trial")
    write(trial, "", option, path)
    trial.unlink()


def check_plot(path: Path) -> None:
    """Raise a UserError if no figure can be written to the file that --plot names."""
    if path.suffix not in _SUFFIXES:
        raise UserError(f"--plot {path}: the file's name must end in {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}.")
    check_writable(path, "--plot")


def draw(path: Path, figure: "Figure") -> None:
    """Write a figure whole, in the format of the file's name, and print that name."""
    from lra_hgrn.results.figures.style import FORMATS

    write(path, FORMATS[path.suffix[1:]](figure), "--plot")
    print(path)


def write(path: Path, content: str | bytes, option: str, named: Path | None = None) -> None:
    """Write a file that an option names whole; a UserError if it cannot be written.

    Args:
        path: the file.
        content: text, or bytes.
        option: for the message.
        named: file that the message names; None: ``path``.
    """
    from lra_hgrn.results.files import write_whole

    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"Cannot write {named or path}: {error.strerror}; choose another {option}.") from None
