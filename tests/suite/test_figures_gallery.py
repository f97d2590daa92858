"""Figures that need the runs' folders and the prepared data, and `lra figures`."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import binomtest
from small_results import make_record, make_results
from small_runs import make_run

from lra_hgrn.cli.main import main
from lra_hgrn.config import compose, plain
from lra_hgrn.errors import UserError
from lra_hgrn.results.figures import listops
from lra_hgrn.results.figures.gallery import Plate, plates
from lra_hgrn.results.figures.samples import open_task
from lra_hgrn.results.predictions import make_predictions
from lra_tasks import get_task
from lra_tasks.listops_text import EOS, encode, parse

EXPRESSIONS = [
    "7",
    "[MAX 2 9 ]",
    "[SM 1 2 3 ]",
    "[MAX 2 [MIN 4 7 ] 0 ]",
    "[MED [SM 1 [MIN 3 4 ] ] [MAX 0 1 ] ]",
    "[MIN 1 [MIN 1 [MIN 1 [MIN 1 2 ] ] ] 3 ]",
]


@pytest.mark.parametrize("protocol", ["s4", "google"])
def test_expressions_are_measured_as_their_trees(protocol):
    words = [expression.split() for expression in EXPRESSIONS]
    ids = [np.append(encode(symbols), EOS) if protocol == "s4" else encode(symbols) - 2 for symbols in words]
    task = SimpleNamespace(
        split=lambda name: [((document,), 0) for document in ids] if name == "test" else None,
        symbols=get_task("listops")(protocol=protocol).symbols,
    )
    found = listops.measure(task)
    trees = [parse(symbols) for symbols in words]
    assert found.depths.tolist() == [1 if isinstance(tree, int) else tree.depth() for tree in trees]
    assert found.lengths.tolist() == [len(symbols) for symbols in words]


def test_rare_depths_share_a_bin():
    assert listops.depth_edges(np.repeat([3, 4, 7, 8, 9], [4, 7, 50, 30, 2])).tolist() == [3, 7, 8, 10]
    assert listops.depth_edges(np.array([5, 5, 6])).tolist() == [5, 7]
    assert listops.depth_edges(np.full(30, 10)).tolist() == [10, 11]


def test_bins_of_lengths_hold_all_samples_in_like_numbers():
    lengths = np.random.default_rng(0).integers(500, 2000, 4000)
    edges = listops.length_edges(lengths)
    counts, _ = np.histogram(lengths, edges)
    assert len(counts) == listops.BINS
    assert counts.sum() == 4000
    assert abs(counts - 500).max() < 20


def test_accuracy_is_drawn_by_bin_with_its_interval():
    depths = np.repeat([3, 4], [40, 60])
    found = listops.Expressions(depths, np.arange(100))
    right = np.stack([depths == 3, np.ones(100, bool)])  # two seeds: 100 % and, of depth 4, 50 %
    figure = listops.accuracy_by_depth_and_length(found, {"HGRN": right}, ["HGRN"])
    (bars,) = figure.axes[0].containers
    assert bars.lines[0].get_ydata().tolist() == [1.0, 0.5]
    interval = binomtest(30, 60).proportion_ci(method="wilson")
    np.testing.assert_allclose(bars.lines[2][0].get_segments()[1][:, 1], [interval.low, interval.high])
    assert [bar.get_height() for bar in figure.axes[2].patches] == [40, 60]
    assert [label.get_text() for label in figure.axes[2].get_xticklabels()] == ["3", "4"]


def test_data_that_are_not_there_are_not_made(tmp_path):
    config = compose("hgrn", "listops", ["task.scale=tiny", f"task.data_dir={tmp_path}"]).config
    record = make_record(config=plain(config))
    with pytest.raises(UserError, match="are not prepared in"):
        open_task(record)
    assert not list(tmp_path.iterdir())


def test_only_the_data_of_the_run_are_opened(tmp_path):
    config = compose("hgrn", "toy_task.Toy", [f"task.data_dir={tmp_path}"]).config
    task = get_task("toy_task.Toy")(data_dir=tmp_path)
    task.prepare_data()
    task.setup()
    opened = open_task(make_record(config=plain(config), data_fingerprint=task.fingerprint))
    assert len(opened.split("test")) == 50
    with pytest.raises(UserError, match="are not those that listops-HGRN-1 was tested on"):
        open_task(make_record(config=plain(config)))


def test_the_gallery_draws_what_it_can_and_says_why_not(tmp_path, monkeypatch):
    """A Pathfinder of four test images, and tasks without anything beside their records."""
    images = [(np.full(9, place, np.uint8),) for place in range(100)]
    labels = np.zeros(100, int)
    record = make_record("pathfinder", correct=98, data_fingerprint="f")
    best = np.isin(np.arange(100), [5, 70])
    make_predictions(best, best, labels, fingerprint="f", n_classes=2).save(tmp_path / record.run)
    task = SimpleNamespace(split=lambda _: list(zip(images, labels, strict=True)), spec=SimpleNamespace(side=3))
    monkeypatch.setattr("lra_hgrn.results.figures.gallery.open_task", lambda record: task)
    results = make_results([record, make_record("listops")], ("pathfinder", "listops"), ("HGRN",), runs=tmp_path)
    found = list(plates(results))
    drawn = {item.name: item.figure for item in found if isinstance(item, Plate)}
    assert list(drawn) == ["accuracy-speed", "mistakes-pathfinder"]
    shown = [axes.images[0].get_array()[0, 0] for axes in drawn["mistakes-pathfinder"].subfigs[0].axes if axes.images]
    assert shown == [5, 70]
    reasons = {item.name: item.reason for item in found if not isinstance(item, Plate)}
    assert reasons["deviation"] == "No cell with results repeats a published recipe."
    assert "predictions.npz does not exist" in reasons["listops-depth-length"]
    assert "metrics.csv does not exist" in reasons["curves-listops"]
    assert reasons["calibration-pathfinder"] == "There are no predictions of pathfinder with confidences."
    assert set(reasons) | set(drawn) == {
        *("deviation", "accuracy-speed", "cost-length", "curves-pathfinder", "curves-listops", "lower-bounds"),
        *("calibration-pathfinder", "calibration-listops", "listops-depth-length", "mistakes-pathfinder"),
    }


@pytest.fixture
def lra(tmp_path, monkeypatch, capsys):
    """Run `lra figures` on a suite with one run; return code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRA_DATA", str(tmp_path / "data"))
    make_run(tmp_path / "runs")
    (tmp_path / "mine.yaml").write_text("{title: Mine, set: {task: {scale: tiny}}, models: [hgrn], tasks: [listops]}")

    def figures(*words):
        with pytest.raises(SystemExit) as stop:
            main(["figures", "mine.yaml", "--runs", "runs", *words])
        return stop.value.code, *capsys.readouterr()

    return figures


def test_figures_are_written_as_files_and_what_is_left_out_is_said(lra, tmp_path):
    code, out, err = lra()
    assert code == 0
    names = ["accuracy-speed.pdf", "curves-listops.pdf"]
    assert out.split() == [f"results/figures/mine/{name}" for name in names]
    assert sorted(path.name for path in (tmp_path / "results/figures/mine").iterdir()) == names
    assert "lra: cost-length is left out. No model was measured at two lengths" in err
    assert "lra: listops-depth-length is left out. The data of listops (tiny) are not prepared" in err
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(lra, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, err = lra("--output", "file", "--format", "svg")
    assert (code, out) == (2, "")
    assert "choose another --output." in err
