"""What a run leaves behind that must not depend on how often it was interrupted."""

import csv
import dataclasses

import numpy as np
import torch

from lra_hgrn.results.record import load_record
from lra_hgrn.training.checkpoints import BEST, LAST, load_checkpoint

MEASURED = ("run", "started", "wall_seconds", "throughput", "memory", "git_commit")  # fields of a record
MACHINE = ("data_dir", "checkpoint_minutes")  # options


def outcome(directory):
    """Return metrics, predictions, record and weights of a finished run."""
    with (directory / "metrics.csv").open() as file:
        metrics = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    with np.load(directory / "predictions.npz") as file:
        predictions = {key: file[key].tolist() for key in file}
    record = dataclasses.asdict(load_record(directory / "record.json"))
    for name in MEASURED:
        del record[name]
    for section in record["config"].values():
        for name in MACHINE if isinstance(section, dict) else ():
            section.pop(name, None)
    weights = {name: load_checkpoint(directory / name)["state_dict"] for name in (BEST, LAST)}
    return metrics, predictions, record, weights


def assert_same(one, other):
    """Bit for bit."""
    assert one[:3] == other[:3]
    for name, state in one[3].items():
        assert state.keys() == other[3][name].keys()
        for key, tensor in state.items():
            torch.testing.assert_close(tensor, other[3][name][key], rtol=0, atol=0, equal_nan=True)
