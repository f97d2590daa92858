"""`lra bench scan` over lengths: shapes, who is left out, fitted exponents, plot and files. No time is asserted.

The times of these tests are made up, so that every figure is known.
"""

import functools
import json
import xml.etree.ElementTree as ET

import pytest
import torch

from hgrn_kernels import bench
from hgrn_kernels.bench.turns import Spread
from lra_hgrn.bench import scan_sweep
from lra_hgrn.bench.scan_plot import time_against_length
from lra_hgrn.bench.scan_sweep import COPY, growths, shapes_of, sweep
from lra_hgrn.cli.main import main
from lra_hgrn.errors import UserError
from lra_hgrn.results.figures.style import to_svg_file

CPU = torch.device("cpu")
TORCH = ["plain loop (reference)", "blocked by √L (torch)", "associative_scan (torch)"]
NAMES = ["scan", "scan, real", *TORCH]


def lra(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


def spread(milliseconds):
    return Spread(*[float(milliseconds)] * 4, 1)


def made_row(shape, name, passes, time, copy):
    """A row as `bench.measure` makes it; a text in the place of a time is the reason why there is none."""
    if isinstance(time, str):
        return bench.Row(shape, name, True, passes, 1.0, None, spread(copy), None, time)
    return bench.Row(shape, name, True, passes, 1.0, spread(time), spread(copy), time / copy, "")


def test_shapes_go_from_short_to_long_at_each_batch_and_width():
    assert shapes_of([64, 8, 64], [4, 2], [16, 32]) == [
        (batch, length, width) for batch in (2, 4) for width in (16, 32) for length in (8, 64)
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--lengths", "256", "0"], "--lengths takes whole numbers from 1 on, not 0."),
        (["--batch", "-3"], "--batch takes whole numbers from 1 on, not -3."),
        (["--width", "0"], "--width takes whole numbers from 1 on, not 0."),
        (["--lengths", "2.5"], "Argument --lengths: invalid int value: '2.5'; see `lra bench scan --help`."),
        (["--plot", "scan.jpg"], "--plot scan.jpg: the file's name must end in .pdf, .png or .svg."),
        (["--plot", "/proc/no/scan.svg"], "Cannot write /proc/no/scan.svg: No such file or directory; choose another"),
        (["--plot", "folder.svg"], "Cannot write folder.svg: it is a folder; choose another --plot."),
        (["--lengths", "8", "--json", "/proc/no/scan.json"], "choose another --json."),
        (["--lengths", str(2**50)], "A batch of 4 × 1,125,899,906,842,624 steps × 64 channels takes"),
    ],
)
def test_a_mistake_is_told_before_anything_is_measured(capsys, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.svg").mkdir()
    monkeypatch.setattr(bench, "measure", None)
    code, out, err = lra(capsys, "bench", "scan", "--device", "cpu", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"lra: {sentence}") or err.endswith(f"{sentence}\n")
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["folder.svg"]


def test_interpreted_kernels_are_not_measured(capsys, monkeypatch):
    from lra_hgrn.training import environment

    monkeypatch.setattr(environment, "kernel_backend", lambda device: "triton")
    monkeypatch.setattr(bench, "measure", None)
    code, _, err = lra(capsys, "bench", "scan", "--device", "cpu")
    assert code == 2
    assert err == "lra: Triton's kernels are interpreted on a CPU, and such times say nothing: unset HGRN_BACKEND.\n"


def test_slow_and_too_large_contenders_are_left_out_at_greater_lengths(monkeypatch):
    """The loop is slow backward from 16 steps on, the blocks find no memory at 16, `associative_scan` fails at 8."""
    asked = []

    def measure(shape, device, dtype, *, entered, left_out, repeats, warmup, seconds):
        asked.append((shape, dict(left_out)))
        rows = []
        for one in entered:
            for passes in bench.PASSES:
                time = 1.0
                if one.name == TORCH[0] and passes == "forward+backward" and shape[1] >= 16:
                    time = 1500.0
                if one.name == TORCH[1] and shape[1] == 16:
                    time = "out of memory"
                if one.name == TORCH[2] and shape[1] == 8:
                    time = "failed: must be longer"
                rows.append(made_row(shape, one.name, passes, left_out.get((one.name, passes), time), 1.0))
        return rows

    monkeypatch.setattr(bench, "measure", measure)
    told = []
    shapes = shapes_of([8, 16, 32, 64], [1], [2, 4])
    found = list(sweep(shapes, CPU, lambda done, note: told.append((done, note))))
    assert [rows[0].shape for rows in found] == shapes
    assert told == [*((i, f"1 × {length} × {width}") for i, (_, length, width) in enumerate(shapes)), (8, "")]
    reasons = {
        (TORCH[0], "forward+backward"): "left out: 1.5 s at length 16",
        (TORCH[1], "forward"): "left out: out of memory at length 16",
        (TORCH[1], "forward+backward"): "left out: out of memory at length 16",
    }
    # The reason stays that of the last length; another width starts anew.
    assert asked == [(shape, reasons if shape[1] > 16 else {}) for shape in shapes]
    notes = {row.note for row in found[3] if row.note}
    assert notes == set(reasons.values())


def test_exponents_are_those_of_power_laws():
    """Times of 3 · L^1.5 and 2 · L beside copies of L / 10; a name without any time, and one with a single length."""
    rows = []
    for length in (4, 8, 32):
        for passes, factor in zip(bench.PASSES, (1, 3), strict=True):
            copy = factor * length / 10
            rows += [
                made_row((2, length, 5), "scan, real", passes, factor * 2 * length, copy),
                made_row((2, length, 5), "loop", passes, factor * 3 * length**1.5, copy),
                made_row((2, length, 5), "broken", passes, "failed: no", copy),
                made_row((2, length, 5), "late", passes, 1.0 if length == 8 else "out of memory", copy),
            ]
    grown = growths(rows)
    assert [(one.passes, one.name) for one in grown] == [
        (passes, name) for passes in bench.PASSES for name in ("scan, real", "loop", "broken", "late", COPY)
    ]
    assert {(one.batch, one.width) for one in grown} == {(2, 5)}
    for one in grown:
        exponent = {"scan, real": 1.0, "loop": 1.5, COPY: 1.0}.get(one.name)
        assert one.exponent == (None if exponent is None else pytest.approx(exponent))
        lengths = {"broken": (), "late": (8,)}.get(one.name, (4, 8, 32))
        assert one.lengths == lengths
        assert len(one.milliseconds) == len(one.ratios) == len(lengths)
    real, loop, *_, copies = grown[:5]
    assert real.ratios == pytest.approx([20.0] * 3)
    assert loop.ratios == pytest.approx([30 * length**0.5 for length in (4, 8, 32)])
    assert copies.milliseconds == pytest.approx([0.4, 0.8, 3.2])
    assert copies.ratios == (1.0, 1.0, 1.0)


def test_the_plot_has_a_panel_for_each_pass_and_a_line_for_each_contender():
    rows = [
        made_row((1, length, width), name, passes, time, length)
        for width in (2, 3)
        for length in (4, 16)
        for name, time in (("scan, real", 2 * length), ("loop", length**2), ("broken", "failed: no"))
        for passes in bench.PASSES
    ]
    figure = time_against_length(growths(rows), "a machine")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"{passes}, batch 1, width {width}" for width in (2, 3) for passes in bench.PASSES
    ]
    for axes in figure.axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert list(lines) == ["scan, real: ∝ L^1.00", "loop: ∝ L^2.00", f"{COPY}: ∝ L^1.00"]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == list(lines)
        assert [line.get_linestyle() == "--" for line in lines.values()][-1]
        assert list(lines["loop: ∝ L^2.00"].get_ydata()) == [16, 256]
    assert ET.fromstring(to_svg_file(figure)).tag.endswith("svg")


def test_bench_scan_sweeps_prints_exponents_and_writes_its_files(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "SHAPES", None)  # which are not measured
    monkeypatch.setattr(scan_sweep, "sweep", functools.partial(sweep, repeats=2, warmup=1))
    plot, rows = tmp_path / "new" / "scan.svg", tmp_path / "scan.json"
    words = ["--lengths", "16", "5", "--batch", "2", "--width", "3", "4", "--plot", str(plot), "--json", str(rows)]
    code, out, err = lra(capsys, "bench", "scan", "--device", "cpu", *words)
    assert code == 0
    assert [line for line in err.splitlines() if line.startswith("shapes: ")][-1] == "shapes: 4/4"
    for shape in ("2 × 5 × 3", "2 × 16 × 3", "2 × 5 × 4", "2 × 16 × 4"):
        assert f"batch × length × width: {shape}" in out
    written = json.loads(rows.read_text())
    assert [row["shape"] for row in written["rows"]] == [
        [2, length, width] for width in (3, 4) for length in (5, 16) for _ in range(2 * len(NAMES))
    ]
    assert [(one["width"], one["passes"], one["name"]) for one in written["exponents"]] == [
        (width, passes, name) for width in (3, 4) for passes in bench.PASSES for name in [*NAMES, COPY]
    ]
    lines = [line.split() for line in out.splitlines()]
    for one in written["exponents"]:
        assert one["lengths"] == [5, 16]
        ends = [f"5 {one['ratios'][0]:.2f}", f"16 {one['ratios'][1]:.2f}"]
        row = f"2 × {one['width']} {one['name']} {one['passes']} {one['exponent']:.2f} {' '.join(ends)}"
        assert row.split() in lines
    assert ET.parse(plot).getroot().tag.endswith("svg")
    assert str(plot) in out
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["scan.json", "scan.svg"]  # nothing temporary is left


def test_a_long_reason_leaves_the_figures_whole(capsys, monkeypatch):
    reason = "failed: " + " ".join(["a reason of many words"] * 8)

    def measure(shape, device, dtype, **options):
        return [made_row(shape, "loop", "forward", reason, 1.0), made_row(shape, "scan, real", "forward", 12345.678, 1)]

    monkeypatch.setattr(bench, "measure", measure)
    code, out, _ = lra(capsys, "bench", "scan", "--device", "cpu", "--lengths", "7", "--batch", "1", "--width", "2")
    assert code == 0
    assert "…" not in out
    assert ["scan,", "real", "forward", "12345.678", "12345.678", "12345.678", "12345.678", "1.000", "12345.68"] in [
        line.split() for line in out.splitlines()
    ]


def test_one_length_has_no_exponent(capsys, monkeypatch):
    monkeypatch.setattr(scan_sweep, "sweep", functools.partial(sweep, repeats=1, warmup=1))
    code, out, _ = lra(capsys, "bench", "scan", "--device", "cpu", "--lengths", "7", "--batch", "1", "--width", "2")
    assert code == 0
    ends = [line.split()[-5:] for line in out.splitlines() if line.lstrip().startswith("1 × 2 ")]
    assert len(ends) == 2 * (len(NAMES) + 1)
    assert all(a == "–" and shortest == longest == "7" for a, shortest, _, longest, _ in ends)


def test_no_memory_size_refuses_nothing():
    shapes = [(1, 2**40, 1), (1, 1, 1)]
    scan_sweep.check_memory(shapes, torch.float32, None)
    with pytest.raises(UserError, match="choose a smaller --batch, --width or --lengths"):
        scan_sweep.check_memory(shapes, torch.float32, 2**40)
    scan_sweep.check_memory(shapes[1:], torch.float32, 2**40)
