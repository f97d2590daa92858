"""Readers of `lra_hgrn`: options, records and what lies beside them, baselines, searches, checkpoints."""

import contextlib
import gzip
import io
import json
import tempfile
import types
import zipfile
from pathlib import Path

import numpy as np
import torch
from harness import ALLOWED, CUT, npy, target, tarred, zipped
from small_runs import make_run

from lra_hgrn.config import compose, from_plain, plain
from lra_hgrn.config.compose import config_dir
from lra_hgrn.gate.baseline import load_baseline
from lra_hgrn.inspection import record as inspection
from lra_hgrn.planning import estimates
from lra_hgrn.results.archive import import_runs
from lra_hgrn.results.check import _read_metrics
from lra_hgrn.results.figures.curves import load_metrics
from lra_hgrn.results.listing import description, listing
from lra_hgrn.results.predictions import load_predictions
from lra_hgrn.results.published import read_published
from lra_hgrn.results.record import load_record
from lra_hgrn.results.report import sections
from lra_hgrn.results.tables.render import RENDERERS
from lra_hgrn.suite import load_suite
from lra_hgrn.training.checkpoints import load_checkpoint
from lra_hgrn.tuning.outcome import check_same_search
from lra_hgrn.tuning.space import parse_space
from lra_hgrn.tuning.study import Study

ROOT = Path(__file__).parents[2]


def configs(kind: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((config_dir() / kind).glob("*.yaml"))[::5]]


@target(lambda: configs("models"), 0.05)
def read_model(data, folder):
    (folder / "x.yaml").write_bytes(data)
    config = compose(str(folder / "x.yaml"), "listops").config
    assert from_plain(plain(config), "again") == config


@target(lambda: [b"title: a\ncells: [{model: hgrn, task: listops}]\nseeds: [1, 2]\nset: {optim: {lr: 1e-3}}\n"], 0.1)
def read_suite(data, folder):
    (folder / "x.yaml").write_bytes(data)
    load_suite(str(folder / "x.yaml"))


@target(
    lambda: [b"optim.lr=1e-3", b'model.kwargs.a=[1, {"b": null}]', b"task.scale=tiny\0seed=3\0model.norm=batch"], 0.03
)
def read_words(data, folder):
    words = data.decode("utf-8", "replace").split("\0")
    config = compose("hgrn", "listops", words).config
    assert from_plain(plain(config), "again") == config


def run_parts() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder))
        return [(run / name).read_bytes() for name in ("record.json", "config.yaml", "metrics.csv", "predictions.npz")]


@target(lambda: [run_parts()[0], *(path.read_bytes() for path in (ROOT / "tests/suite/records").glob("*.json"))], 0.1)
def read_record(data, folder):
    (folder / "record.json").write_bytes(data)
    record = load_record(folder / "record.json")
    shown = [render(listing([record])) for render in RENDERERS.values()]
    shown += [text for row in description(record, folder) for text in row]
    for text in shown:
        assert text.replace("\n", "").replace("\t", "").isprintable() or not text.isascii(), text
        text.encode("utf-8")
        assert "\x1b" not in text


PREDICTIONS = ("best", "last", "labels", "confidence", "fingerprint")


def prediction_seeds() -> list[bytes]:
    classes, shares = np.array([0, 1, 2], np.uint8), np.array([0.5, 1, 0], np.float16)
    return [CUT.join([*[npy(classes)] * 3, npy(shares), npy(np.array("3f2a"))]), run_parts()[3]]


@target(prediction_seeds)
def read_predictions(data, folder):
    path, parts = folder / "predictions.npz", data.split(CUT)
    if len(parts) == len(PREDICTIONS):
        with zipfile.ZipFile(path, "w") as file:
            for name, part in zip(PREDICTIONS, parts, strict=True):
                file.writestr(f"{name}.npy", part)
    else:
        path.write_bytes(data)
    found = load_predictions(path)
    assert found.best.shape == found.last.shape == found.labels.shape


@target(lambda: [run_parts()[2]])
def read_metrics(data, folder):
    (folder / "metrics.csv").write_bytes(data)
    with contextlib.suppress(*ALLOWED):
        load_metrics(folder / "metrics.csv")
    _read_metrics(folder / "metrics.csv")


def run_files(parts: list[bytes]) -> dict[str, bytes]:
    try:
        name = json.loads(parts[0])["run"]
    except (ValueError, KeyError, TypeError, RecursionError):
        name = "run"
    names = ("record.json", "config.yaml", "metrics.csv", "predictions.npz")
    return {f"{name}/{file}": part for file, part in zip(names, parts, strict=True)}


@target(lambda: [CUT.join(run_parts()), zipped(run_files(run_parts())), tarred(run_files(run_parts()))], 0.1)
def read_export(data, folder):
    parts = data.split(CUT)
    if len(parts) == 4:
        with contextlib.suppress(UnicodeEncodeError):  # of a name that zipfile cannot write
            data = zipped(run_files(parts))
    is_zip = data.startswith(b"PK")
    path = folder / ("a.zip" if is_zip else "a.tar.gz")
    path.write_bytes(data if is_zip else gzip.compress(data, 1))
    try:
        import_runs(path, folder / "runs")
    finally:
        assert {found.name for found in folder.iterdir()} <= {path.name, "runs"}


@target(lambda: [(ROOT / "results/baselines/regression.json").read_bytes()[:-1]])
def read_baseline(data, folder):
    (folder / "x.json").write_bytes(data)
    load_baseline(folder / "x.json")


@target(lambda: [b"# A\n\n<!-- lra report demo 'seed=[1]' -->\nold\r\n<!-- end of lra report -->\n\nB\x0c"])
def read_page(data, folder):
    page = folder / "page.md"
    page.write_bytes(data)
    text = sections.rewritten(sections.read_page(page), page, " ".join)
    assert sections.rewritten(text, page, " ".join) == text


@target(lambda: [b'{"search": "x", "trials": []}'])
def read_search(data, folder):
    (folder / "tuned.json").write_bytes(data)
    check_same_search(types.SimpleNamespace(name="x"), folder)


SPACE = parse_space(["optim.lr=log:1e-4:1e-2"])


def study_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder), "x", SPACE, 1)
        study.propose()
        return [(Path(folder) / "study.log").read_bytes()]


@target(study_seeds)
def read_study(data, folder):
    (folder / "study.log").write_bytes(data)
    Study(folder, "x", SPACE, 1).trials()


def inspection_seeds() -> list[bytes]:
    quantiles = dict.fromkeys(("q10", "q25", "q50", "q75", "q90"), 2.5)
    gates = {"layer": 1, "mixer": "HGRU", "channels": 2, "positions": 3, "mean": 0.5, "untrained_memory": None}
    gates |= dict.fromkeys(("gate", "gate_memory", "channel_memory"), quantiles)
    gates |= {name: [0.5, 0.5] for name in ("memory_of_channels", "histogram", "memory_histogram")}
    document = {"length": 2, "gradient": [0.1, 0.2], "window": 1, "occlusion": [0.1, 0.2], "agreement": None}
    sample = {"index": 0, "label": 1, "predicted": 2, "logits": [0.0, 1.0], "documents": [document]}
    content = {"schema": 1, "run": "x", "task": "listops", "model": "HGRN", "checkpoint": "best", "step": 3}
    content |= {"split": "test", "samples": 4, "lower_bounds": None, "gates": [gates] * 2, "attributions": [sample]}
    content |= {"pictures": [{"file": "gates.png", "caption": "Gates"}], "remarks": ["A remark."]}
    return [json.dumps(content).encode()]


@target(inspection_seeds)
def read_inspection(data, folder):
    (folder / "inspection").mkdir()
    (folder / "inspection/inspection.json").write_bytes(data)
    found = inspection.load_inspection(folder)
    assert found is not None
    assert all(line.isprintable() for line in [*inspection.table(found), inspection.growth(found)])


def estimate_seeds() -> list[bytes]:
    probed = {
        item.name: 1.5 if "float" in str(item.type) else 2 for item in estimates.Probe.__dataclass_fields__.values()
    }
    probed |= {item.name: True for item in estimates.Probe.__dataclass_fields__.values() if "bool" in str(item.type)}
    return [json.dumps({"a": probed, "b": {"reason": "No memory."}}).encode()]


@target(estimate_seeds)
def read_estimates(data, folder):
    (folder / estimates.FILE).write_bytes(data)
    estimates.load(folder)


@target(lambda: [b"".join((ROOT / "results/published.csv").read_bytes().splitlines(True)[:6])])
def read_published_figures(data, folder):
    (folder / "x.csv").write_bytes(data)
    read_published(folder / "x.csv")


def checkpoint_seeds() -> list[bytes]:
    buffer = io.BytesIO()
    torch.save({"state_dict": {"net.a": torch.zeros(3)}, "global_step": 3, "lra_state": {"best": None}}, buffer)
    with zipfile.ZipFile(buffer) as file:
        name = next(name for name in file.namelist() if name.endswith("data.pkl"))
        return [file.read(name), buffer.getvalue()]


CHECKPOINT = checkpoint_seeds()[1]


@target(checkpoint_seeds)
def read_checkpoint(data, folder):
    if not data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(CHECKPOINT)) as file:
            files = {name: data if name.endswith("data.pkl") else file.read(name) for name in file.namelist()}
        data = zipped(files)
    (folder / "x.ckpt").write_bytes(data)
    load_checkpoint(folder / "x.ckpt")
