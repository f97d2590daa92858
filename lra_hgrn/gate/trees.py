"""The checkouts whose packages are run: the one at hand, and that of another commit."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lra_hgrn.errors import UserError


@dataclass(frozen=True)
class Tree:
    """A checkout, and the folder in it from which commands are run."""

    name: str  # in messages
    root: Path
    folder: Path

    @property
    def variables(self) -> dict[str, str]:
        """Environment in which Python finds this checkout's packages before any that are installed."""
        places = [self.root, self.root / "src", self.root / "kernels", self.root / "tasks"]
        paths = [str(place) for place in places if place.is_dir() and not _hiding(place)]
        return {"PYTHONPATH": os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])}


def this_tree() -> Tree:
    """Return the checkout that the current folder lies in, or this folder where it is none."""
    here = Path.cwd()
    try:
        root = Path(_git(here, "rev-parse", "--show-toplevel"))
    except (OSError, subprocess.CalledProcessError):
        root = here
    return Tree("this checkout", root, here)


@contextmanager
def tree_of(ref: str) -> Iterator[Tree]:
    """Check another commit out into a worktree of its own, which is removed afterwards.

    Raises:
        UserError: the current folder is in no Git checkout, there is no such commit, or Python would not find the
            packages of that commit before installed ones.
    """
    here = Path.cwd()
    try:
        root = Path(_git(here, "rev-parse", "--show-toplevel"))
        commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except OSError as error:
        raise UserError(f"--against {ref} needs Git: {error.strerror}.") from None
    except subprocess.CalledProcessError as error:
        known = "--show-toplevel" not in error.cmd
        reason = "there is no such commit (git fetch?)" if known else f"{here} is in no Git checkout"
        raise UserError(f"--against {ref}: {reason}.") from None
    with tempfile.TemporaryDirectory(prefix="lra-check-") as temporary:
        place = Path(temporary) / "tree"
        try:
            _git(root, "worktree", "add", "--detach", str(place), commit)
        except subprocess.CalledProcessError as error:
            raise UserError(f"--against {ref} cannot be checked out: {error.stderr.strip()}.") from None
        try:
            folder = place / here.relative_to(root)
            if not folder.is_dir():
                raise UserError(f"--against {ref}: that commit has no folder {here.relative_to(root)}.")
            if _hiding(place):
                raise UserError(
                    f"--against {ref}: its packages cannot come before Python's, whose {_hiding(place)[0]} it hides: "
                    "move them into a folder src/."
                )
            yield Tree(f"{ref} ({commit[:10]})", place, folder)
        finally:
            subprocess.run(["git", "-C", str(root), "worktree", "remove", "--force", str(place)], capture_output=True)


def _hiding(folder: Path) -> list[str]:
    """Return what in this folder has the name of one of Python's own modules."""
    own = sys.stdlib_module_names - {"test"}  # which nobody misses
    modules = [path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    return sorted(path.name for path in modules if path.stem in own)


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
