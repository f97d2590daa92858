"""Cells on a Ray cluster: a real one of three nodes, one of which is lost; and files that are sent back."""

import json
import os
import subprocess
import sys

import pytest
from filelock import FileLock
from small_runs import make_run
from small_sweeps import (
    HERE,
    assert_stops,
    begins_of,
    ended,
    finishes_of,
    in_training,
    make_home,
    parent,
    start,
    until,
    worker,
)

from lra_hgrn.errors import BUSY, UserError
from lra_hgrn.results.files import LOCK
from lra_hgrn.results.record import load_record
from lra_hgrn.suite import load_suite
from lra_hgrn.sweep import errand, process
from lra_hgrn.sweep.errand import Answer, receive


class Cluster:
    """What `ray_cluster.py` started."""

    def __init__(self, process):
        self.process = process
        self.address, *daemons = process.stdout.readline().split()
        self.daemons = list(map(int, daemons))

    def node_of(self, process):
        """Return the process id of the daemon that started a process."""
        while process not in self.daemons:
            process = parent(process)
        return process

    def lose(self, daemon):
        print(daemon, file=self.process.stdin, flush=True)


@pytest.fixture
def cluster():
    pytest.importorskip("ray", reason="the extra ray is not installed")
    command = [sys.executable, str(HERE / "ray_cluster.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield Cluster(process)


@pytest.mark.slow
def test_a_node_is_lost_and_no_cell_is(cluster, tmp_path):
    home = make_home(tmp_path, seeds=2)
    runs = home / "results" / "runs"
    with start(home, "sweep", "slow.yaml", "--launcher", "ray", "--address", cluster.address) as sweep:
        until(lambda: len(in_training(runs)) == 2, sweep)  # side by side, on two nodes
        lost, other = in_training(runs)
        nodes = [cluster.node_of(worker(run)) for run in (lost, other)]
        assert sorted(nodes) == sorted(cluster.daemons)
        cluster.lose(nodes[0])
        code, out, err = ended(sweep)
    assert (code, out) == (0, ""), err
    assert err.count("test accuracy") == 2
    assert sorted(load_record(path).seed for path in runs.glob("*/record.json")) == [1, 2]
    assert [finishes_of(run) for run in (lost, other)] == [1, 1]
    assert "stopping after this step" in (lost / "log.txt").read_text()  # its process did not outlive the node
    assert begins_of(lost)[0] == 0 < begins_of(lost)[-1]
    assert not list((runs / ".sweep").glob("*.token"))


@pytest.mark.slow
def test_a_stopped_sweep_stops_its_cells(cluster, tmp_path):
    assert_stops(make_home(tmp_path, seeds=1), "--launcher", "ray", "--address", cluster.address)


# -- without a shared file system


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("LRA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(make_home(tmp_path, seeds=1))
    return tmp_path


def test_a_run_is_sent_back_where_the_runs_are_not_seen(home):
    (job,) = load_suite("slow.yaml", ["model.kwargs.wait=0", "train.epochs=1"]).jobs
    directory = job.directory(home / "runs")
    told = errand.errand((job.model, job.task, *job.words), directory, home / "runs" / "token", "a secret")
    answer = errand.run(told, {}, process.follow)
    assert answer.code == 0
    assert not directory.exists()
    assert not list((home / "cache").glob("lra-hgrn/cells/*"))  # nothing is left on the node
    assert receive(answer, directory) == 0
    assert sorted(path.name for path in directory.iterdir() if path.name != LOCK) == [
        "config.yaml",
        "log.txt",
        "metrics.csv",
        "predictions.npz",
        "record.json",
    ]
    assert load_record(directory / "record.json").scores is not None
    assert finishes_of(directory) == 1
    assert [path.name for path in (home / "runs").iterdir()] == [directory.name]
    (home / "runs" / "token").write_text("a secret")  # seen now: it works in place, and finds that all is done
    assert errand.run(told, {}, process.follow) == Answer(0, answer.host)


def packed(folder):
    """Return what a node would answer that had trained a run."""
    return errand._packed(0, "a node", folder)


def test_what_comes_back_is_checked(tmp_path):
    run = make_run(tmp_path / "there", seed=1)
    name = run.name
    (run / "log.txt").write_text("a line\n")
    good = packed(run)
    assert not run.exists()
    with pytest.raises(UserError, match="and not another-cell"):
        receive(good, tmp_path / "here" / "another-cell")
    with pytest.raises(UserError, match="cannot be read"):
        receive(Answer(0, "a node", good.archive[:100], b""), tmp_path / "here" / name)
    assert not (tmp_path / "here" / name / "record.json").exists()
    bad = make_run(tmp_path / "there", seed=2)
    record = json.loads((bad / "record.json").read_text())
    record["scores"]["best"]["correct"] += 1
    (bad / "record.json").write_text(json.dumps(record))
    answer = packed(bad)
    assert answer.archive is None
    assert bad.exists()
    with pytest.raises(UserError, match="correct of 40 in the record"):
        receive(answer, tmp_path / "here" / bad.name)
    assert receive(good, tmp_path / "here" / name) == 0
    assert (tmp_path / "here" / name / "log.txt").read_text() == "a line\n"


def test_a_run_that_is_there_stays(tmp_path):
    run = make_run(tmp_path / "there", seed=1)
    answer = packed(run)
    here = make_run(tmp_path / "here", seed=1)
    before = (here / "record.json").read_bytes()
    os.remove(here / "metrics.csv")
    assert receive(answer, here) == 0
    assert (here / "record.json").read_bytes() == before
    assert not (here / "metrics.csv").exists()
    with FileLock(here / LOCK):
        assert receive(answer, here) == BUSY


def test_no_cluster_is_one_sentence(home):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    for address, reason in (("127.0.0.1:1", "Connection refused"), ("somewhere", "an address is HOST:PORT")):
        with start(home, "sweep", "slow.yaml", "--launcher", "ray", "--address", address) as sweep:
            code, _, err = ended(sweep)
        assert code == 2
        assert len(err.splitlines()) == 1
        assert reason in err
        assert "`ray start --head` starts one" in err
