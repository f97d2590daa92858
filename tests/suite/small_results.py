"""Records of runs that never were, and the results of a suite made of them, for tests of tables."""

from lra_hgrn.results.cells import Key
from lra_hgrn.results.gather import Results, gather
from lra_hgrn.results.record import Device, Memory, Record, Score, Scores, Throughput

PROCESSOR = Device(name="a processor", backend="cpu", precision="32", threads=2)


def make_results(records, tasks=("listops", "text"), models=("HGRN", "Transformer"), **options) -> Results:
    """Gather records into a suite of all models on all tasks at the scale of the records."""
    scale = records[0].scale if records else "tiny"
    return gather([Key(task, scale, model) for model in models for task in tasks], records, **options)


def make_record(task="listops", model="HGRN", seed=1, correct=60, total=100, speed=1000.0, **changes) -> Record:
    score = Score.of(correct, total, val_accuracy=0.7, epoch=2, step=40)
    last = Score.of(0, total, val_accuracy=0.1, epoch=3, step=60)
    fields = {
        "run": f"{task}-{model}-{seed}",
        "status": "finished",
        "message": "",
        "task": task,
        "scale": "tiny",
        "protocol": "s4",
        "source": "generated",
        "track": "strict",
        "departures": [],
        "data_fingerprint": f"0123456789-{task}",
        "model": model,
        "target": "hgru",
        "parameters": 86432,
        "seed": seed,
        "config": {},
        "config_hash": f"hash-{task}-{model}",
        "scores": Scores(best=score, last=last),
        "chance": 0.1,
        "throughput": Throughput(
            samples_per_second=speed / 100,
            tokens_per_second=speed,
            median_step_seconds=0.1,
            steps_measured=60,
            compile_seconds=0.0,
        ),
        "memory": Memory(peak_bytes=3 * 2**29, counts="resident set"),
        "device": PROCESSOR,
        "versions": {},
        "git_commit": None,
        "started": "2026-01-02T10:00:00+00:00",
        "wall_seconds": 12.5,
        "incidents": [],
        "lower_bounds": None,
    }
    return Record(**(fields | changes))
