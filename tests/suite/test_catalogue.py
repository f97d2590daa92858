"""`lra models`."""

import csv
import io

import pytest

from lra_hgrn.catalogue import catalogue
from lra_hgrn.config.compose import names
from lra_hgrn.errors import UserError
from lra_hgrn.results.tables.render import to_csv


def rows(*models, match=None):
    return {row["model"]: row for row in csv.DictReader(io.StringIO(to_csv(catalogue(models, match))))}


def test_every_model_is_listed_with_its_card():
    found = rows()
    assert set(found) == set(names("models"))
    families = [row["family"] for row in found.values()]
    assert [f for i, f in enumerate(families) if f not in families[:i]] == [
        "HGRN",
        "Transformer",
        "state space",
        "recurrent",
        "convolution",
    ]
    assert families == sorted(families, key=families.index)
    assert all(row["paper"] and row["compute"].startswith("L") and row["memory"] for row in found.values())
    assert (found["transformer"]["compute"], found["hgrn"]["compute"]) == ("L²", "L")


def test_causality_and_sizes_are_read_from_the_models():
    found = rows("hgrn", "hgrn-causal", "hgrn-2d", "transformer-lra-small", "lru")
    assert [row["causal"] for row in found.values()] == ["no", "yes", "no", "no", "by task"]
    # Counted by hand for HGRN on ListOps, d = 32, K = 6: embedding 18·d, and a layer's in_proj d·5d + 5d, θ 2d,
    # LayerNorm 4d, out_proj 2d·d + d, GLU 3d², two norms 4d; Γ K·d; final norm 2d; head 10·d + 10.
    d, layers = 32, 6
    layer = 5 * d * d + 5 * d + 2 * d + 4 * d + 2 * d * d + d + 3 * d * d + 4 * d
    assert int(found["hgrn"]["parameters_listops"]) == 18 * d + layers * (layer + d) + 2 * d + 10 * d + 10
    assert found["hgrn-2d"]["parameters_listops"] == ""  # no image
    assert found["hgrn-2d"]["parameters_image"] == found["hgrn"]["parameters_image"]
    assert found["transformer-lra-small"]["parameters_pathx"] == ""  # no recipe


def test_matched_sizes():
    aims, found = rows("hgrn"), rows("s5", "linformer", match="hgrn")
    for task in names("tasks"):
        aim = int(aims["hgrn"][f"parameters_{task}"])
        assert abs(int(found["s5"][f"parameters_{task}"]) - aim) <= 0.05 * aim
    assert found["linformer"]["parameters_pathx"] == ""


def test_models_of_ones_own(tmp_path):
    file = tmp_path / "gru.yaml"
    file.write_text(
        "recipes: hgrn\nmodel: {name: GRU, target: torch.nn.GRU, kwargs: {hidden_size: 8, batch_first: true}}\n"
    )
    found = rows(str(file))[str(file)]
    assert (found["family"], found["name"], found["paper"]) == ("of your own", "GRU", "")
    file.write_text("recipes: hgrn\nmodel: {name: GRU, target: torch.nn.GRU, kwargs: {hidden_width: 8}}\n")
    with pytest.raises(UserError, match=r"torch.nn.GRU cannot be made .* 'hidden_width'"):
        catalogue([str(file)])
    with pytest.raises(UserError, match=r"Unknown model 'hgrm'. Did you mean 'hgrn'"):
        catalogue(["hgrm"])
