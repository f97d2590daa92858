"""HGRN as released: its recipes, its place on the open track, and models and figures of images in colour."""

import numpy as np
import pytest
import torch
from torch import nn

from lra_hgrn.config import ModelConfig, compose, plain
from lra_hgrn.inspection.attribution import attribute
from lra_hgrn.inspection.sample_figures import image_figure
from lra_hgrn.models import build_classifier
from lra_hgrn.models.embedding import Embedding
from lra_hgrn.models.match import build_without_weights, task_spec
from lra_hgrn.models.stream import Stream
from lra_hgrn.training.data import build_task
from lra_tasks import TaskSpec
from lra_tasks.card import image_spec
from lra_tasks.loader import Batch

RGB = image_spec("rgb", 0, 3, 4, shift=(1.0, 2.0, 3.0), scale=(4.0, 5.0, 6.0), channels=3)
TWO_D = "Scans rows and columns of the image (2-D)."
PADDING = "Padding is scanned and counted."

# What script_lra.py, train_lra.sh and train_lra_image.sh ask for beyond sizes and optimiser, option by option.
RELEASED = {
    "listops": {"model.mask_padding": False},
    "text": {"model.mask_padding": False, "task.selection": "published"},
    "retrieval": {"model.mask_padding": False},
    "image": {
        "model.target": "hgru2d",
        "task.protocol": "s4-rgb",
        "task.augment": True,
        "optim.past_end": True,
    },
    "pathfinder": {"model.target": "hgru2d"},
    "pathx": {"model.target": "hgru2d", "optim.past_end": True},
}
OPEN = {
    "listops": {PADDING},
    "text": {PADDING, "The checkpoint is selected on the test split, as in the published code."},
    "retrieval": {PADDING},
    "image": {TWO_D, "Images are in colour.", "Training images are cropped and flipped at random."},
    "pathfinder": {TWO_D},
    "pathx": {TWO_D},
}


def flat(config):
    return {
        f"{part}.{key}": value
        for part, options in plain(config).items()
        if isinstance(options, dict)
        for key, value in options.items()
    }


@pytest.mark.parametrize("task", RELEASED)
def test_the_released_recipe_differs_from_hgrns_as_the_script_does(task):
    strict, released = (flat(compose(model, task).config) for model in ("hgrn", "hgrn-released"))
    changed = {key: value for key, value in released.items() if value != strict[key] and key != "model.name"}
    assert changed == RELEASED[task]
    assert compose("hgrn-released", task).config.stands_for == compose("hgrn", task).config.stands_for == "hgrn"
    assert compose("hgrn-released", task, ["optim.lr=0.1"]).config.stands_for is None


@pytest.mark.parametrize("task", OPEN)
def test_the_released_model_builds_on_each_task_and_names_what_it_departs_in(task):
    config = compose("hgrn-released", task).config
    net = build_without_weights(task_spec(config), config.model)
    assert {*build_task(config).rule_departures, *net.departures} == OPEN[task]
    strict = compose("hgrn", task).config
    assert [
        *build_task(strict).rule_departures,
        *build_without_weights(task_spec(strict), strict.model).departures,
    ] == []


def test_a_step_of_three_values_goes_through_a_linear_map_of_them():
    torch.manual_seed(0)
    embedding = Embedding(5, 0, 16, "none", 0.0, channels=3)
    x = torch.randn(2, 16, 3)
    expected = torch.einsum("blc,dc->bld", x, embedding.values.weight) + embedding.values.bias
    torch.testing.assert_close(embedding(x), expected)
    assert Embedding(5, 0, 16, "none", 0.0, cls=True, channels=3)(x).shape == (2, 17, 5)


def test_weights_of_gray_images_are_drawn_as_ever():
    torch.manual_seed(3)
    embedding = Embedding(5, 0, 16, "sinusoidal", 0.0)
    torch.manual_seed(3)
    plain_map = nn.Linear(1, 5)
    assert torch.equal(embedding.values.weight, plain_map.weight)
    assert torch.equal(embedding.values.bias, plain_map.bias)
    assert embedding(torch.randn(2, 16)).shape == (2, 16, 5)


def test_a_causal_model_streams_pixels_in_colour():
    torch.manual_seed(0)
    config = ModelConfig(name="x", target="hgru", kwargs={"causal": True}, d_model=8, positions="sinusoidal")
    net = build_classifier(RGB, config).eval()
    x = torch.randn(2, 16, 3)
    stream = Stream(net)
    for t in range(16):
        logits = stream.step(x[:, t])
    torch.testing.assert_close(logits, net(x, torch.full((2,), 16)))


def colour_batch():
    return Batch(torch.randn(1, 16, 3), torch.tensor([16]), torch.tensor([2]))


def test_a_decision_on_a_colour_image_is_attributed_to_its_pixels():
    torch.manual_seed(0)
    net = build_classifier(RGB, ModelConfig(name="x", target="hgru2d", d_model=8)).eval()
    batch = colour_batch()
    (document,) = attribute(net, batch, 0, RGB.side).documents
    assert len(document.gradient) == 16
    # Occlusion of the first pixel by hand: its embedding is zero.
    with torch.no_grad():
        logits = net(batch.inputs, batch.lengths)[0]
        handle = net.embedding.register_forward_hook(
            lambda module, args, output: output * (torch.arange(16) > 0)[None, :, None]
        )
        without = net(batch.inputs, batch.lengths)[0]
        handle.remove()
    place = logits.argmax()
    assert document.window == 1
    assert document.occlusion[0] == pytest.approx(float(logits[place] - without[place]), abs=1e-5)


def test_the_figure_of_a_colour_image_shows_its_colours_and_lays_heat_over_gray():
    net = build_classifier(RGB, ModelConfig(name="x", target="hgru2d", d_model=8)).eval()
    sample = attribute(net, colour_batch(), 0, RGB.side)
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    plain_axes, left, right = image_figure(sample, [image]).axes
    assert (plain_axes.images[0].get_array() == image).all()
    for axes in (left, right):
        shown = np.asarray(axes.images[0].get_array())
        assert shown.shape == (4, 4, 3)
        assert np.isfinite(shown).all()


def test_values_without_an_image_may_have_any_number_of_channels():
    torch.manual_seed(0)
    spec = TaskSpec("sensors", "values", 0, 2, 9, channels=2)
    net = build_classifier(spec, ModelConfig(name="x", target="hgru", d_model=8))
    assert net(torch.randn(3, 9, 2), torch.tensor([9, 4, 1])).shape == (3, 2)
