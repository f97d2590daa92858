"""The disk fails a run: full, read-only, or its folders are taken away. One sentence, nothing half-written, and on."""

import contextlib
import csv
import os
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import toy_task
from interrupted_mixer import Interrupted

from lra_hgrn.cli.main import main
from lra_hgrn.results.files import CHECKPOINTS, write_whole
from lra_hgrn.results.record import load_record
from lra_hgrn.training.checkpoints import load_checkpoint

HERE = Path(__file__).parent
WORDS = (
    "interrupted_mixer.Interrupted",
    "toy.yaml",
    *("train.accelerator=cpu", "train.epochs=2", "train.batch_size=16", "train.log_every=2"),
    *("model.layers=1", "model.d_model=8", "model.dropout=0.1", "optim.warmup_steps=4"),
)
STEPS = 10  # of an epoch


@contextlib.contextmanager
def unlimited():
    """Take back, at the end, whatever limit of a file's size has been set."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def full_beyond(size):
    """Let every write behind this byte of a file fail, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a user's folder with the data prepared and a run that nothing disturbed, in `whole`."""
    home = tmp_path_factory.mktemp("home")
    (home / "toy.yaml").write_text(f"task: {{name: toy_task.Toy, data_dir: {home / 'data'}}}\n")
    with contextlib.chdir(home), pytest.raises(SystemExit) as stop:
        main(["train", *WORDS, "--output", "whole"])
    assert not stop.value.code
    return home


@pytest.fixture
def train(home, capsys, monkeypatch):
    """Return a function that trains into the folder `parts` with things that happen: exit code and standard error."""
    monkeypatch.chdir(home)
    monkeypatch.setattr(Interrupted, "at", {})
    shutil.rmtree(home / "parts", ignore_errors=True)

    def run(*words, at=None, output="parts"):
        Interrupted.at, Interrupted.step = at or {}, 0
        with unlimited(), pytest.raises(SystemExit) as stop:
            main(["train", *WORDS, *words, "--output", str(output)])
        return stop.value.code or 0, capsys.readouterr().err

    return run


def outcome(run):
    with (run / "metrics.csv").open() as file:
        metrics = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    return metrics, (run / "predictions.npz").read_bytes(), load_record(run / "record.json").scores


def assert_one_sentence(code, err, *words):
    assert code == 2, err
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("lra: ")
    assert [word for word in words if word not in last] == [], last


def assert_nothing_half(run):
    assert not [path for path in run.rglob("*") if path.suffix == ".tmp"]
    assert not (run / "progress.json").exists()
    for name in CHECKPOINTS:
        if (run / name).exists():
            load_checkpoint(run / name)
    if (run / "record.json").exists():
        load_record(run / "record.json")


def assert_goes_on(train, home):
    code, err = train("--resume")
    assert code == 0, err
    assert outcome(home / "parts") == outcome(home / "whole")
    assert_nothing_half(home / "parts")


@pytest.mark.parametrize("step", [1, STEPS + 1])
@pytest.mark.parametrize("size", [150, 2_000, 30_000])  # metrics.csv, the best checkpoint, the last one
def test_a_disk_full_in_training(train, home, size, step):
    code, err = train(at={step: lambda: full_beyond(size)})
    assert_one_sentence(code, err, "File too large", "mend this and add --resume")
    assert_nothing_half(home / "parts")
    assert not (home / "parts" / "record.json").exists()
    assert (home / "parts" / "last.ckpt").exists() == (step > STEPS)
    assert_goes_on(train, home)


@pytest.mark.parametrize(("size", "there"), [(30, False), (600, False), (2_500, True)])  # progress, predictions, record
def test_a_disk_full_at_the_end(train, home, monkeypatch, size, there):
    original = toy_task.Toy.test_dataloader

    def test_dataloader(self):
        full_beyond(size)
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(toy_task.Toy, "test_dataloader", test_dataloader)
        code, err = train()
    assert_one_sentence(code, err, "File too large", "mend this and add --resume")
    assert_nothing_half(home / "parts")
    assert (home / "parts" / "predictions.npz").exists() == there
    assert not (home / "parts" / "record.json").exists()
    assert_goes_on(train, home)


def test_a_disk_full_at_the_start_leaves_no_run(train, home):
    with unlimited():
        full_beyond(400)
        code, err = train()
    assert_one_sentence(code, err, "File too large")
    assert_nothing_half(home / "parts")
    assert not (home / "parts" / "config.yaml").exists()
    assert train()[0] == 0  # without --resume, as there is no run
    assert outcome(home / "parts") == outcome(home / "whole")


def test_the_data_are_removed_during_the_run(train, home):
    def remove():
        shutil.rmtree(home / "data")

    code, err = train(at={3: remove})
    assert code == 0, err
    assert outcome(home / "parts") == outcome(home / "whole")
    shutil.rmtree(home / "parts")
    code, err = train(at={3: remove, STEPS + 3: lambda: full_beyond(150)})
    assert_one_sentence(code, err, "--resume")
    assert not (home / "data").exists()
    assert_goes_on(train, home)


@pytest.mark.parametrize("step", [2, STEPS, STEPS + 3, 2 * STEPS])
def test_the_run_is_removed_while_it_goes_on(train, home, step):
    code, err = train(at={step: lambda: shutil.rmtree(home / "parts")})
    assert_one_sentence(code, err, "parts was removed")
    assert not (home / "parts").exists()
    assert train()[0] == 0
    assert outcome(home / "parts") == outcome(home / "whole")


def test_the_run_is_removed_while_it_is_tested(train, home, monkeypatch):
    original = toy_task.Toy.test_dataloader

    def test_dataloader(self):
        shutil.rmtree(home / "parts")
        return original(self)

    monkeypatch.setattr(toy_task.Toy, "test_dataloader", test_dataloader)
    code, err = train()
    assert_one_sentence(code, err, "parts was removed")
    assert not (home / "parts").exists()


def test_a_damaged_store_is_said_before_training(train, home):
    (labels,) = home.glob("data/toy/*/test-labels.npy")
    whole = labels.read_bytes()
    try:
        for damaged in (whole[:-8], b"\xff" * len(whole), whole[:-8] + bytes([9, 0, 0, 0, 0, 0, 0, 0])):
            labels.write_bytes(damaged)
            code, err = train()
            assert_one_sentence(code, err, str(labels.parent), "delete that folder and prepare it again")
            assert not (home / "parts" / "config.yaml").exists()
    finally:
        labels.write_bytes(whole)


@pytest.mark.parametrize("place", ["file/run", "/proc/nowhere/run"])
def test_a_folder_that_cannot_be_made(train, home, place):
    (home / "file").touch()
    code, err = train(output=place)
    assert_one_sentence(code, err, f"Cannot write to {place}", "choose another --output")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder(train, home):
    (home / "parts").mkdir()
    (home / "parts").chmod(0o500)
    try:
        code, err = train()
        assert_one_sentence(code, err, "Cannot write to parts", "Permission denied")
    finally:
        (home / "parts").chmod(0o700)


SCRIPT = """
set -eu
mkdir fixed disk
mount -t tmpfs -o size=4k,ro none fixed
"$@" --output fixed/run || echo "read-only: $?"
mount -t tmpfs -o size=240k none disk
head -c 160k /dev/zero > disk/something
"$@" --output disk/run || echo "full: $?"
ls -A disk/run
rm disk/something
"$@" --output disk/run --resume
cp -r disk/run copy
"""


def test_a_real_disk_read_only_and_another_full_then_not(home, tmp_path):
    alone = ["unshare", "-Urm", "sh", "-c"]  # a user's own view of the file systems, where mounting is allowed
    probe = [*alone, 'mount -t tmpfs none "$0" && "$1" -c pass', tmp_path, sys.executable]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets no user mount a file system")
    shutil.copy(home / "toy.yaml", tmp_path)
    command = [sys.executable, "-m", "lra_hgrn", "train", *WORDS]
    done = subprocess.run(
        [*alone, SCRIPT, "sh", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in done.stderr
    assert "lra: Cannot write to fixed/run: Read-only file system; choose another --output.\n" in done.stderr
    assert "lra: The run stopped: [Errno 28] No space left on device" in done.stderr
    lines = done.stdout.splitlines()
    full = lines.index("full: 2")
    assert lines[full - 1] == "read-only: 2"
    assert not [name for name in lines[full:] if name.endswith(".tmp") or name in ("progress.json", "record.json")]
    assert outcome(tmp_path / "copy") == outcome(home / "whole")


def test_writers_of_one_file_do_not_meet(tmp_path):
    """Threads of one process write a file at once, as processes of one number on two hosts may."""
    contents = [str(number) * 20_000 for number in range(4)]

    def write(content):
        for _ in range(20):
            write_whole(tmp_path / "file", content)

    threads = [threading.Thread(target=write, args=[content]) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "file").read_text() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch, function):
    """Quotas of network file systems are told when a file is synced."""
    write_whole(tmp_path / "file", "before")

    def refuse(*args):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(OSError, match="quota"):
        write_whole(tmp_path / "file", "after")
    assert (tmp_path / "file").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, original=original: (done.append(name), original(*args)))
    write_whole(tmp_path / "file", np.arange(10).tobytes())
    assert done == ["fsync", "replace"]
