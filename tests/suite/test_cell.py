"""Cells by name, file or dotted path, the recipes they take, and widths of equal size."""

import pytest
import torch

from lra_hgrn.cell import compose_cell
from lra_hgrn.config import compose, identity
from lra_hgrn.config.compose import has_recipe, names
from lra_hgrn.errors import UserError
from lra_hgrn.models.match import count_parameters, fit_width, task_spec
from lra_hgrn.models.registry import mixer_names


def test_every_registered_mixer_has_a_model():
    targets = {compose(model, "listops").config.model.target for model in names("models")}
    assert targets == set(mixer_names())


def test_names_of_models_are_unique():
    shown = [compose(model, "listops").config.model.name for model in names("models")]
    assert len(set(shown)) == len(shown)


def test_a_dotted_path_is_trained_by_hgrns_recipe():
    composed = compose("my_package.Mine", "listops", ["model.kwargs.heads=2"])
    model, recipe = composed.config.model, compose("hgrn", "listops").config
    assert (model.name, model.target, model.kwargs) == ("Mine", "my_package.Mine", {"heads": 2})
    assert (model.d_model, composed.config.optim) == (recipe.model.d_model, recipe.optim)
    assert composed.origins["optim.lr"] == "configs/recipes/hgrn/listops.yaml"
    assert has_recipe("my_package.Mine", "pathx")


def test_a_file_names_whose_recipes_it_takes(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("recipes: transformer\nmodel: {name: Mine, target: attention, kwargs: {rotary: true}}\n")
    composed = compose(str(file), "image")
    assert composed.config.model.kwargs == {"rotary": True, "heads": 8}
    assert composed.origins["model.kwargs.heads"] == "configs/recipes/transformer/image.yaml"
    file.write_text("recipes: transformr\nmodel: {name: Mine, target: attention}\n")
    with pytest.raises(UserError, match=r"recipes must be a model of configs/models. Did you mean 'transformer'"):
        compose(str(file), "image")
    file.write_text("model: {name: Mine, target: attention}\n")
    assert not has_recipe(str(file), "image")
    assert compose(str(file), "image").origins["optim.lr"] == "default"


@pytest.mark.parametrize("model", ["transformer", "hgrn-real", "convolution", "performer"])
@pytest.mark.parametrize("task", ["listops", "text", "retrieval"])
def test_matched_widths_are_the_nearest(model, task):
    aim = count(compose("hgrn", task).config)
    config = compose_cell(model, task, ["model.match=hgrn"]).config
    assert abs(count(config) - aim) <= 0.05 * aim
    best = abs(count(config) - aim)
    for width in range(config.model.d_model - 4, config.model.d_model + 5):
        config.model.d_model = width
        try:
            assert abs(count(config) - aim) >= best
        except UserError:
            assert width % 4  # no multiple of the heads


def count(config):
    return count_parameters(task_spec(config), config.model)


def test_counting_takes_no_random_numbers_and_no_weights():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert count(compose("hgrn", "listops").config) == 65_674
    assert torch.equal(torch.get_rng_state(), before)


def test_a_matched_width_is_told_and_part_of_the_identity():
    composed = compose_cell("transformer", "text", ["model.match=hgrn"])
    assert composed.origins["model.d_model"] == "model.match=hgrn"
    own = compose_cell("transformer", "text").config
    assert composed.config.model.d_model != own.model.d_model
    assert identity(composed.config) != identity(own)
    with pytest.raises(UserError, match=r"model.match=hgrn sets model.d_model: leave one of them out"):
        compose_cell("transformer", "text", ["model.match=hgrn", "model.d_model=8"])
    with pytest.raises(UserError, match=r"Unknown model 'hgrm'. Did you mean 'hgrn'"):
        compose_cell("transformer", "text", ["model.match=hgrm"])


def test_what_cannot_be_matched_is_told():
    with pytest.raises(UserError, match=r"No width brings Linformer on pathx within 5 % of the .* parameters of HGRN"):
        compose_cell("linformer", "pathx", ["model.match=hgrn"])
    with pytest.raises(UserError, match=r"Unknown option model.kwargs.headz"):
        compose_cell("transformer", "text", ["model.match=hgrn", "model.kwargs.headz=3"])


def test_a_match_is_fitted_at_the_scale_in_use():
    config = compose_cell("transformer", "listops", ["model.match=hgrn", "task.scale=tiny"]).config
    assert fit_width(config, compose("hgrn", "listops").config) == config.model.d_model
