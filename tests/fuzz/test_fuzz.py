"""No reader of a file that may come from anyone does more than answer with a sentence: mutated files, and Atheris."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from targets import TARGETS, WORDS, hold

HERE = Path(__file__).parent
EDIT = st.tuples(st.integers(0, 1 << 16), st.integers(0, 12), st.sampled_from(WORDS) | st.binary(max_size=4))
EXAMPLES = 200  # of a target of half a millisecond


def edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Put words into a file, each in the place of some bytes."""
    for place, dropped, word in edits:
        place %= len(data) + 1
        data = data[:place] + word + data[place + dropped :]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_takes_the_files_that_fuzzing_begins_from(name):
    assert all(hold(name, seed) for seed in TARGETS[name].seeds())


@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_file_is_read_or_refused_in_a_sentence(name):
    seeds = TARGETS[name].seeds()

    @settings(
        max_examples=max(10, int(EXAMPLES * TARGETS[name].share)),
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(seeds), st.lists(EDIT, min_size=1, max_size=4))
    def change(seed, edits):
        hold(name, edited(seed, edits))

    change()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="with Atheris, where Python has it")
def test_fuzzing_finds_nothing(tmp_path):
    command = [sys.executable, str(HERE / "run.py"), "all", "-runs=2000", "-seed=1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "FUZZ_BUILD": str(tmp_path)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = {path.name: path.read_bytes()[:300] for path in tmp_path.glob("crashes/*")}
    assert done.returncode == 0, f"{done.stdout}\n{found}\n{done.stderr[-3000:]}"
