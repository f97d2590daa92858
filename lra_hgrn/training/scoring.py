"""The test split, predicted once with the last and once with the best checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lra_hgrn.progress import Reporter
from lra_hgrn.results.predictions import make_predictions
from lra_hgrn.results.record import Score, Scores
from lra_hgrn.training.checkpoints import BEST, load_checkpoint
from lra_hgrn.training.module import Classification, Predicted, predict
from lra_hgrn.training.saving import Checkpoints
from lra_tasks import LRATask


@dataclass(frozen=True)
class Tested:
    """What came of the test split."""

    scores: Scores
    chance: float  # share of the most frequent class


def score(
    module: Classification,
    task: LRATask,
    checkpoints: Checkpoints,
    directory: Path,
    reporter: Reporter,
    writes: bool = True,
) -> Tested:
    """Predict the test split with the module as it is, and as the best checkpoint has it; write the predictions.

    Of several processes each predicts its share, and one of them ``writes``; every one of them has to call.
    """
    same = checkpoints.best == checkpoints.last
    passes = 1 if same else 2
    loader, precision = task.test_dataloader(), module.config.train.precision

    def run(nth: int) -> Predicted:
        return predict(
            module,
            loader,
            precision,
            lambda done, total: reporter.update("test", nth * total + done, passes * total),
        )

    predicted = {"last": run(0)}
    if same:
        predicted["best"] = predicted["last"]
    else:
        module.load_state_dict(load_checkpoint(directory / BEST)["state_dict"])
        predicted["best"] = run(1)
    labels = task.split("test").labels
    if writes:
        make_predictions(
            predicted["best"].classes,
            predicted["last"].classes,
            labels,
            fingerprint=task.fingerprint,
            n_classes=task.spec.n_classes,
            confidence=predicted["best"].confidence,
        ).save(directory)
    scores = Scores(
        best=_score(predicted["best"], labels, checkpoints.best),
        last=_score(predicted["last"], labels, checkpoints.last),
    )
    return Tested(scores, float(np.bincount(labels).max() / len(labels)))


def _score(predicted: Predicted, labels: np.ndarray, at: dict[str, Any] | None) -> Score:
    assert at is not None
    correct = int((predicted.classes.numpy() == labels).sum())
    return Score.of(correct, len(labels), val_accuracy=at["accuracy"], epoch=at["epoch"], step=at["step"])
