"""Pathfinder's original files: order, splits, miniatures, and what is wrong with other files."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from originals import write_folder, write_tar
from PIL import Image

from lra_tasks import TaskError, cards
from lra_tasks.pathfinder import Pathfinder, PathfinderScale
from lra_tasks.pathfinder_parameters import PRESETS

COUNT = 20


class Small(Pathfinder):
    card = replace(cards.PATHFINDER, train=16, val=2, test=2)
    scales = {"full": PathfinderScale(16, 2, 2, PRESETS[32]), "tiny": PathfinderScale(40, 5, 5, PRESETS[16])}


def png(value, side=32):
    data = io.BytesIO()
    Image.fromarray(np.full((side, side), value, np.uint8)).save(data, "PNG")
    return data.getvalue()


def files(root="pathfinder32/curv_contour_length_14", **changes):
    """Image number n is of gray n, its label n % 2; folders 2 and 10 hold ten each, the lines in falling order."""
    made = {}
    for k, first in ((2, 0), (10, 10)):
        lines = []
        for i in range(10):
            made[f"imgs/{k}/sample_{i}.png"] = png(first + i)
            lines.append(f"imgs/{k} sample_{i}.png {i} {(first + i) % 2} 1.0 14 4 2 0.5 1 1\n")
        made[f"metadata/{k}.npy"] = "".join(reversed(lines)).encode()
    made |= changes
    return {f"{root}/{name}": data for name, data in made.items() if data is not None}


ORDER = [*reversed(range(10)), *reversed(range(10, 20))]  # folder 2 before folder 10, lines as they stand


def prepared(tmp_path, path=None, **options):
    task = Small(data_dir=tmp_path / "data", source="official", **options)
    task.prepare_data(origin=path or write_tar(tmp_path / "lra_release.gz", files()))
    task.setup()
    return task


def numbers(task):
    """Numbers of the images of each split, in order."""
    found = []
    for split in ("train", "val", "test"):
        stored = task.split(split)
        images = stored.tokens.reshape(len(stored), -1)
        assert (images == images[:, :1]).all()
        assert (images[:, 0] % 2 == stored.labels).all()
        found.append(images[:, 0].tolist())
    return found


def test_protocol_s4_is_torchs_random_split(tmp_path):
    parts = torch.utils.data.random_split(ORDER, [16, 2, 2], generator=torch.Generator().manual_seed(42))
    assert numbers(prepared(tmp_path)) == [list(part) for part in parts]


def test_protocol_google_takes_the_first_80_percent(tmp_path):
    task = prepared(tmp_path, protocol="google")
    assert numbers(task) == [ORDER[:16], ORDER[16:18], ORDER[18:]]
    batch = next(iter(task.test_dataloader()))
    assert batch.inputs.dtype == torch.int64
    assert batch.inputs[:, 0].tolist() == ORDER[18:]
    assert task.spec.vocab_size == 256


@pytest.mark.parametrize("layout", ["release", "resolution", "folder", "archive of the folder"])
def test_every_layout_gives_the_same_samples(tmp_path, layout):
    other_size = {"lra_release/pathfinder64/curv_contour_length_14/imgs/2/sample_0.png": png(9, 64)}
    content = {f"lra_release/{name}": data for name, data in files().items()}
    folder = write_folder(tmp_path / "x", {**content, **other_size})
    path = {
        "release": folder,
        "resolution": folder / "lra_release" / "pathfinder32",
        "folder": folder / "lra_release" / "pathfinder32" / "curv_contour_length_14",
    }.get(layout) or write_tar(tmp_path / "y.tar", files("curv_contour_length_14"), "w")
    (tmp_path / "1").mkdir()
    assert prepared(tmp_path / "2", path).fingerprint == prepared(tmp_path / "1").fingerprint


def test_an_archive_in_any_order_gives_the_same_samples(tmp_path):
    path = write_tar(tmp_path / "y.tar", dict(reversed(files().items())), "w")
    (tmp_path / "1").mkdir()
    assert prepared(tmp_path / "2", path).fingerprint == prepared(tmp_path / "1").fingerprint


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"imgs/2/sample_3.png": b""}, r"sample_3\.png in .* is empty"),
        ({"imgs/2/sample_3.png": None}, r"curv_contour_length_14/imgs/2/sample_3\.png is not in"),
        ({"imgs/2/sample_3.png": png(3, 16)}, r"has \(16, 16\) pixels"),
        ({"metadata/10.npy": None}, r"has 10 images where 20 are needed"),
        ({"metadata/2.npy": None, "metadata/10.npy": None}, r"has no pathfinder32/curv_contour_length_14/metadata"),
        ({"metadata/2.npy": b"imgs/2 sample_0.png 0 2 1.0\n"}, r"metadata/2\.npy in .*, line 1: expected"),
        ({"metadata/2.npy": b"imgs/2\n"}, r"line 1: expected"),
        ({"metadata/2.npy": b"\xff\n"}, r"not UTF-8"),
    ],
)
def test_other_files_are_one_sentence_and_leave_nothing(tmp_path, changes, complaint):
    with pytest.raises(TaskError, match=complaint) as caught:
        prepared(tmp_path, write_tar(tmp_path / "a.tar", files(**changes), "w"))
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "data" / "pathfinder").iterdir() if path.suffix != ".lock"] == []


def test_official_files_are_of_one_scale(tmp_path):
    with pytest.raises(TaskError, match=r"not of scale tiny: set task\.scale=full"):
        prepared(tmp_path, scale="tiny")


def test_a_miniature_holds_the_generated_images_in_the_original_files(tmp_path):
    tasks = {}
    for source in ("generated", "mini"):
        tasks[source] = Small(scale="tiny", source=source, data_dir=tmp_path, protocol="google")
        tasks[source].prepare_data()
        tasks[source].setup()
    # Protocol google keeps the order of the files; the miniature is cut 40 / 5 / 5 as the scale says.
    assert tasks["mini"].fingerprint == tasks["generated"].fingerprint
    assert tasks["mini"].rule_departures == ["The data is a generated miniature of the task."]
    assert tasks["generated"].rule_departures == []
