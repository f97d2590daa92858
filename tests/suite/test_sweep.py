"""What a sweep does with cells, without training any: a launcher of the tests' own says how each ends."""

import dataclasses
import threading

import pytest
from filelock import FileLock
from small_runs import make_run
from small_sweeps import ended, make_home, start

from lra_hgrn.errors import BUSY, Stopped, UserError
from lra_hgrn.results.cells import collect
from lra_hgrn.results.files import LOCK
from lra_hgrn.results.record import load_record
from lra_hgrn.suite import FURTHER, load_suite
from lra_hgrn.sweep.cells import missing
from lra_hgrn.sweep.claims import claim
from lra_hgrn.sweep.launcher import STOPPED, Ended
from lra_hgrn.sweep.sweep import sweep

SUITE = """
title: Test
seeds: SEEDS
set: {task: {scale: tiny}}
cells: [{model: hgrn, task: listops}]
"""


def make_suite(tmp_path, *seeds):
    (tmp_path / "mine.yaml").write_text(SUITE.replace("SEEDS", str(list(seeds))))
    return load_suite(str(tmp_path / "mine.yaml"))


def make(job, runs, status="finished"):
    """Write a run of a job as if it had ended so."""
    folder = make_run(runs, config=job.config)
    record = load_record(folder / "record.json")
    lost = status not in ("finished", "chance", "stopped")
    dataclasses.replace(record, status=status, **({"scores": None, "chance": None} if lost else {})).save(folder)


class Told:
    """A launcher in which a run ends as it is told: by seed, the codes or statuses of one try after the other."""

    at_once = True

    def __init__(self, runs, endings, retries=0):
        self.runs, self.endings, self.retries = runs, endings, retries
        self.started, self.over, self.stopped = [], [], False

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def has_room(self):
        return not self.over

    def start(self, job, directory):
        self.started.append(job.config.seed)
        ending = self.endings.get(job.config.seed, ["finished"]).pop(0)
        if isinstance(ending, str):
            make(job, self.runs, ending)
            ending = 0 if ending in ("finished", "chance") else 1
        self.over.append(ending if isinstance(ending, Ended) else Ended(job.name, ending))

    def ended(self):
        over, self.over = self.over, []
        return over

    def stop(self):
        self.stopped = True


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("lra_hgrn.sweep.sweep.LOOK", 0.001)
    monkeypatch.setattr("lra_hgrn.sweep.sweep.PATIENCE", 0.001)


def test_what_is_missing_and_nothing_else_is_run(tmp_path, capsys):
    suite = make_suite(tmp_path, 1, 2, 3, 4)
    make(suite.jobs[0], tmp_path)
    make(suite.jobs[1], tmp_path, "stopped")
    make(suite.jobs[2], tmp_path, "diverged")
    launcher = Told(tmp_path, {})
    assert sweep(suite, tmp_path, launcher) == []
    assert launcher.started == [2, 4]
    assert capsys.readouterr().err.splitlines()[0] == "2 of 4 cells are done already"
    assert sweep(suite, tmp_path, launcher) == []
    assert launcher.started == [2, 4]


def test_a_failure_is_one_sentence_and_the_others_go_on(tmp_path):
    suite = make_suite(tmp_path, 1, 2, 3)
    runs = tmp_path / "runs"
    lost = Ended(suite.jobs[1].name, None, "the node was lost")
    folder = suite.jobs[0].directory(runs)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("one\nRuntimeError: broken\n")
    failures = sweep(suite, runs, Told(runs, {1: [1], 2: [lost]}))
    assert failures == [
        f"{folder.name} failed (exit 1): RuntimeError: broken (see {folder / 'log.txt'})",
        f"{suite.jobs[1].name} failed: the node was lost",
    ]
    assert suite.jobs[2].record(runs).status == "finished"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_cell_that_lost_its_place_goes_on_as_often_as_allowed(tmp_path, monkeypatch, capsys, terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)  # bars there, lines else
    suite = make_suite(tmp_path, 1)
    launcher = Told(tmp_path, {1: [STOPPED, STOPPED, "finished"]}, retries=2)
    assert sweep(suite, tmp_path, launcher) == []
    assert launcher.started == [1, 1, 1]
    said = capsys.readouterr().err
    assert "[1/1] HGRN on listops (tiny), seed 1: test accuracy" in said
    assert said.count("[1/1]") == (1 if terminal else 4)
    launcher = Told(tmp_path / "again", {1: [STOPPED, STOPPED, "finished"]}, retries=1)
    (failure,) = sweep(suite, tmp_path / "again", launcher)
    assert "failed (exit 130)" in failure
    assert launcher.started == [1, 1]


def test_a_cell_that_another_process_works_on_is_left_until_the_end(tmp_path, capsys):
    suite = make_suite(tmp_path, 1, 2)
    job = suite.jobs[0]
    directory = job.directory(tmp_path)
    directory.mkdir()
    held = FileLock(directory / LOCK, thread_local=False)
    held.acquire()
    released = threading.Timer(0.3, held.release)
    released.start()
    launcher = Told(tmp_path, {1: [BUSY, "finished"]})
    assert sweep(suite, tmp_path, launcher) == []
    released.join()
    assert launcher.started == [1, 2, 1]
    assert "waiting for cells that other processes are at work on" in capsys.readouterr().err


def test_a_cell_that_another_sweep_has_claimed_is_taken_from_it_when_it_is_done(tmp_path):
    suite = make_suite(tmp_path, 1, 2)
    held = claim(suite.jobs[0], tmp_path)
    assert claim(suite.jobs[0], tmp_path) is None

    class Meanwhile(Told):
        def start(self, job, directory):
            super().start(job, directory)
            make(suite.jobs[0], tmp_path)  # the other sweep
            held.release()

    launcher = Meanwhile(tmp_path, {})
    assert sweep(suite, tmp_path, launcher) == []
    assert launcher.started == [2]
    assert claim(suite.jobs[0], tmp_path) is not None  # nothing is held at the end


def test_an_interrupt_stops_the_cells_at_work(tmp_path):
    class Interrupted(Told):
        def ended(self):
            raise KeyboardInterrupt

    launcher = Interrupted(tmp_path, {1: [0]})
    with pytest.raises(Stopped, match="the same command goes on"):
        sweep(make_suite(tmp_path, 1, 2), tmp_path, launcher)
    assert launcher.stopped
    assert claim(make_suite(tmp_path, 1).jobs[0], tmp_path) is not None


def test_runs_that_cannot_be_written_are_one_sentence(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match=r"Cannot write to .*choose another --runs"):
        sweep(make_suite(tmp_path, 1), tmp_path / "runs", Told(tmp_path, {}))


# -- further seeds


def test_further_seeds_stand_beside_the_lost_one(tmp_path):
    suite = make_suite(tmp_path, 1, 2)
    launcher = Told(tmp_path, {1: ["diverged"], 1 + FURTHER: ["failed"], 1 + 2 * FURTHER: ["finished"]})
    failures = sweep(suite, tmp_path, launcher, reseed=2)
    assert len(failures) == 1  # the failed run: it has a record, but no final one
    assert launcher.started == [1, 2, 1 + FURTHER, 1 + 2 * FURTHER]
    records, problems = suite.records(tmp_path)
    assert problems == []
    assert [record.seed for record in records] == [1, 1 + FURTHER, 1 + 2 * FURTHER, 2]
    ((cell,), others) = collect(suite.keys, records)
    assert others == []
    assert cell.status == "1 of 4 seeds diverged, 1 of 4 seeds failed"
    assert [record.seed for record in cell.counted] == [2, 1 + 2 * FURTHER]


def test_no_more_further_seeds_than_asked_for(tmp_path):
    suite = make_suite(tmp_path, 1)
    for reseed, expected in ((0, [1]), (1, [1 + FURTHER]), (1, []), (2, [1 + 2 * FURTHER])):
        launcher = Told(tmp_path, {1 + n * FURTHER: ["exploded"] for n in range(5)})
        assert sweep(suite, tmp_path, launcher, reseed=reseed) == []
        assert launcher.started == expected
    assert len(suite.records(tmp_path)[0]) == 3


def test_a_further_seed_that_was_stopped_goes_on(tmp_path):
    suite = make_suite(tmp_path, 1)
    make(suite.jobs[0], tmp_path, "plateau")
    second = suite.again(suite.jobs[0])
    make(second, tmp_path, "stopped")
    assert missing(suite, tmp_path, 0) == [second]
    assert missing(suite, tmp_path, 1) == [second]


def test_a_seed_of_the_suite_is_no_further_one(tmp_path):
    suite = make_suite(tmp_path, 1, 1 + FURTHER)
    for job in suite.jobs:
        make(job, tmp_path, "diverged")
    assert suite.again(suite.jobs[0]) is None
    assert [job.config.seed for job in missing(suite, tmp_path, 1)] == [1 + 2 * FURTHER]
    assert len(suite.records(tmp_path)[0]) == 2
    last = make_suite(tmp_path, 2**32 - 1).jobs[0]
    assert suite.again(last) is None  # no generator takes a larger one


ONE_BAD_SEED = """
import torch
from torch import nn

class Slow(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.linear = nn.Linear(d_model, d_model)
        self.factor = float("nan") if torch.initial_seed() == 1 else 1.0

    def forward(self, x):
        return self.linear(x).cumsum(1) * self.factor
"""


def test_a_seed_that_diverges_is_counted_and_another_one_tried(tmp_path):
    home = make_home(tmp_path, seeds=1)
    (home / "slow_mixer.py").write_text(ONE_BAD_SEED)
    with start(home, "sweep", "slow.yaml", "train.epochs=2", "--reseed", "1") as command:
        code, _, err = ended(command)
    assert code == 0, err
    said = [line.partition("seed ")[2] for line in err.splitlines()]
    assert said[:2] == ["1 ...", "1: diverged"]
    assert said[3].startswith(f"{1 + FURTHER}: test accuracy")
    with start(home, "table", "slow.yaml", "train.epochs=2") as command:
        code, out, err = ended(command)
    assert code == 0, err
    assert "1 of 2 seeds diverged" in out
