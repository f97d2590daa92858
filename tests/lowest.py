"""Print the lowest versions that pyproject.toml declares, as pip constraints (for `make lowest`)."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for requirement in project["dependencies"]:
    name, version = re.match(r"([\w-]+)>=([\w.]+)", requirement).groups()
    print(f"{name}=={version}")
