"""Contact sheets, trees in the terminal, and the speed rows."""

import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from lra_tasks import TaskError, get_task
from lra_tasks.bench import bench_generators, bench_loader
from lra_tasks.listops import ListOps, ListOpsScale
from lra_tasks.listops_text import Grammar, from_nested, parse
from lra_tasks.pathfinder import Pathfinder, PathfinderScale
from lra_tasks.pathfinder_parameters import PRESETS
from lra_tasks.show import contact_sheet, expression_tree, text_samples


class FewExpressions(ListOps):
    scales = {"full": ListOpsScale(40, 10, 10, Grammar(0.4, 4, 3, 5, 30))}


class FewImages(Pathfinder):
    scales = {"full": PathfinderScale(10, 2, 2, PRESETS[16])}


def ready(cls, folder):
    task = cls(data_dir=folder, batch_size=16)
    task.prepare_data()
    task.setup()
    return task


def printed(renderable) -> str:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def test_contact_sheet_shows_the_images(tmp_path):
    task = ready(FewImages, tmp_path / "data")
    contact_sheet(task, tmp_path / "sheet.png", 4, offset=6)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * 128 + 2 * 14 + 3 * 6, 2 * 128 + 3 * 6)
    second = sheet[6 : 6 + 128 : 8, 140 : 140 + 128 : 8]  # every 8th pixel: images are 8 times enlarged
    assert second.ravel().tolist() == task.split("train")[7][0][0].tolist()
    assert {path.name for path in tmp_path.iterdir()} == {"data", "sheet.png"}
    with pytest.raises(TaskError, match="numbers 0 to 9"):
        contact_sheet(task, tmp_path / "sheet.png", 4, offset=10)
    with pytest.raises(TaskError, match="another path"):
        contact_sheet(task, tmp_path / "none" / "sheet.png")
    with pytest.raises(TaskError, match="values and no text"):
        next(text_samples(task))


def test_expressions_are_shown_with_their_values(tmp_path):
    tree = parse(from_nested("[MAX 2 [MIN 4 7 ] 0 [SM 8 [MED 1 2 ] ] ]"))
    assert printed(expression_tree(tree)) == (
        "MAX 2 (4) 0 (9) = 9\n├── MIN 4 7 = 4\n└── SM 8 (1) = 9\n    └── MED 1 2 = 1\n"
    )
    assert printed(expression_tree(tree, levels=1)) == "MAX 2 (4) 0 (9) = 9\n└── …\n"
    task = ready(FewExpressions, tmp_path)
    shown = list(text_samples(task, 2, split="val", offset=3))
    assert len(shown) == 2
    (sample,), label = task.split("val")[3]
    assert shown[0][0] == f"val 3: label {label}, {len(sample)} steps"
    assert printed(shown[0][1][0]).splitlines()[0].endswith(f"= {label}")
    with pytest.raises(TaskError, match="as text"):
        contact_sheet(task, tmp_path / "sheet.png")


def test_speed_rows(tmp_path):
    rows = bench_generators(seconds=0.05)
    assert [row.speedup is None for row in rows] == [True, False, False]
    assert all(row.rate > 0 for row in rows)
    assert rows[1].speedup == pytest.approx(rows[1].rate * 0.49)
    assert bench_loader(ready(FewExpressions, tmp_path), seconds=0.05).rate > 0


def test_symbols_are_those_of_the_protocol(tmp_path):
    ids = {"s4": [14, 5, 17, 2], "google": [12, 3, 15, 16]}
    for protocol, last in (("s4", "<eos>"), ("google", "<unk>")):
        task = ListOps(scale="tiny", protocol=protocol, data_dir=tmp_path)
        assert task.symbols(np.array(ids[protocol])) == ["[MAX", "2", "]", last]
    text = get_task("text")(scale="tiny", protocol="google", source="mini", data_dir=tmp_path)
    assert text.symbols(np.frombuffer(b"A\n\x00", np.uint8).astype(int) + 1) == ["A", "\n", "\x00"]
    image = get_task("image")(protocol="google")
    assert image.symbols(np.array([3, 255])) == ["3", "255"]
    assert image.render(np.array([3, 255])) == "3 255"


def test_symbols_of_a_document_are_its_text(tmp_path):
    text = get_task("text")(scale="tiny", source="mini", data_dir=tmp_path)
    text.prepare_data()
    text.setup()
    (document,), _ = text.split("test")[0]
    assert "".join(text.symbols(document)[:-1]) == str(text.render(document)).removesuffix("<eos>")
    assert text.symbols(document)[-1] == "<eos>"
