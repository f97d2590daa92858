"""The wheel holds the three packages and the configs, and works from anywhere."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run(*command, **options):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in command], check=True, capture_output=True, text=True, env=environment, **options
    ).stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=ROOT)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The bin folder of a new environment with the wheel; the dependencies come from this one."""
    home = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", home)
    binaries = home / "bin"
    run(binaries / "python", "-m", "pip", "install", "--no-deps", "--no-index", wheel)
    site = Path(run(binaries / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A plain path line: the folder's own .pth files, such as the editable install of this checkout, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return binaries


def test_wheel_holds_three_packages_and_nothing_generic(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"lra_hgrn", "hgrn_kernels", "lra_tasks"}
    configs = {path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert {name.removeprefix("lra_hgrn/configs/") for name in names if name.endswith(".yaml")} == configs
    assert {
        "lra_hgrn/results/report/report.css",
        "lra_hgrn/results/report/report.js",
        "lra_hgrn/results/published.csv",
    } <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_installed_wheel_works_from_another_directory(installed, tmp_path):
    where = run(
        installed / "python", "-c", "import lra_tasks, hgrn_kernels, lra_hgrn as it; print(it.__file__)", cwd=tmp_path
    )
    assert str(installed.parent) in where
    assert "# configs/recipes/hgrn/listops.yaml" in run(installed / "lra", "config", "hgrn", "listops", cwd=tmp_path)
    words = ("task.scale=tiny", f"task.data_dir={tmp_path}")
    assert "label" in run(installed / "lra", "data", "show", "listops", *words, "--count", "1", cwd=tmp_path)
    assert str(installed.parent) in run(installed / "lra", "info", cwd=tmp_path)


def test_lock_satisfies_the_declared_ranges():
    packaging = pytest.importorskip("packaging.requirements")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = {}
    for line in lines:
        if line and not line.startswith("#"):
            requirement = packaging.Requirement(line)
            (pin,) = requirement.specifier
            assert pin.operator == "==", line
            locked[requirement.name.lower().replace("_", "-")] = pin.version
    for text in project["dependencies"] + project["optional-dependencies"]["dev"]:
        requirement = packaging.Requirement(text)
        assert locked[requirement.name.lower()] in requirement.specifier, text
