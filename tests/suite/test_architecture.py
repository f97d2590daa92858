"""Imports run one way: lra_hgrn → lra_tasks and hgrn_kernels, which know nothing of it or of each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "lra_hgrn": ROOT / "lra_hgrn",
    "lra_tasks": ROOT / "tasks/lra_tasks",
    "hgrn_kernels": ROOT / "kernels/hgrn_kernels",
}
ALLOWED = {"lra_hgrn": {"lra_tasks", "hgrn_kernels"}, "lra_tasks": set(), "hgrn_kernels": set()}


def imports(path, top_level_only=False):
    """The dotted names that a file imports."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if not top_level_only else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_one_way(package):
    files = sorted(PACKAGES[package].rglob("*.py"))
    assert files
    for path in files:
        others = {name.split(".")[0] for name in imports(path)} & (PACKAGES.keys() - {package})
        assert others <= ALLOWED[package], f"{path} imports {others}"


def test_no_import_cycles_inside_a_package():
    modules = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            name = ".".join([package, *path.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__")
            modules[name] = path
    graph = {}
    for name, path in modules.items():
        targets = set()
        for found in imports(path, top_level_only=True):
            target = found if found in modules else found.rpartition(".")[0]
            if target in modules and target != name:
                targets.add(target)
        graph[name] = targets
    done, active = set(), []

    def visit(name):
        if name in active:
            raise AssertionError(" → ".join([*active[active.index(name) :], name]))
        if name in done:
            return
        active.append(name)
        for target in sorted(graph[name]):
            visit(target)
        active.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_only_the_command_line_imports_the_command_line():
    for path in PACKAGES["lra_hgrn"].rglob("*.py"):
        if "cli" not in path.parts and path.name != "__main__.py":
            assert not any(name.startswith("lra_hgrn.cli") for name in imports(path)), path


def test_files_stay_small():
    for folder in PACKAGES.values():
        for path in folder.rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 400, path
