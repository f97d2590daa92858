"""kill -9 at any moment: the same command ends with what an undisturbed run ends with, bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from outcomes import assert_same, outcome

HERE = Path(__file__).parent


@pytest.mark.slow
def test_fifty_kills_change_nothing(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(HERE / "kills.py"), str(tmp_path), "50", "1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    killed = done.stdout.splitlines()
    assert len(killed) == 50
    assert any("touch" in line for line in killed)
    assert any("after" in line for line in killed)
    whole = outcome(tmp_path / "undisturbed")
    runs = sorted(tmp_path.glob("killed-*/record.json"))
    assert runs
    for record in runs:
        assert_same(whole, outcome(record.parent))
        assert {path.name for path in record.parent.iterdir()} >= {"best.ckpt", "last.ckpt", "config.yaml"}
        assert not list(record.parent.glob("best.pending.ckpt"))
