"""Folders of runs that were never trained, for tests: every file agrees with the record."""

import numpy as np
from omegaconf import OmegaConf

from lra_hgrn.config import Config, compose, identity, plain
from lra_hgrn.config.compose import run_name
from lra_hgrn.results.predictions import make_predictions
from lra_hgrn.results.record import Device, Record, Score, Scores, Throughput
from lra_hgrn.results.stats import wilson

METRICS = """step,epoch,split,loss,accuracy,lr,seconds
10,0,train,2.1,0.3,0.001,1.00
10,0,val,1.5,0.5,0.001,1.50
20,1,train,2.0,0.4,0.001,2.00
20,1,val,1.5,0.75,0.001,2.50
30,2,train,1.9,0.5,0.001,3.00
30,2,val,1.5,0.7,0.001,3.50
"""


def make_run(runs, model="hgrn", *, words=(), seed=1, config: Config | None = None):
    """Write a run of 40 test samples into ``runs`` and return its folder."""
    config = config or compose(model, "listops", ["task.scale=tiny", *words, f"seed={seed}"]).config
    folder = runs / run_name(config)
    random = np.random.default_rng(config.seed)
    labels = random.integers(0, 10, 40)
    best, last = (np.where(random.random(40) < share, labels, (labels + 1) % 10) for share in (0.75, 0.6))
    make_predictions(best, last, labels, fingerprint="3f2a9c1b77aa", n_classes=10).save(folder)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(plain(config))))
    (folder / "metrics.csv").write_text(METRICS)
    make_record(config, folder.name, labels, best=best, last=last).save(folder)
    return folder


def make_record(config, run, labels, *, best, last):
    scores = {
        name: Score(correct=correct, total=40, low=low, high=high, val_accuracy=accuracy, epoch=epoch, step=step)
        for name, predicted, accuracy, epoch, step in (("best", best, 0.75, 1, 20), ("last", last, 0.7, 2, 30))
        for correct in [sum(int(a == b) for a, b in zip(predicted, labels, strict=True))]
        for low, high in [wilson(correct, 40)]
    }
    return Record(
        run=run,
        status="finished",
        message="",
        task=config.task.name,
        scale=config.task.scale,
        protocol=config.task.protocol,
        source="generated",
        track="strict",
        departures=["Samples are made up."],
        data_fingerprint="3f2a9c1b77aa",
        model=config.model.name,
        target=config.model.target,
        parameters=1234,
        seed=config.seed,
        config=plain(config),
        config_hash=identity(config),
        scores=Scores(**scores),
        chance=max(np.bincount(labels).tolist()) / 40,
        throughput=Throughput(
            samples_per_second=10.0,
            tokens_per_second=1000.0,
            median_step_seconds=0.1,
            steps_measured=30,
            compile_seconds=0.0,
        ),
        memory=None,
        device=Device(name="a processor", backend="cpu", precision="32", threads=2),
        versions={"python": "3.11.9"},
        git_commit=None,
        started="2026-01-02T10:00:00+00:00",
        wall_seconds=12.5,
        incidents=[],
        lower_bounds=None,
    )
