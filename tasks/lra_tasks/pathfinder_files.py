"""Pathfinder's original files: images as PNG, and what is known of them line by line.

``curv_contour_length_14/imgs/<k>/sample_<i>.png`` and ``curv_contour_length_14/metadata/<k>.npy``, which is plain text
despite its name. Fields of a line: subpath, file name, index, label, continuity, contour length, distractor length,
paddle length, paddle thickness, margin, number of contrasts.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lra_tasks.archive import Member
from lra_tasks.errors import TaskError
from lra_tasks.original import decoded
from lra_tasks.pathfinder_parameters import PathfinderParameters
from lra_tasks.pixels import decode_image

FOLDER = "curv_contour_length_14"
_FILE = re.compile(rf"(?:(?:^|/)pathfinder(\d+)/)?{FOLDER}/(?:(imgs/\d+/[^/]+\.png)|metadata/(\d{{1,9}})\.npy)$")
_LARGEST = 1 << 24  # bytes of a member
_PER_FOLDER = 1_000  # images


def others(side: int) -> str:
    """Return a regular expression of the release's folders that hold nothing of the images of this side."""
    return rf"pathfinder(?!{side}$)\d+|curv_baseline|curv_contour_length_9|listops-\d+|tsv_data"


def read_files(
    members: Iterator[Member], side: int, spool: Path, where: str, published: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Read all images into a file, and find their order.

    Args:
        members: of an archive or folder, in any order.
        side: height and width of the images.
        spool: file that is made and filled, side² bytes an image.
        where: name of the archive for messages.
        published: number of images after which the rest of an archive is not waited for.

    Returns:
        (n,) int64 places of the images in the file, in the order of metadata file and line, and (n,) int64 labels.

    Raises:
        TaskError: an image is empty or unreadable, a line malformed, a label not 0 or 1, an image missing.
    """
    places: dict[str, int] = {}
    lines: dict[int, list[tuple[str, int]]] = {}
    known = 0
    with spool.open("wb") as file:
        for member in members:
            match = _FILE.search(member.name)
            if match is None or match[1] not in (None, str(side)):
                continue
            what = f"{member.name} in {where}"
            if match[2]:
                file.write(decode_image(member.read(_LARGEST), side, "L", what).tobytes())
                places[match[2]] = len(places)
            else:
                lines[int(match[3])] = _metadata(decoded(member.read(_LARGEST), what), what)
                known += len(lines[int(match[3])])
            if published is not None and len(places) == known == published:
                break
    ordered = [line for number in sorted(lines) for line in lines[number]]
    if not ordered:
        raise TaskError(
            f"{where} has no pathfinder{side}/{FOLDER}/metadata/*.npy: give the released archive or its folder "
            f"pathfinder{side}."
        )
    missing = next((name for name, _ in ordered if name not in places), None)
    if missing is not None:
        raise TaskError(f"The image {FOLDER}/{missing} is not in {where}, though the metadata name it; give all of it.")
    return np.array([places[name] for name, _ in ordered]), np.array([label for _, label in ordered])


def _metadata(text: str, where: str) -> list[tuple[str, int]]:
    """Return (path below the folder, label) of each line."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if len(fields) < 4 or fields[3] not in ("0", "1"):
            raise TaskError(f"{where}, line {number}: expected subpath, file name, index and a label of 0 or 1.")
        found.append((f"{fields[0]}/{fields[1]}", int(fields[3])))
    return found


def write_files(path: Path, parameters: PathfinderParameters, parts: Iterator[tuple[np.ndarray, np.ndarray]]) -> None:
    """Write images (n, H, W) uint8 and labels (n,), part by part, as a tar of the original files."""
    from PIL import Image

    p = parameters
    root = f"pathfinder{p.window}/{FOLDER}"
    about = f"{p.continuity} {p.contour_length} {p.distractor_length} {p.paddle_length} {p.paddle_thickness}"
    lines: dict[int, list[str]] = {}
    number = 0
    with tarfile.open(path, "w") as tar:
        for images, labels in parts:
            for image, label in zip(images, labels.tolist(), strict=True):
                k, i = divmod(number, _PER_FOLDER)
                png = io.BytesIO()
                Image.fromarray(image).save(png, "PNG")
                _add(tar, f"{root}/imgs/{k}/sample_{i}.png", png.getvalue())
                line = f"imgs/{k} sample_{i}.png {i} {label} {about} {p.margins[0]} 1"
                lines.setdefault(k, []).append(line)
                number += 1
        for k, known in lines.items():
            _add(tar, f"{root}/metadata/{k}.npy", "".join(f"{line}\n" for line in known).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
