"""Cells as jobs: submitit's local jobs in the place of Slurm's, sent back into the queue in the same way."""

import os
import signal

import pytest
from small_sweeps import (
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

from lra_hgrn.errors import UserError
from lra_hgrn.sweep.on_slurm import Cell, OnSlurm, parameters

SLURM = ("--launcher", "slurm", "--slurm", "cluster=local")


@pytest.fixture(autouse=True)
def installed():
    pytest.importorskip("submitit", reason="the extra slurm is not installed")


@pytest.mark.slow
def test_a_job_that_is_preempted_goes_on(tmp_path):
    home = make_home(tmp_path, seeds=2)
    runs = home / "results" / "runs"
    with start(home, "sweep", "slow.yaml", *SLURM) as sweep:
        until(lambda: len(in_training(runs)) == 2, sweep)
        first, second = in_training(runs)
        os.kill(parent(worker(first)), signal.SIGUSR2)
        code, out, err = ended(sweep)
    assert (code, out) == (0, ""), err
    assert err.count("test accuracy") == 2
    assert [finishes_of(run) for run in (first, second)] == [1, 1]
    assert "stopping after this step" in (first / "log.txt").read_text()
    assert begins_of(first)[0] == 0 < begins_of(first)[-1]
    assert begins_of(second).count(0) == 1
    assert not list((runs / ".sweep" / "slurm").iterdir())  # submitit's files are gone


@pytest.mark.slow
def test_a_stopped_sweep_cancels_its_jobs(tmp_path):
    assert_stops(make_home(tmp_path, seeds=1), *SLURM)


def test_what_goes_on_is_the_same_cell_without_its_process(tmp_path):
    again = Cell(("hgrn", "listops"), tmp_path).checkpoint().function
    assert (again.words, again.directory) == (("hgrn", "listops"), tmp_path)


def test_parameters():
    assert parameters(["partition=gpu", "mem_gb=1.5", "gpus_per_node=1", 'setup=["a", "b"]']) == {
        "partition": "gpu",
        "mem_gb": 1.5,
        "gpus_per_node": 1,
        "setup": ["a", "b"],
    }
    for word in ("partition", "=gpu", "a b=1"):
        with pytest.raises(UserError, match="takes key=value"):
            parameters([word])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"cluster": "aws"}, "cluster=aws is unknown: it is slurm or local"),
        ({"cluster": "local", "partitoin": "gpu"}, "Unknown argument 'partitoin'"),
        ({"cluster": "local", "timeout_min": "long"}, "timeout_min"),
        ({}, "There is no Slurm here"),
    ],
)
def test_wrong_parameters_are_one_sentence(tmp_path, monkeypatch, given, sentence):
    monkeypatch.setenv("PATH", str(tmp_path))  # no srun, wherever this runs
    with pytest.raises(UserError, match=sentence) as raised, OnSlurm(tmp_path, given, 3):
        pass
    assert "\n" not in str(raised.value)


def test_the_time_limit_is_a_day_unless_another_is_given(tmp_path):
    for given, limit in (({}, 1440), ({"timeout_min": 60}, 60)):
        with OnSlurm(tmp_path, {"cluster": "local", **given}, 3) as launcher:
            assert launcher._executor.parameters["timeout_min"] == limit
