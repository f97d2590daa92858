"""The command line: quick answers, exit codes, one sentence for every mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from lra_hgrn.cli.main import COMMANDS, main


def lra(capsys, *words):
    """Run a command in this process; return its exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as stop:
        main(words)
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys, command):
    code, out, err = lra(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: lra {command}")


@pytest.mark.parametrize(
    "words", [["--help"], ["trian"], ["config", "hgrn", "listops"], ["train", "hgrm", "listops"], ["data", "info"]]
)
def test_quick_answers_do_not_import_torch(words):
    code = (
        "import sys\n"
        "from lra_hgrn.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    heavy = {'torch', 'lightning', 'pandas', 'numba'} & set(sys.modules)\n"
        "    print('heavy:', sorted(heavy))\n"
    )
    result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert "heavy: []" in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trian"], "Unknown command 'trian'. Did you mean 'train'?"),
        ([], "The following arguments are required: COMMAND"),
        (["train", "hgrn"], "arguments are required: TASK"),
        (["train", "hgrn", "listops", "optim.lrr=1"], "Did you mean 'optim.lr'?"),
        (["train", "hgrn", "listops", "--outptu", "x"], "Unrecognized words: --outptu x"),
        (["train", "hgrn", "listops", "task.scale=huge"], "has no scale 'huge'"),
        (["train", "hgrn", "listops", "task.protocol=mine"], "has no protocol 'mine'"),
        (["train", "hgrn", "listops", "task.name=listopps"], "listopps"),
        (["train", "hgrn", "listops", "--output", "/proc/no/such"], "choose another --output"),
        (["sweep", "demmo"], "Unknown suite 'demmo'. Did you mean 'demo'?"),
        (["table", "demo", "--format", "word"], "invalid choice: 'word'"),
        (["data", "prepare", "listops", "task.data_dir=/proc/no"], "/proc/no"),
        (["data", "show", "listops", "task.scale=tiny", "--count", "0"], "cannot be shown"),
        (["report", "demo", "--output", "/proc/no/report.html"], "choose another --output"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_2(capsys, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRA_DATA", str(tmp_path))
    code, _, err = lra(capsys, *words)
    assert code == 2
    line = err.strip().splitlines()[-1]
    assert line.startswith("lra: ")
    assert sentence in line
    assert "Traceback" not in err


def test_overrides_may_follow_an_option(capsys):
    code, out, _ = lra(capsys, "config", "hgrn", "listops", "seed=2", "--describe", "optim.lr=0.125")
    assert code == 0
    assert "seed                     = 2 " in out
    assert "0.125" in out


def test_info_names_the_backend(capsys):
    code, out, _ = lra(capsys, "info")
    assert code == 0
    assert "scan on cpu" in out


def test_an_empty_table_has_dashes_and_no_zeros(capsys, tmp_path):
    code, out, _ = lra(capsys, "table", "demo", "--runs", str(tmp_path))
    assert code == 0
    assert "| listops" in out
    assert "–" in out
    assert "0.00" not in out


def test_data_info_and_show(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LRA_DATA", str(tmp_path))
    code, out, _ = lra(capsys, "data", "info", "pathfinder", "task.scale=tiny")
    assert code == 0
    assert "no; lra data prepare pathfinder" in out
    code, out, _ = lra(capsys, "data", "show", "listops", "task.scale=tiny", "--count", "2")
    assert code == 0
    assert out.count("label") == 2
    code, out, _ = lra(capsys, "data", "info", "listops", "task.scale=tiny")
    assert "yes, sha256" in out


def test_a_task_of_the_folder_one_stands_in(tmp_path):
    """By the installed command, whose own folder and not the current one is on Python's path."""
    (tmp_path / "my_tasks.py").write_text((Path(__file__).parent / "toy_task.py").read_text())
    (tmp_path / "mine.yaml").write_text("task: {name: my_tasks.Toy}\n")
    command = [Path(sys.executable).parent / "lra", "data", "prepare", "mine.yaml", f"task.data_dir={tmp_path}"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "150 train, 40 val, 50 test" in result.stdout
