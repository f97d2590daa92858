"""The tasks of the Long Range Arena, generated, stored and served in batches.

Importing this package, and reading names and cards, imports neither torch, lightning nor numba: the classes
below are imported when first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lra_tasks.card import Protocol, Scale, TaskCard, TaskSpec
from lra_tasks.errors import TaskError
from lra_tasks.registry import get_card, get_task, register_task, task_cards, task_names

if TYPE_CHECKING:
    from lra_tasks.datamodule import LRATask
    from lra_tasks.loader import Batch, BatchLoader
    from lra_tasks.store import Store
    from lra_tasks.store_writer import SplitWriter, StoreWriter

__all__ = [
    "Batch",
    "BatchLoader",
    "LRATask",
    "Protocol",
    "Scale",
    "SplitWriter",
    "Store",
    "StoreWriter",
    "TaskCard",
    "TaskError",
    "TaskSpec",
    "get_card",
    "get_task",
    "register_task",
    "task_cards",
    "task_names",
]

_LAZY = {
    "LRATask": "datamodule",
    "Batch": "loader",
    "BatchLoader": "loader",
    "SplitWriter": "store_writer",
    "Store": "store",
    "StoreWriter": "store_writer",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"lra_tasks.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'lra_tasks' has no attribute {name!r}")
