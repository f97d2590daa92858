"""The command line: quick answers, exit codes, one sentence for every mistake."""

import functools
import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import torch

from hgrn_kernels import backend_for, bench
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
        (["train", "my_module.Mixer", "listops"], "cannot be imported from"),
        (["train", "transformer", "listops", "model.match=hgrn", "model.d_model=4"], "leave one of them out"),
        (["check-model", "hgrm"], "Unknown model 'hgrm'. Did you mean 'hgrn'?"),
        (["check-model", "hgrn", "model.kwargs.causl=true"], "Did you mean 'causal'?"),
        (["check-model", "hgrn", "--without", "taks"], "Unknown check 'taks'. Did you mean 'tasks'?"),
        (["check-model", "hgrn", "--device", "cuba"], "--device cuba cannot be used"),
        (["models", "hgrm"], "Unknown model 'hgrm'. Did you mean 'hgrn'?"),
        (["models", "--match", "hgrm"], "Unknown model 'hgrm'. Did you mean 'hgrn'?"),
        (["inspect", "nowhere"], "nowhere"),
        (["sweep", "demmo"], "Unknown suite 'demmo'. Did you mean 'demo'?"),
        (["table", "demo", "--format", "word"], "invalid choice: 'word'"),
        (["data", "prepare", "listops", "task.data_dir=/proc/no"], "/proc/no"),
        (["data", "show", "listops", "task.scale=tiny", "--count", "0"], "cannot be shown"),
        (["report", "demo", "--output", "/proc/no/report.html"], "choose another --output"),
        (["bench", "scan", "--device", "gpu"], "invalid choice: 'gpu'"),
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
    assert re.search(r"^kernels on cpu +(cpu|reference|triton)$", out, re.MULTILINE)
    assert re.search(r"^backend reference +ready$", out, re.MULTILINE)


@pytest.mark.parametrize("words", [["bench", "scan"], ["train", "hgrn", "listops", "task.scale=tiny"]])
def test_a_wrong_backend_is_told_before_anything_is_done(capsys, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HGRN_BACKEND", "numba")
    code, _, err = lra(capsys, *words)
    assert code == 2
    assert err.strip() == "lra: HGRN_BACKEND is 'numba'; choose one of: auto, cpu, triton, reference."
    assert not (tmp_path / "data").exists()
    assert "HGRN_BACKEND is 'numba'" in lra(capsys, "info")[1]


def test_bench_scan_without_a_gpu_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, _, err = lra(capsys, "bench", "scan", "--device", "cuda")
    assert (code, err) == (2, "lra: --device cuda, but torch sees no GPU here; use --device cpu.\n")


def test_bench_scan_tries_the_file_before_it_measures(capsys, monkeypatch):
    monkeypatch.setattr(bench, "measure", None)
    code, _, err = lra(capsys, "bench", "scan", "--device", "cpu", "--json", "/proc/no/bench.json")
    assert code == 2
    assert err == "lra: Cannot write /proc/no/bench.json: No such file or directory; choose another --json.\n"


def out_of_memory(*tensors):
    raise torch.OutOfMemoryError("tried to allocate more than there is")


def test_bench_scan_prints_tables_and_writes_rows(capsys, tmp_path, monkeypatch):
    shapes = {"text": (2, 6, 4), "image": (1, 3, 2, 4)}
    monkeypatch.setattr(bench, "SHAPES", {"cpu": shapes})
    monkeypatch.setattr(bench, "measure", functools.partial(bench.measure, repeats=2, warmup=1))
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", out_of_memory)
    code, out, _ = lra(capsys, "bench", "scan", "--device", "cpu", "--json", str(tmp_path / "new" / "bench.json"))
    assert code == 0
    assert "text: 2 × 6 × 4" in out
    assert "image: 1 × 3 × 2 × 4" in out
    assert re.search(r"softmax attention, 1 × 4: out of memory +forward +–", out)
    assert "absent: fla chunk_hgrn, runs on a GPU only; there: pip install fla-core" in out
    written = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert written["versions"]["torch"] == torch.__version__
    assert written["backend"] == backend_for("cpu")
    assert list(written["absent"]) == ["fla fused_recurrent_hgrn", "fla chunk_hgrn", "accelerated_scan.warp"]
    assert datetime.fromisoformat(written["date"]).tzinfo is not None
    assert {row["task"]: tuple(row["shape"]) for row in written["rows"]} == shapes
    for row in written["rows"]:
        label = f"{row['name']}: {row['note']}" if row["note"] else row["name"]
        time, copy = row["time"], row["copy"]
        figures = [time["min"], time["quartile1"], time["median"], time["quartile3"], copy["median"]] if time else []
        cells = [*(f"{x:.3f}" for x in figures), f"{row['ratio']:.2f}"] if time else ["–"] * 6
        assert [*label.split(), row["passes"], *cells] in [line.split() for line in out.splitlines()]


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


def test_check_model_prints_findings_and_fails_with_exit_1(capsys):
    some = [word for name in ("memory", "long-input", "tasks", "compile") for word in ("--without", name)]
    code, out, _ = lra(capsys, "check-model", "hgrn", "model.kwargs.causal=true", *some)
    assert code == 0
    assert "ok      causality: no leak from the future" in out
    assert "–       tasks: left out" in out
    assert out.endswith("hgrn keeps the contract\n")
    gru = ["model.kwargs.hidden_size=8", "model.kwargs.bidirectional=true", "model.kwargs.batch_first=true"]
    code, out, _ = lra(capsys, "check-model", "torch.nn.GRU", *gru, *some)
    assert code == 1
    assert "FAILED  padding: The amount of padding changes results" in out
    assert out.endswith("torch.nn.GRU fails 1 of 14 checks\n")


def test_models_prints_a_table(capsys):
    code, out, _ = lra(capsys, "models", "hgrn", "linformer", "--match", "hgrn")
    assert code == 0
    lines = out.splitlines()
    assert lines[2].startswith("| HGRN ")
    assert "65,674" in lines[2]
    assert lines[4].count("–") == 5  # Linformer comes near to HGRN's size on Image alone
    code, out, _ = lra(capsys, "models", "hgrn", "--format", "csv")
    assert out.splitlines()[1].startswith("HGRN,hgrn,HGRN,hgru,no,L,L,65674,")


def test_a_task_of_the_folder_one_stands_in(tmp_path):
    """By the installed command, whose own folder and not the current one is on Python's path."""
    (tmp_path / "my_tasks.py").write_text((Path(__file__).parent / "toy_task.py").read_text())
    (tmp_path / "mine.yaml").write_text("task: {name: my_tasks.Toy}\n")
    command = [Path(sys.executable).parent / "lra", "data", "prepare", "mine.yaml", f"task.data_dir={tmp_path}"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "150 train, 40 val, 50 test" in result.stdout
