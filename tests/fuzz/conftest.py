"""Make the targets importable, for the tests as for ``run.py``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
