"""`lra results`: a list, one record, verification, and the command that repeats a run."""

import csv
import json
import shlex
import shutil

import numpy as np
import pytest
from omegaconf import OmegaConf
from scipy import stats
from small_runs import METRICS, make_run

from lra_hgrn.cell import compose_cell
from lra_hgrn.cli.main import main
from lra_hgrn.config import compose, from_plain, identity, plain
from lra_hgrn.results.check import verify_run
from lra_hgrn.results.command import train_command
from lra_hgrn.results.record import load_record


def lra(capsys, *words):
    """Run `lra results`; return its exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as stop:
        main(["results", *map(str, words)])
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


def test_list_has_a_line_for_each_record_and_names_what_is_broken(capsys, tmp_path):
    one, other = make_run(tmp_path, seed=1), make_run(tmp_path / "deeper", "transformer", seed=2)
    code, out, err = lra(capsys, "list", "--runs", tmp_path, "--format", "csv")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(out.splitlines()))
    assert [row["run"] for row in rows] == [one.name, other.name]
    record = load_record(one / "record.json")
    low, high = stats.binomtest(record.scores.best.correct, 40).proportion_ci(0.95, "wilson")
    assert [float(rows[0][key]) for key in ("accuracy", "low", "high", "val_accuracy")] == pytest.approx(
        [record.scores.best.correct / 40, low, high, 0.75]
    )
    assert rows[1]["model"] == "Transformer"
    (one / "record.json").write_text("{")
    code, out, err = lra(capsys, "list", "--runs", tmp_path)
    assert code == 1
    assert str(one / "record.json") in err
    assert other.name in out


@pytest.mark.parametrize(
    ("word", "seeds"),
    [
        ("task=listops", ["1", "2"]),
        ("model=hgrn", ["1", "2"]),
        ("model=Transformer", []),
        ("seed=2", ["2"]),
        ("status=chance", []),
        ("optim.lr=0.25", ["2"]),
        ("optim.lr=2.5e-1", ["2"]),
        ("task.source=null", ["1", "2"]),
        ("model.kwargs.causal=true", ["2"]),
        ("model.kwargs.causal=null", []),
    ],
)
def test_list_takes_filters(capsys, tmp_path, word, seeds):
    make_run(tmp_path, seed=1)
    make_run(tmp_path, words=["optim.lr=0.25", "model.kwargs.causal=true"], seed=2)
    code, out, _ = lra(capsys, "list", word, "--runs", tmp_path, "--format", "csv")
    assert code == 0
    assert [row["seed"] for row in csv.DictReader(out.splitlines())] == seeds


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["list", "tsak=listops"], "Unknown filter 'tsak'. Did you mean 'task'?"),
        (["list", "listops"], "'listops' is not a filter; write key=value"),
        (["show", "listops-tiny-hgrn-seed1"], "There is no run 'listops-tiny-hgrn-seed1' in"),
        (["show", "nowhere"], "There is no run 'nowhere'"),
        (["export", "x.zip", "nowhere"], "There is no run 'nowhere'"),
        (["export", "x.zip", "--suite", "demmo"], "Unknown suite 'demmo'. Did you mean 'demo'?"),
        (["export", "x.zip", "--suite", "one.yaml"], "No run of the suite one.yaml is in"),
        (["export", "x.zip", "run", "--suite", "demo"], "Name the runs, or their --suite."),
        (["import", "nowhere.zip"], "There is no nowhere.zip"),
        (["import", "notes.txt"], "notes.txt is not a folder, a .tar.gz or a .zip file"),
        (["verify", "--runs", "nowhere"], "There is no folder 'nowhere'"),
        (["verify", "--runs", "empty"], "There are no runs in empty"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_2(capsys, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "one.yaml").write_text("title: One\ncells: [{model: hgrn, task: listops}]\n")
    code, out, err = lra(capsys, *words, *([] if "--runs" in words else ["--runs", "runs"]))
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "empty", "notes.txt", "one.yaml"}


def test_show_tells_all_that_is_known(capsys, tmp_path):
    folder = make_run(tmp_path, words=["optim.lr=0.125"])
    (folder / "last.ckpt").touch()
    code, out, err = lra(capsys, "show", folder.name, "--runs", tmp_path)
    assert (code, err) == (0, "")
    record = load_record(folder / "record.json")
    for text in (
        f"{record.scores.best.correct} of 40; validation 75.00 %; step 20, epoch 1",
        "optim.lr = 0.125",
        "Samples are made up.",
        record.data_fingerprint,
        "a processor (cpu backend, precision 32, 2 threads)",
        "config.yaml, last.ckpt, metrics.csv, predictions.npz, record.json",
        "lra train hgrn listops task.scale=tiny optim.lr=0.125",
    ):
        assert text in out
    assert "optim.clip" not in out
    assert lra(capsys, "show", folder)[1] == out


@pytest.mark.parametrize(
    ("model", "task", "words"),
    [
        ("hgrn", "listops", ["task.scale=tiny", "seed=3"]),
        ("transformer", "image", ["model.kwargs.heads=8", "model.name=A Transformer, wide", "train.precision=16"]),
        ("torch.nn.GRU", "text", ["model.kwargs.hidden_size=8", "model.kwargs.batch_first=true", "optim.lr=1e-5"]),
        ("mingru", "listops", ["model.match=hgrn", "optim.schedule_steps=null"]),
        ("lru", "my_package.MyTask", ["model.target=lstm", 'model.kwargs.names=["a b", null]', "tuning.trials=3"]),
    ],
)
def test_the_command_of_a_record_composes_the_same_cell(tmp_path, model, task, words):
    config = compose_cell(model, task, words).config
    folder = make_run(tmp_path, config=config)
    lra_word, train, *again = shlex.split(train_command(load_record(folder / "record.json")))
    assert (lra_word, train) == ("lra", "train")
    composed = compose_cell(again[0], again[1], again[2:]).config
    assert identity(composed) == identity(config)
    assert plain(composed) == plain(config)


def test_the_command_needs_no_file_of_the_users(tmp_path, monkeypatch):
    """A model's own .yaml is gone, and no model of configs/ is without the argument that its mixer now lacks."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("model: {name: Mine, target: attention, kwargs: {positions: rotary}}\n")
    config = compose("mine.yaml", "listops", ["model.channel_mixer=mlp"]).config
    (tmp_path / "mine.yaml").unlink()
    folder = make_run(tmp_path, config=config)
    model, task, *words = shlex.split(train_command(load_record(folder / "record.json")))[2:]
    assert plain(compose(model, task, words).config) == plain(config)


def test_show_says_why_a_run_cannot_be_repeated(capsys, tmp_path):
    folder = make_run(tmp_path)
    change_record(folder, lambda record: record["config"]["optim"].update(momentum=0.9))
    code, out, _ = lra(capsys, "show", folder)
    assert code == 0
    assert "command                 – (Unknown option 'optim.momentum'" in out


def change_record(folder, change):
    path = folder / "record.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def change_predictions(folder, **arrays):
    path = folder / "predictions.npz"
    with np.load(path) as file:
        stored = dict(file)
    np.savez(path, **(stored | arrays))


def change_text(folder, name, old, new):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def test_names_of_runs_may_follow_options(capsys, tmp_path):
    first, second, _ = (make_run(tmp_path / "runs", seed=seed).name for seed in (1, 2, 3))
    code, _, _ = lra(capsys, "export", str(tmp_path / "out"), first, "--runs", str(tmp_path / "runs"), second)
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted((first, second))


def test_verify_finds_nothing_in_a_whole_run(capsys, tmp_path):
    make_run(tmp_path)
    code, out, err = lra(capsys, "verify", "--runs", tmp_path)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:7]] == ["ok"] * 5 + ["–"]
    assert out.endswith("1 run: all as recorded\n")


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("record", lambda f: change_record(f, lambda r: r.update(run="another"))),
        ("record", lambda f: (f / "record.json").write_text("{")),
        ("predictions", lambda f: (f / "predictions.npz").unlink()),
        ("predictions", lambda f: change_record(f, lambda r: r["scores"]["best"].update(correct=31))),
        ("predictions", lambda f: change_record(f, lambda r: r["scores"]["last"].update(total=41))),
        ("predictions", lambda f: change_record(f, lambda r: r["scores"]["best"].update(low=0.5))),
        ("predictions", lambda f: change_record(f, lambda r: r.update(chance=0.25))),
        ("predictions", lambda f: change_record(f, lambda r: r.update(data_fingerprint="other"))),
        ("predictions", lambda f: change_predictions(f, last=np.full(40, 9, np.uint8))),
        ("config", lambda f: (f / "config.yaml").unlink()),
        ("config", lambda f: change_text(f, "config.yaml", "lr: 0.0005", "lr: 0.0006")),
        ("config", lambda f: change_text(f, "config.yaml", "seed: 1", "seed: 2")),
        ("config", lambda f: change_text(f, "config.yaml", "seed: 1", "seed: &again 1")),
        ("hash", lambda f: change_record(f, lambda r: r.update(config_hash="0123456789ab"))),
        ("metrics", lambda f: (f / "metrics.csv").unlink()),
        ("metrics", lambda f: change_text(f, "metrics.csv", "30,2,val", "30,2,validation")),
        ("metrics", lambda f: change_text(f, "metrics.csv", "20,1,val,1.5,0.75", "20,1,val,1.5,0.76")),
        ("metrics", lambda f: change_text(f, "metrics.csv", "10,0,val,1.5,0.5", "10,0,val,1.5,0.8")),
        ("metrics", lambda f: change_text(f, "metrics.csv", "10,0,val", "ten,0,val")),
        ("metrics", lambda f: (f / "metrics.csv").write_text(METRICS + "40,3,train,1.8,0.6,0.001,4.00\n")),
        ("metrics", lambda f: change_text(f, "metrics.csv", "20,1,train", "5,1,train")),
    ],
)
def test_verify_finds_what_does_not_agree(capsys, tmp_path, check, change):
    folder = make_run(tmp_path)
    change(folder)
    findings = verify_run(folder)
    assert [finding.check for finding in findings if finding.ok is False] == [check]
    code, out, _ = lra(capsys, "verify", folder)
    assert code == 1
    assert f"FAILED  {check}: " in out
    assert out.endswith("1 run: 1 not as recorded\n")


def test_a_run_without_scores_needs_no_predictions(tmp_path):
    folder = make_run(tmp_path)
    none = dict.fromkeys(("scores", "chance"))
    change_record(folder, lambda record: record.update(status="diverged", **none))
    (folder / "predictions.npz").unlink()
    assert {finding.check: finding.ok for finding in verify_run(folder)}["predictions"] is None
    assert all(finding.ok is not False for finding in verify_run(folder))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_hash_of_older_records_is_checked_by_their_rule(request, tmp_path, version):
    stored = request.path.parent / "records" / f"{version}.json"
    name = json.loads(stored.read_text())["run"]
    (tmp_path / name).mkdir()
    shutil.copy(stored, tmp_path / name / "record.json")
    found = {finding.check: finding for finding in verify_run(tmp_path / name)}
    assert found["hash"].ok
    assert "by the rule of earlier versions" in found["hash"].message
    change_record(tmp_path / name, lambda record: record["config"]["optim"].update(lr=0.5))
    assert {finding.check: finding.ok for finding in verify_run(tmp_path / name)}["hash"] is False


def test_config_written_otherwise_has_the_same_options(tmp_path):
    """As another version of the library for YAML might write it."""
    folder = make_run(tmp_path)
    path = folder / "config.yaml"
    values = OmegaConf.to_container(OmegaConf.load(path))
    path.write_text(json.dumps(values))
    assert {finding.check: finding.ok for finding in verify_run(folder)}["config"]
    assert plain(from_plain(values, "test")) == load_record(folder / "record.json").config
