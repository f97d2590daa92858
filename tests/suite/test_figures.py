"""Figures made of records alone."""

import dataclasses
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from small_results import make_record, make_results
from test_results_report import write_metrics

from lra_hgrn.errors import UserError
from lra_hgrn.results.calibration import reliability
from lra_hgrn.results.deviation import Deviation
from lra_hgrn.results.figures import style
from lra_hgrn.results.figures.bounds import lower_bound_profiles
from lra_hgrn.results.figures.calibration import reliability_diagram
from lra_hgrn.results.figures.curves import POINTS, learning_curves, load_metrics
from lra_hgrn.results.figures.deviations import deviation_from_published
from lra_hgrn.results.figures.mistakes import contact_sheet, mistakes_of
from lra_hgrn.results.figures.scaling import cost_against_length, exponent
from lra_hgrn.results.figures.speed import accuracy_against_throughput
from lra_hgrn.results.predictions import make_predictions
from lra_hgrn.results.record import Device, Memory, Throughput, lower_bounds

MODELS = ("HGRN", "Transformer $1$")


def cells_of(*records, tasks=("listops",)):
    return make_results(list(records), tasks=tasks, models=MODELS).cells


def words_of(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_learning_curves_draw_every_seed(tmp_path):
    records = [make_record(model=model, seed=seed) for model in MODELS for seed in (1, 2)]
    for record in records:
        write_metrics(tmp_path, record)
    metrics = {record.run: load_metrics(tmp_path / record.run / "metrics.csv") for record in records}
    figure = learning_curves(cells_of(*records), metrics, MODELS)
    loss, accuracy = figure.axes
    assert len(loss.lines) == len(accuracy.lines) == 4
    assert loss.lines[0].get_xydata().tolist() == [[5, 2], [10, 2], [15, 2], [20, 2]]
    assert accuracy.lines[0].get_xydata().tolist() == [[10, 0.10], [20, 0.20]]
    assert loss.lines[0].get_linestyle() != loss.lines[2].get_linestyle()  # told apart without colour
    assert words_of(figure) == list(MODELS)
    ElementTree.fromstring(style.to_svg(figure, "curves"))


def test_long_curves_are_drawn_through_means():
    steps, loss = np.arange(1, 1001), np.linspace(3, 1, 1000) + np.tile([0.5, -0.5], 500)
    frame = pd.DataFrame({"step": steps, "split": "train", "loss": loss, "accuracy": 0.5})
    record = make_record()
    line = learning_curves(cells_of(record), {record.run: frame}, MODELS).axes[0].lines[0].get_xydata()
    assert len(line) == POINTS
    np.testing.assert_allclose(line, np.stack([steps, loss], 1).reshape(200, 5, 2).mean(axis=1))


def test_diverged_losses_can_be_drawn():
    record = make_record()
    frame = pd.DataFrame({"step": [1, 2], "split": "train", "loss": [2, np.inf], "accuracy": 0.5})
    assert style.to_svg(learning_curves(cells_of(record), {record.run: frame}, MODELS), "x").startswith("<svg")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a CSV file"),
        ("step,epoch\n1,2\n", "lacks the columns split, loss, accuracy, lr, seconds"),
        ("step,epoch,split,loss,accuracy,lr,seconds\n1,0,train,high,0.1,0.1,1\n", "numbers of column loss"),
    ],
)
def test_broken_metrics_are_refused(tmp_path, text, words):
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        load_metrics(path)
    assert str(path) in str(error.value)


def test_what_is_not_known_is_no_figure():
    cells = cells_of(make_record(throughput=None))
    assert accuracy_against_throughput(cells) is None
    assert lower_bound_profiles(cells) is None
    assert cost_against_length(cells) is None
    assert learning_curves(cells, {}, MODELS) is None
    assert deviation_from_published([(cells[0], Deviation("not comparable", reason="So."))], MODELS) is None
    assert reliability_diagram({}, MODELS) is None
    assert contact_sheet({"HGRN": []}, {}, ("a", "b")) is None


def test_each_device_has_its_own_panel():
    gpu = Device(name="a GPU", backend="triton", precision="32", threads=2)
    figure = accuracy_against_throughput(cells_of(make_record(), make_record(model=MODELS[1], device=gpu)))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a processor", "a GPU"]


def test_the_area_of_a_marker_is_the_memory_and_a_hollow_one_has_none():
    memory = [Memory(peak_bytes=size, counts="resident set") for size in (2**30, 2**28)]
    records = [make_record(task, memory=one) for task, one in zip(("a", "b", "c"), [*memory, None], strict=True)]
    figure = accuracy_against_throughput(cells_of(*records, tasks=("a", "b", "c")))
    points = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert points[0].get_markersize() ** 2 / points[1].get_markersize() ** 2 == pytest.approx(4)
    assert [line.get_markerfacecolor() == "none" for line in points] == [False, False, True]
    assert words_of(figure) == ["HGRN", "1.00 GiB", "256 MiB", "64 MiB"]


def measured(task, scale, model, length, seconds, memory, batch=4):
    """A cell at one length, of a task whose samples all have it."""
    throughput = Throughput(
        samples_per_second=1 / seconds,
        tokens_per_second=length / seconds,
        median_step_seconds=batch * seconds,
        steps_measured=9,
        compile_seconds=0.0,
    )
    return make_record(
        task,
        model,
        scale=scale,
        throughput=throughput,
        memory=Memory(peak_bytes=memory, counts="resident set"),
        config={"model": {"name": model, "layers": 1}, "train": {"batch_size": batch}},
    )


def test_cost_is_drawn_against_length_with_its_exponents():
    lengths = (256, 1024, 4096, 16384)
    keys = [("pathfinder", "s"), ("pathfinder", "m"), ("pathfinder", "l"), ("pathx", "xl")]
    cells = []
    for model, power in zip(MODELS, (1, 2), strict=True):
        for (task, scale), length in zip(keys, lengths, strict=True):
            record = measured(task, scale, model, length, 1e-6 * length**power, 1000 * length)
            cells += make_results([record], tasks=(task,), models=(model,)).cells
    speed, memory = cost_against_length(cells).axes
    np.testing.assert_allclose(speed.lines[0].get_xydata(), [[length, 1e6] for length in lengths])
    np.testing.assert_allclose(speed.lines[1].get_xydata(), [[length, 1e6 / length] for length in lengths])
    np.testing.assert_allclose(memory.lines[1].get_xydata(), [[length, 1000 * length] for length in lengths])
    assert speed.get_xscale() == speed.get_yscale() == memory.get_yscale() == "log"
    assert words_of(speed.figure) == [
        "HGRN: time ∝ L^1.00, memory ∝ L^1.00",
        "Transformer $1$: time ∝ L^2.00, memory ∝ L^1.00",
    ]


def test_a_line_joins_only_what_differs_in_length_alone():
    (one,) = make_results([measured("pathfinder", "s", "HGRN", 256, 1.0, 9)], ("pathfinder",), ("HGRN",)).cells
    for other in (
        measured("pathfinder", "m", "HGRN", 1024, 4.0, 9, batch=8),
        measured("text", "m", "HGRN", 1024, 4.0, 9),
        measured("pathfinder", "m", "HGRN", 256, 1.0, 9),
    ):
        assert cost_against_length([one, *make_results([other], (other.task,), ("HGRN",)).cells]) is None
    assert exponent([1, 10, 100], [3, 30, 3000]) == pytest.approx(1.5)


def test_deviations_stand_over_their_intervals():
    cells = cells_of(make_record("a"), make_record("b"), make_record("b", MODELS[1]), tasks=("a", "b"))
    measured = [cell for cell in cells if cell.records]
    said = [Deviation("above", 0.02, 0.01), Deviation("reproduced", -0.005, 0.01), Deviation("below", -0.03, 0.004)]
    figure = deviation_from_published(list(zip(measured, said, strict=True)), MODELS)
    _, *lines = figure.axes[0].lines
    assert [line.get_ydata().tolist() for line in lines[::2]] == [[-0.01, 0.01], [-0.01, 0.01], [-0.004, 0.004]]
    assert [float(line.get_ydata()[0]) for line in lines[1::2]] == [0.02, -0.005, -0.03]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["a", "b"]
    assert words_of(figure) == list(MODELS)


def test_reliability_is_drawn_with_its_error():
    # 20 at 0.9, of which 14 are right, and 5 at 0.5, too few for a point: |0.7 − 0.9| · 0.8 + |1 − 0.5| · 0.2.
    confidence, right = [0.9] * 20 + [0.5] * 5, [True] * 14 + [False] * 6 + [True] * 5
    figure = reliability_diagram({"HGRN": reliability(confidence, right, bins=10)}, MODELS)
    above, below = figure.axes
    np.testing.assert_allclose(above.lines[1].get_xydata(), [[0.9, 0.7]])
    assert words_of(figure) == ["HGRN, ECE 26.0 %"]
    assert below.patches[0].get_data().values.tolist() == pytest.approx([0, 0, 0, 0, 0.2, 0, 0, 0, 0.8, 0])


def test_the_surest_mistakes_come_first():
    made = make_predictions([0, 1, 1, 0], [0] * 4, [1, 1, 0, 1], fingerprint="f", n_classes=2)
    assert [mistake.index for mistake in mistakes_of(made)] == [0, 2, 3]
    sure = dataclasses.replace(made, confidence=np.array([0.5, 0.99, 0.75, 0.625], np.float16))
    found = mistakes_of(sure, 2)
    assert [(m.index, m.label, m.predicted, m.confidence) for m in found] == [(2, 0, 1, 0.75), (3, 1, 0, 0.625)]
    images = [np.eye(3) * n for n in (1, 2)]
    figure = contact_sheet({"HGRN": list(zip(found, images, strict=True))}, {"HGRN": "2 of 4"}, ("two", "one"))
    axes = figure.subfigs[0].axes
    assert [one.get_title(loc="left") for one in axes[:2]] == ["no. 2\none, 75 %", "no. 3\ntwo, 62 %"]
    np.testing.assert_array_equal(axes[1].images[0].get_array(), images[1])
    assert not axes[2].images


def test_bounds_are_drawn_by_layer():
    record = make_record(lower_bounds=lower_bounds(np.linspace(0, 0.9, 12).reshape(3, 4)))
    (axes,) = lower_bound_profiles(cells_of(record)).axes
    expected = np.linspace(0, 0.9, 12).reshape(3, 4).mean(axis=1)
    np.testing.assert_allclose(axes.lines[0].get_xydata(), np.stack([[1, 2, 3], expected], axis=1))


def test_every_format_is_the_same_for_the_same_figure_and_pdf_embeds_its_fonts():
    first, second = (accuracy_against_throughput(cells_of(make_record())) for _ in range(2))
    for name, start in (("pdf", b"%PDF"), ("png", b"\x89PNG"), ("svg", b"<?xml")):
        content = style.FORMATS[name](first)
        assert content.startswith(start)
        assert content == style.FORMATS[name](second)
    pdf = style.to_pdf(first)
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"Date" not in pdf


def test_the_looks_of_many_models_differ():
    models = [str(number) for number in range(80)]
    assert len({style.look_of(model, models) for model in models}) == len(models)


def settings():
    return {name: mpl.rcParams[name] for name in mpl.rcParams if name != "backend"}  # which reading it decides


def test_figures_leave_matplotlibs_settings_alone():
    before = settings()
    style.to_svg(accuracy_against_throughput(cells_of(make_record())), "x")
    assert settings() == before
