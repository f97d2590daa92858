"""`lra inspect`: files, mistakes, the report's section."""

import base64
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lra_hgrn.cli.main import main
from lra_hgrn.config import from_plain
from lra_hgrn.config.compose import read_yaml
from lra_hgrn.inspection.record import growth, load_inspection
from lra_hgrn.inspection.run import inspect_run
from lra_hgrn.results.cells import Key
from lra_hgrn.results.gather import gather
from lra_hgrn.results.record import load_record
from lra_hgrn.results.report.report import write_report
from lra_hgrn.training.run import train
from lra_tasks import get_task

HERE = Path(__file__).parent
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a run of HGRN and one of a Transformer on the toy task."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        for name, target in (("HGRN", "hgru"), ("Transformer", "attention")):
            values = {
                "task": {"name": "toy_task.Toy", "data_dir": str(root / "data")},
                "model": {"name": name, "target": target, "d_model": 8, "layers": 3},
                "optim": {"lr": 0.01},
                "train": {"epochs": 1, "batch_size": 50, "accelerator": "cpu"},
            }
            train(from_plain(values, "test"), root / name)
        yield root


@pytest.fixture
def run(runs, tmp_path):
    """A fresh copy of the run of HGRN."""
    shutil.copytree(runs / "HGRN", tmp_path / "HGRN", ignore=shutil.ignore_patterns("inspection"))
    return tmp_path / "HGRN"


def lra(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


def test_command_writes_numbers_and_figures(capsys, run):
    code, out, _ = lra(capsys, "inspect", run, "--samples", "20")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("| layer | lower bound, mean | forget gate, median | memory in steps")
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["1", "2", "3"]
    assert lines[2].split("|")[2].strip() == "0.000"
    assert lines[5].startswith("The median memory ")
    assert lines[-1] == str(run / "inspection" / "inspection.json")
    names = sorted(path.name for path in (run / "inspection").iterdir())
    assert names == ["gates.png", "inspection.json", "test-0.png", "test-1.png"]
    found = load_inspection(run)
    record = load_record(run / "record.json")
    assert (found.run, found.task, found.model) == ("HGRN", "toy_task.Toy", "HGRN")
    assert (found.samples, found.split, found.checkpoint) == (20, "test", "best")
    assert found.step == record.scores.best.step
    assert found.lower_bounds == record.lower_bounds
    assert [sample.index for sample in found.attributions] == [0, 1]
    assert not found.remarks
    for layer in found.gates:  # the gates start near the middle between their bound and 1
        start = (1 + (layer.layer - 1) / 3) / 2
        assert layer.untrained_memory == pytest.approx(-1 / np.log(start), rel=0.5)
    for picture in found.pictures:
        assert (run / "inspection" / picture.file).read_bytes().startswith(PNG)
    with np.load(run / "predictions.npz") as file:
        assert [sample.predicted for sample in found.attributions] == file["best"][:2].tolist()
    # Other samples take the place of these; what is not ours stays.
    (run / "inspection" / "notes.png").write_text("mine")
    assert lra(capsys, "inspect", run, "--split", "val", "--checkpoint", "last", "--sample", "39", "7", "39")[0] == 0
    names = sorted(path.name for path in (run / "inspection").glob("*.png"))
    assert names == ["gates.png", "notes.png", "val-39.png", "val-7.png"]
    assert load_inspection(run).samples == 40


def test_samples_are_spread_over_the_split(run, monkeypatch):
    seen = []
    monkeypatch.setattr("lra_hgrn.inspection.run.measure", lambda net, batches, progress: seen.extend(batches) or [])
    found = inspect_run(run, samples=8, shown=[])
    rows = np.unique(np.linspace(0, 49, 8).round().astype(int))
    task = get_task("toy_task.Toy")(data_dir=read_yaml(run / "config.yaml", "")["task"]["data_dir"])
    task.setup()
    want = [task.split("test")[row] for row in rows]
    batch, again = seen  # trained and untrained
    assert batch.labels.tolist() == again.labels.tolist() == [label for _, label in want]
    for row, length, (documents, _) in zip(batch.inputs, batch.lengths, want, strict=True):
        assert row[:length].tolist() == documents[0].tolist()
    assert (found.attributions, found.gates) == ([], None)


def test_a_mixer_without_gates_still_shows_its_decisions(capsys, runs):
    code, out, _ = lra(capsys, "inspect", runs / "Transformer")
    assert code == 0
    assert "The token mixer Attention has no forget gates that it could show." in out
    assert "| layer" not in out
    assert "median memory" not in out
    found = load_inspection(runs / "Transformer")
    assert (found.gates, found.lower_bounds, len(found.attributions)) == (None, None, 2)
    assert [picture.file for picture in found.pictures] == ["test-0.png", "test-1.png"]


def test_a_whole_classifier_says_what_cannot_be_shown(capsys, run, tmp_path, monkeypatch):
    (tmp_path / "whole_classifier.py").write_text(
        "import torch\n"
        "class Counting(torch.nn.Module):\n"
        "    def __init__(self, spec):\n"
        "        super().__init__()\n"
        "        self.out = torch.nn.Linear(spec.vocab_size, spec.n_classes)\n"
        "        self.size = spec.vocab_size\n"
        "    def forward(self, inputs, lengths):\n"
        "        return self.out(torch.nn.functional.one_hot(inputs, self.size).float().mean(dim=1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    values = read_yaml(run / "config.yaml", "")
    values["model"]["target"] = "whole_classifier.Counting"
    train(from_plain(values, "test"), tmp_path / "Counting")
    code, out, _ = lra(capsys, "inspect", tmp_path / "Counting")
    assert code == 0
    assert "Counting is a whole classifier, whose layers and forget gates are not known here." in out
    assert "Counting has no nn.Embedding, so what its decisions depend on cannot be shown." in out
    assert load_inspection(tmp_path / "Counting").attributions is None


def break_weights(run):
    content = torch.load(run / "best.ckpt", weights_only=True)
    content["state_dict"].pop("net.norm.weight", None)
    torch.save(content, run / "best.ckpt")


def add_key(run):
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + "modell: {layers: 2}\n")


def break_record(run):
    record = json.loads((run / "record.json").read_text())
    (run / "record.json").write_text(json.dumps({**record, "data_fingerprint": "another"}))


@pytest.mark.parametrize(
    ("damage", "words", "sentence"),
    [
        (
            lambda run: None,
            ["--sample", "50"],
            "There is no sample 50: the test split of this task has numbers 0 to 49.",
        ),
        (lambda run: None, ["--sample", "-1"], "There is no sample -1"),
        (lambda run: None, ["--sample", "first"], "invalid int value: 'first'"),
        (lambda run: None, ["--samples", "0"], "--samples must be 1 or more, not 0."),
        (lambda run: None, ["--split", "train"], "invalid choice: 'train'"),
        (lambda run: (run / "config.yaml").unlink(), [], "holds no run: there is no config.yaml in it."),
        (lambda run: (run / "config.yaml").write_text("model: ["), [], "cannot be read as YAML"),
        (add_key, [], "Did you mean 'model.layers'?"),
        (lambda run: (run / "best.ckpt").unlink(), [], "has no best.ckpt: train the run, or choose another"),
        (lambda run: (run / "best.ckpt").write_bytes(b"no"), [], "best.ckpt cannot be read"),
        (lambda run: torch.save({"a": 1}, run / "best.ckpt"), [], "it holds no state of a run"),
        (break_weights, [], "does not fit the model of config.yaml beside it"),
        (break_record, [], "are not those that"),
        (lambda run: (run / "inspection").write_text(""), [], "Cannot write to"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_2(capsys, run, damage, words, sentence):
    damage(run)
    code, out, err = lra(capsys, "inspect", run, *words)
    assert (code, out) == (2, "")
    assert sentence in err.strip().splitlines()[-1]
    assert not (run / "inspection").is_dir()


def test_help_does_not_import_torch():
    code = "import sys\nfrom lra_hgrn.cli.main import main\ntry:\n    main(['inspect', '--help'])\n"
    code += "finally:\n    print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.endswith("False\n"), result.stderr


def test_growth_is_said_as_it_is(run):
    found = inspect_run(run, shown=[])

    def said(*medians, before=None):
        layers = [
            replace(layer, channel_memory=replace(layer.gate, q50=median), untrained_memory=before)
            for layer, median in zip(found.gates, medians, strict=False)
        ]
        return growth(replace(found, gates=layers))

    assert said(1.0, 2.0, 4.5) == "The median memory grows with every layer (in steps, layer by layer: 1, 2, 4.5)."
    assert "is longer in the last layer than in the first, but does not grow with every" in said(1.0, 4.0, 2.0)
    assert "does not grow with depth" in said(3.0, 4.0, 2.0)
    assert "(in steps, layer by layer: 1, 2; before training: 0.5, 0.5)" in said(1.0, 2.0, before=0.5)
    assert said(3.0) == ""


def page(root, record):
    (root / record.run / "metrics.csv").unlink(missing_ok=True)  # nothing but what is tested here is drawn
    results = gather([Key(record.task, record.scale, record.model)], [record], title="A title", runs=root)
    return write_report(results, root / "page.html").read_text(encoding="utf-8")


def test_report_shows_inspected_runs(run):
    record = load_record(run / "record.json")
    assert "What the models learnt" not in page(run.parent, record)
    found = inspect_run(run)
    text = page(run.parent, record)
    assert "<h2>What the models learnt</h2>" in text
    assert growth(found) in text
    images = re.findall(r'<img src="data:image/png;base64,([^"]+)"[^>]*alt="([^"]+)"', text)
    assert len(images) == text.count("<img") == 3
    for (content, words), picture in zip(images, found.pictures, strict=True):
        assert base64.b64decode(content) == (run / "inspection" / picture.file).read_bytes()
        assert words.startswith(picture.caption[:20])
    assert "inspect it again" not in text


def test_report_says_what_is_wrong_with_an_inspection(run):
    record = load_record(run / "record.json")
    path = run / "inspection" / "inspection.json"
    inspect_run(run)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "step": 1}))
    assert "inspected at step 1, but its best checkpoint is now of step 3; inspect it again." in page(
        run.parent, record
    )
    for broken, sentence in (
        ("{", "is no inspection"),
        (json.dumps({**content, "schema": 9}), "schema is 9, and this version reads 1"),
        (json.dumps({**content, "pictures": [{"file": "../x.png", "caption": ""}]}), "is not the name of a PNG file"),
        (json.dumps({**content, "pictures": [{"file": "gone.png", "caption": ""}]}), "gone.png cannot be read"),
    ):
        path.write_text(broken)
        text = page(run.parent, record)
        assert sentence in text
        assert "What the models learnt" not in text
