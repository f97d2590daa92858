"""What the code of the three packages may do at all, read off its syntax trees."""

import ast
import os
import pickle
import re
from pathlib import Path

import pytest
import torch

from lra_hgrn.config.compose import config_dir
from lra_hgrn.errors import UserError
from lra_hgrn.training.checkpoints import load_checkpoint
from lra_tasks import TaskError, task_cards
from lra_tasks.card import Archive

ROOT = Path(__file__).parents[2]
FOLDERS = {"lra_hgrn": ROOT, "lra_tasks": ROOT / "tasks", "hgrn_kernels": ROOT / "kernels"}
TREES = {
    path.relative_to(folder).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for package, folder in FOLDERS.items()
    for path in sorted((folder / package).rglob("*.py"))
}

NETWORK = {"socket", "ssl", "http", "urllib", "urllib3", "requests", "ftplib", "smtplib", "asyncio", "aiohttp", "httpx"}
# Who may: downloads of a task's card; processes of one run, on this machine; a sweep, to the cluster that is named.
MAY_CONNECT = {
    "lra_tasks/download.py": NETWORK,
    "lra_hgrn/training/ranks.py": {"socket"},
    "lra_hgrn/sweep/on_ray.py": {"socket"},
}
HARMLESS = {"urllib.parse", "socket.gethostname"}  # of text; the name of this machine
MAY_RUN = {"lra_hgrn/gate/paced.py": {"runpy"}}  # the command line of the commit that a change is compared with
RUNS_CODE = {"marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "codeop", "runpy", "pty", "commands"}
# Who may name pickle: a reader of its own that knows three names, and one that catches its exception.
MAY_PICKLE = {"lra_tasks/cifar.py": {"Unpickler"}, "lra_hgrn/training/checkpoints.py": {"UnpicklingError"}}
SHELLS = re.compile(
    r"os\.(system|popen|exec\w*|spawn\w*|posix_spawn\w*)|subprocess\.(getoutput|getstatusoutput)|pty\.\w+"
)
PROCESSES = re.compile(r"subprocess\.(run|Popen|call|check_call|check_output)")


def imported(tree):
    """The modules that a file imports, by dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree):
    """The calls of a file: dotted name of what is called, and the call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call):
    return {word.arg: ast.unparse(word.value) for word in call.keywords}


def network_faults(name, tree):
    allowed = MAY_CONNECT.get(name, set())
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for module in imported(tree):
        root = module.split(".")[0]
        uses = {word for word in used if word.startswith(f"{module}.")} or {module}
        if root in NETWORK - allowed and not all(use.startswith(tuple(HARMLESS)) for use in uses):
            yield f"imports {module}"


def code_faults(name, tree):
    for module in imported(tree):
        if module.split(".")[0] in RUNS_CODE - MAY_RUN.get(name, set()):
            yield f"imports {module}"
        if module.startswith("pickle."):
            yield f"imports {module}; import pickle and name what is used of it"
    for node in ast.walk(tree):
        of_pickle = isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle"
        if of_pickle and node.attr not in MAY_PICKLE.get(name, set()):
            yield f"uses pickle.{node.attr}"
    for called, call in calls(tree):
        if called in ("eval", "exec", "compile", "__import__"):
            yield f"calls {called}"
        if called.endswith(("torch.load", "load_from_checkpoint")) and keywords(call).get("weights_only") != "True":
            yield f"calls {called} without weights_only=True"
        if called in ("np.load", "numpy.load") and keywords(call).get("allow_pickle", "False") != "False":
            yield f"calls {called} with pickles"
        if called.startswith("yaml.") and called in (
            "yaml.load",
            "yaml.load_all",
            "yaml.unsafe_load",
            "yaml.full_load",
        ):
            yield f"calls {called}, which can build objects"
        if called.endswith((".extractall", ".extract", "unpack_archive")):
            yield f"calls {called}, which unpacks what a member's name says"


def process_faults(name, tree):
    for called, call in calls(tree):
        if SHELLS.fullmatch(called):
            yield f"calls {called}"
        if PROCESSES.fullmatch(called):
            if keywords(call).get("shell", "False") != "False":
                yield f"calls {called} with a shell"
            if not _is_list(call.args[0], tree):
                yield f"calls {called} with {ast.unparse(call.args[0])}, which is no list of words"


def _is_list(words, tree):
    """Whether an expression is a list: written as one, a name that is given lists alone, or an argument that is one."""
    if isinstance(words, ast.List):
        return True
    if isinstance(words, ast.BinOp):
        return _is_list(words.left, tree) and _is_list(words.right, tree)
    if not isinstance(words, ast.Name):
        return False
    given = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == words.id for target in node.targets)
    ]
    hints = [
        ast.unparse(node.annotation)
        for node in ast.walk(tree)
        if isinstance(node, ast.arg) and node.arg == words.id and node.annotation is not None
    ]
    listed = all(_is_list(value, tree) for value in given)
    return listed and bool(given or hints) and all(hint.startswith(("list[", "Sequence[")) for hint in hints)


RULES = {"network": network_faults, "code": code_faults, "processes": process_faults}


@pytest.mark.parametrize("rule", RULES)
def test_the_packages_keep_the_rule(rule):
    assert len(TREES) > 100
    found = {name: faults for name, tree in TREES.items() if (faults := list(RULES[rule](name, tree)))}
    assert not found


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("network", "import socket"),
        ("network", "import socket\nsocket.gethostname()\nsocket.create_connection(place)"),
        ("network", "from urllib.request import urlopen"),
        ("network", "def f():\n    import requests"),
        ("code", "eval('1')"),
        ("code", "import pickle\npickle.loads(b'')"),
        ("code", "from pickle import loads"),
        ("code", "import torch\ntorch.load(path)"),
        ("code", "torch.load(path, weights_only=False)"),
        ("code", "np.load(path, allow_pickle=True)"),
        ("code", "yaml.load(text, Loader=Loader)"),
        ("code", "tarfile.open(path).extractall(place)"),
        ("code", "import shelve"),
        ("processes", "os.system('ls')"),
        ("processes", "subprocess.run('ls', shell=True)"),
        ("processes", "subprocess.run('ls')"),
        ("processes", "subprocess.run(f'ls {folder}')"),
        ("processes", "def f(command: str):\n    subprocess.Popen(command)"),
        ("processes", "command = shlex.join(words)\nsubprocess.Popen(command)"),
    ],
)
def test_a_rule_finds_what_breaks_it(rule, code):
    assert list(RULES[rule]("lra_hgrn/new.py", ast.parse(code)))


def test_what_may_connect_is_there():
    """An exception for a file that is gone would be free for the next file of that name."""
    assert {*MAY_CONNECT, *MAY_PICKLE, *MAY_RUN} <= TREES.keys()
    for name, modules in MAY_CONNECT.items():
        assert {module.split(".")[0] for module in imported(TREES[name])} & modules


def test_processes_of_a_run_speak_on_this_machine_alone():
    text = (ROOT / "lra_hgrn/training/ranks.py").read_text(encoding="utf-8")
    assert re.findall(r"\.bind\(\(\"([^\"]*)\"", text) in (["127.0.0.1"], ["localhost"])


def test_downloads_are_of_a_card_over_https_and_checked():
    archives = {name: card.archive for name, card in task_cards().items() if card.archive is not None}
    assert {"listops", "text", "retrieval", "image"} <= archives.keys()
    for name, archive in archives.items():
        assert archive.url.startswith("https://"), name
        # What is too large to keep has no published checksum: it passes by, and each member is checked as it is read.
        assert archive.passing or (archive.size and re.fullmatch("[0-9a-f]{32}", archive.md5 or "")), name
    with pytest.raises(TaskError, match="over https"):
        Archive("http://x.org/a.zip", "a.zip", 1, "0" * 32)
    with pytest.raises(TaskError, match="size and md5"):
        Archive("https://x.org/a.zip", "a.zip")


def test_no_file_of_configs_has_an_interpolation():
    """They are refused, whoever wrote them."""
    files = list(config_dir().rglob("*.yaml"))
    assert len(files) > 50
    assert not [path for path in files if "${" in path.read_text(encoding="utf-8")]


class Evil:
    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("way", ["pickle", "torch", "torch before 1.6"])
def test_a_checkpoint_with_code_is_refused_and_runs_nothing(tmp_path, way):
    evil, path = Evil(), tmp_path / "last.ckpt"
    evil.path = tmp_path / "owned"
    if way == "pickle":
        path.write_bytes(pickle.dumps({"state_dict": evil}))
    else:
        torch.save({"state_dict": evil}, path, _use_new_zipfile_serialization=way == "torch")
    with pytest.raises(UserError, match=r"last\.ckpt cannot be read") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not evil.path.exists()
    assert pickle.loads(pickle.dumps(evil)) == 0  # it would have run
    assert evil.path.exists()
