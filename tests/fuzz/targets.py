"""All targets: those of both packages."""

import result_readers
import task_readers
from harness import TARGETS, WORDS, hold

__all__ = ["TARGETS", "WORDS", "hold", "result_readers", "task_readers"]
