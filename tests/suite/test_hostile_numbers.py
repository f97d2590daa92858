"""Arrays and tables of somebody who means harm: predictions, metrics, published figures, searches."""

import io
import zipfile

import numpy as np
import pytest
from hostile import ESCAPE, count, lra, refusal
from small_runs import make_run

from lra_hgrn.errors import UserError
from lra_hgrn.results import predictions
from lra_hgrn.results.check import verify_run
from lra_hgrn.results.figures.curves import load_metrics
from lra_hgrn.results.predictions import load_predictions
from lra_hgrn.results.published import read_published
from lra_hgrn.tuning.space import parse_space
from lra_hgrn.tuning.study import Study

# -- predictions


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode("latin1")
    text += b" " * (-(11 + len(text)) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + data


def of(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


GOOD = {name: of(np.zeros(4, np.uint8)) for name in ("best", "last", "labels")} | {"fingerprint": of(np.array("3f2a"))}


def write_predictions(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in (GOOD | members).items():
            if data is not None:
                file.writestr(f"{name}.npy", data)
    return path


@pytest.mark.parametrize(
    ("member", "data", "words"),
    [
        ("best", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,), }"), "in 0 bytes"),
        ("best", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-4,), }", b"abcd"), "shape (-4,)"),
        ("best", npy("{'descr': '|V0', 'fortran_order': False, 'shape': (10000000000,), }"), "header"),
        ("best", npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"cos\nsystem\n."), "says object"),
        ("best", npy("{'descr': '<u8', 'fortran_order': False, 'shape': (1,), }", bytes(8)), "type uint64"),
        ("best", npy("{'descr': " + "(" * 5_000), "header"),
        ("best", npy("__import__('os').system('touch owned')"), "header"),
        ("best", of(np.zeros(5, np.uint8)), "shape (5,)"),
        ("best", of(np.zeros((2, 2), np.uint8)), "shape (2, 2)"),
        ("best", None, "no array best"),
        ("best", b"", "header"),
        ("fingerprint", of(np.zeros(4)), "fingerprint of type float64"),
        ("fingerprint", None, "no array fingerprint"),
        ("confidence", of(np.full(4, np.nan, np.float16)), "probabilities outside 0 to 1"),
        ("confidence", of(np.full(4, 2, np.float16)), "probabilities outside 0 to 1"),
    ],
    ids=count(),
)
def test_predictions_that_are_none_are_refused(tmp_path, monkeypatch, member, data, words):
    monkeypatch.chdir(tmp_path)
    assert len(load_predictions(write_predictions(tmp_path / "p.npz")).best) == 4
    assert words in refusal(load_predictions, write_predictions(tmp_path / "p.npz", **{member: data}))
    assert not (tmp_path / "owned").exists()


def test_predictions_that_inflate_are_refused_before_they_do(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "LARGEST", 10_000)
    path = write_predictions(tmp_path / "p.npz", best=of(np.zeros(1_000_000, np.uint8)))
    assert path.stat().st_size < 5_000
    assert "more than the 10,000" in refusal(load_predictions, path)
    damaged = path.read_bytes().replace((1_000_128).to_bytes(4, "little"), (200).to_bytes(4, "little"))  # says less
    path.write_bytes(damaged)
    assert "does not hold predictions" in refusal(load_predictions, path)


def test_a_fingerprint_is_one_short_line(tmp_path):
    path = write_predictions(tmp_path / "p.npz", fingerprint=of(np.array(f"{ESCAPE}\n" + "x" * 10_000)))
    found = load_predictions(path).fingerprint
    assert found.isprintable()
    assert len(found) < 200


def test_predictions_of_another_task_are_not_compared(capsys, tmp_path):
    (tmp_path / "two.yaml").write_text(
        "title: Two\nset: {task: {scale: tiny}}\nseeds: [1]\ntasks: [listops]\nmodels: [hgrn, transformer]\n"
    )
    make_run(tmp_path / "runs", model="hgrn")
    folder = make_run(tmp_path / "runs", model="transformer")
    code, out, err = lra(capsys, "compare", tmp_path / "two.yaml", "--runs", tmp_path / "runs")
    assert (code, err) == (0, "")
    other = load_predictions(folder / "predictions.npz")
    members = {name: of(getattr(other, name)) for name in ("best", "last", "labels")}
    write_predictions(folder / "predictions.npz", fingerprint=of(np.array("another")), **members)
    code, out, err = lra(capsys, "compare", tmp_path / "two.yaml", "--runs", tmp_path / "runs")
    assert code == 0
    assert "compared only where they saw the same data" in out
    assert out.count("Transformer") == 1  # in that sentence


# -- tables of numbers


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("9" * 400 + ",0,train,2.1,0.3,0.001,1.00", ""),
        ("9" * 5_000 + ",0,train,2.1,0.3,0.001,1.00", ""),
        ("10,0,train,<script>,0.3,0.001,1.00", "not a row of metrics"),
        ('10,0,"' + "x" * 200_000 + '",2.1,0.3,0.001,1.00', "not a CSV file"),
        ("10,0,train,2.1", "not a row of metrics"),
        ("1,2,3,4,5,6,7,8,9", "not a row of metrics"),
        ("\0\0", "not a row of metrics"),
    ],
    ids=count(),
)
def test_metrics_that_are_none_fail_their_check(tmp_path, line, words):
    folder = make_run(tmp_path)
    path = folder / "metrics.csv"
    path.write_text(path.read_text() + line + "\n")
    (found,) = [finding for finding in verify_run(folder) if finding.check == "metrics"]
    assert found.ok is False
    assert words in found.message
    assert found.message.isprintable()
    assert len(found.message) < 2_000
    try:
        load_metrics(path)
    except UserError:
        refusal(load_metrics, path)


def test_published_figures_name_the_line_that_is_none(request, tmp_path):
    lines = (request.path.parents[2] / "results/published.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    path = tmp_path / "x.csv"
    path.write_text("".join(lines[:3]), encoding="utf-8")
    assert read_published(path)
    for line, words in (
        ("a,b\n", "lacks a field"),
        (lines[1].replace("seen", "made-up"), "seen is"),
        (lines[1].replace("\n", f"{ESCAPE}\n"), "control character"),
    ):
        path.write_text("".join(lines[:2]) + line, encoding="utf-8")
        assert f"Line 3 of {path} is no published figure" in (said := refusal(read_published, path))
        assert words in said


def test_the_log_of_another_search_is_refused(tmp_path):
    for text in ("{}\n", "[]\n", "nonsense\n", '{"op_code": 99, "worker_id": "x"}\n'):
        (tmp_path / "study.log").write_text(text)
        assert "cannot be read as the study of a search" in refusal(
            Study, tmp_path, "x", parse_space(["optim.lr=log:1e-4:1e-2"]), 1
        )
