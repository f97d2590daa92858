"""Original files by hand: what the archives of the tasks look like, in small."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return path


def cifar_batch(pixels: np.ndarray, labels: list[int]) -> bytes:
    """A pickled batch of images (n, 32, 32, 3)."""
    planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    names = [f"{number}.png".encode() for number in range(len(labels))]
    batch = {b"batch_label": b"a batch", b"labels": labels, b"data": planes, b"filenames": names}
    return pickle.dumps(batch, protocol=2)
