"""Long Range Arena for HGRN and other sequence models: data, training, honest tables.

From Python: `train` runs a cell and returns its record, `load_results` reads the records of a folder as a DataFrame,
`UserError` is what wrong input raises. `lra_hgrn.models` has the registry and the classifier, `lra_tasks` the tasks.
"""

from typing import TYPE_CHECKING, Any

from lra_hgrn.errors import UserError

if TYPE_CHECKING:
    from lra_hgrn.api import train
    from lra_hgrn.results.frame import load_results

__version__ = "0.1.0"
__all__ = ["UserError", "load_results", "train"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `lra --help` must not wait for torch.
    if name == "train":
        from lra_hgrn.api import train

        return train
    if name == "load_results":
        from lra_hgrn.results.frame import load_results

        return load_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
