"""Confidences of test predictions, from the logits to the file, and how well they are calibrated."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from lra_hgrn.config import ModelConfig
from lra_hgrn.config.schema import Config, TaskConfig
from lra_hgrn.errors import UserError
from lra_hgrn.results.calibration import expected_calibration_error, reliability, reliability_of
from lra_hgrn.results.predictions import load_predictions, make_predictions
from lra_hgrn.training.module import Classification, predict
from lra_tasks.loader import Batch


def made(tmp_path, confidence, n=3):
    labels = np.arange(n) % 3
    predictions = make_predictions(labels, labels, labels, fingerprint="3f2a", n_classes=3, confidence=confidence)
    return predictions.save(tmp_path)


def test_confidences_round_trip_as_half_precision(tmp_path):
    read = load_predictions(made(tmp_path, [1 / 3, 0.9, 1.0]))
    assert read.confidence.dtype == np.float16
    np.testing.assert_allclose(read.confidence, [1 / 3, 0.9, 1.0], rtol=0, atol=2.5e-4)


def test_files_without_confidences_are_read(tmp_path):
    predictions = load_predictions(made(tmp_path, None))
    assert predictions.confidence is None
    assert reliability_of(predictions) is None


def test_twenty_thousand_samples_take_under_50_kilobytes(tmp_path):
    random = np.random.default_rng(0)
    assert made(tmp_path, random.uniform(0.3, 1, 20_000), n=20_000).stat().st_size < 50_000


@pytest.mark.parametrize("confidence", [[0.5, 0.5], [0.5, 0.5, 1.5], [0.5, 0.5, -0.1], [0.5, 0.5, np.nan]])
def test_confidences_that_do_not_fit_are_refused(confidence, tmp_path):
    with pytest.raises(ValueError, match="confidence"):
        made(tmp_path, confidence)


def test_a_file_with_wrong_confidences_is_refused(tmp_path):
    classes = np.zeros(2, np.uint8)
    path = tmp_path / "predictions.npz"
    np.savez(path, best=classes, last=classes, labels=classes, fingerprint="", confidence=np.zeros(2))
    with pytest.raises(UserError, match="confidence of type float64"):
        load_predictions(path)


def test_predictions_are_the_softmax_of_the_logits():
    logits = torch.tensor([[0.0, 2.0, 1.0], [5.0, 5.0, -1.0], [torch.nan, 0.0, 1.0]])

    class Net(torch.nn.Module):
        def forward(self, inputs, lengths):
            return logits[inputs[:, 0]]

    config = Config(task=TaskConfig(name="x"), model=ModelConfig(name="x"))
    module = Classification(Net(), 3, config, total_steps=10)
    inputs = torch.arange(3)[:, None]
    batches = [Batch(inputs[:2], torch.ones(2), torch.zeros(2)), Batch(inputs[2:], torch.ones(1), torch.zeros(1))]
    classes, confidence = predict(module, batches, "32")
    assert classes[:2].tolist() == [1, 0]
    values = np.exp(logits.numpy().astype(np.float64))
    assert confidence[:2].tolist() == pytest.approx((values.max(1) / values.sum(1))[:2].tolist(), rel=1e-6)
    assert confidence[2] == 0


def random_predictions(n_classes=4, n=3000):
    random = np.random.default_rng(1)
    probabilities = random.dirichlet(np.full(n_classes, 0.5), size=n)
    labels = np.where(random.random(n) < 0.6, probabilities.argmax(1), random.integers(0, n_classes, n))
    return probabilities, labels


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_calibration_error_is_that_of_torchmetrics(bins):
    probabilities, labels = random_predictions()
    found = reliability(probabilities.max(1), probabilities.argmax(1) == labels, bins)
    wanted = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(labels), 4, n_bins=bins, norm="l1")
    assert expected_calibration_error(found) == pytest.approx(float(wanted), abs=1e-6)
    assert sum(item.count for item in found) == 3000


def test_bins_by_hand():
    """Bins (0, ½] and (½, 1], as in the paper: an edge belongs to the bin below it, and 0 to the first."""
    low, high = reliability([0.0, 0.5, 0.5, 0.75, 1.0], [False, True, False, True, True], bins=2)
    assert (low.low, low.high, low.count, low.accuracy, low.confidence) == (0, 0.5, 3, 1 / 3, 1 / 3)
    assert (high.low, high.high, high.count, high.accuracy, high.confidence) == (0.5, 1, 2, 1, 0.875)
    assert expected_calibration_error([low, high]) == pytest.approx(2 / 5 * 0.125)


def test_an_empty_bin_has_no_accuracy_and_no_weight():
    bins = reliability([0.9, 0.9], [True, False])
    assert [item.accuracy for item in bins if item.count] == [0.5]
    assert sum(item.accuracy is None for item in bins) == 14
    assert expected_calibration_error(bins) == pytest.approx(0.4)
    with pytest.raises(ValueError, match="no predictions"):
        expected_calibration_error(reliability([], []))


@pytest.mark.parametrize("confidence", [[0.5, 1.1], [0.5], [[0.5, 0.5]], [0.5, float("nan")]])
def test_what_is_no_confidence_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence"):
        reliability(confidence, [True, False])


def test_half_precision_does_not_move_samples_between_bins(tmp_path):
    predictions = load_predictions(made(tmp_path, [0.2, 0.6, 0.9]))
    counts = [item.count for item in reliability_of(predictions)]
    edges = [np.ceil(15 * float(np.float16(value))) - 1 for value in (0.2, 0.6, 0.9)]
    assert [place for place, count in enumerate(counts) if count] == edges
