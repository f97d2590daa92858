"""Several sweeps on one folder of runs: each cell is trained once, whatever becomes of the sweeps."""

import signal

import pytest
from small_sweeps import ended, finishes_of, in_training, make_home, parent, start, until, worker

from lra_hgrn.results.record import load_record


@pytest.mark.slow
def test_two_sweeps_share_the_cells_and_one_that_is_killed_leaves_its_cell_to_the_other(tmp_path):
    home = make_home(tmp_path, seeds=2)
    runs = home / "results" / "runs"
    with start(home, "sweep", "slow.yaml") as first:
        (run,) = until(lambda: in_training(runs), first)
        with start(home, "sweep", "slow.yaml") as second:
            until(lambda: len(in_training(runs)) == 2, first, second)
            assert parent(worker(run)) == first.pid
            first.send_signal(signal.SIGKILL)
            code, _, err = ended(second)
    assert code == 0, err
    assert err.count("test accuracy") == 2
    found = sorted(runs.glob("*/record.json"))
    assert [load_record(path).seed for path in found] == [1, 2]
    assert all(load_record(path).status in ("finished", "chance") for path in found)
    assert [finishes_of(path.parent) for path in found] == [1, 1]
    assert "stopping after this step" in (run / "log.txt").read_text()  # its process did not outlive the sweep
