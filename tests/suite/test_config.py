"""Composition of configurations: order of the layers, origins, and one sentence for every mistake."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lra_hgrn.config import Layer, compose, from_plain, identity, plain
from lra_hgrn.config.compose import (
    as_words,
    changed,
    config_dir,
    merge,
    names,
    option_keys,
    parse_overrides,
    parse_value,
    run_name,
)
from lra_hgrn.errors import UserError

DEFAULTS = Path(__file__).with_name("defaults.json")


def test_later_layers_win_and_origins_say_so():
    words = ["optim.lr=0.25", "model.kwargs.causal=true"]
    composed = compose("hgrn", "listops", words, extra=[Layer("my suite", {"optim": {"lr": 0.5, "clip": 2}})])
    assert composed.config.optim.lr == 0.25
    assert composed.config.optim.clip == 2.0
    assert composed.config.model.norm == "batch"
    assert composed.config.model.kwargs == {"causal": True}
    assert composed.origins["optim.lr"] == "command line"
    assert composed.origins["optim.clip"] == "my suite"
    assert composed.origins["model.norm"] == "configs/recipes/hgrn/listops.yaml"
    assert composed.origins["model.target"] == "configs/models/hgrn.yaml"
    assert composed.origins["task.name"] == "configs/tasks/listops.yaml"
    assert composed.origins["optim.beta1"] == "default"
    assert composed.origins["model.kwargs.causal"] == "command line"


def test_another_mixer_does_not_inherit_the_arguments_of_the_one_before():
    composed = compose("transformer", "listops", ["model.kwargs.size=3", "model.target=my.Mixer"])
    assert composed.config.model.kwargs == {"size": 3}
    assert "model.kwargs.heads" not in composed.origins
    assert compose("transformer", "listops", ["model.kwargs.causal=true"]).config.model.kwargs == {
        "heads": 4,
        "causal": True,
    }


@pytest.mark.parametrize("task", names("tasks"))
@pytest.mark.parametrize("model", names("models"))
def test_every_cell_composes_and_survives_a_round_trip(model, task):
    config = compose(model, task).config
    assert from_plain(plain(config), "round trip") == config


def test_every_recipe_belongs_to_a_model_and_a_task():
    for path in (config_dir() / "recipes").glob("*/*"):
        assert path.parent.name in names("models")
        assert path.name.removesuffix(".yaml") in names("tasks")


def test_every_option_has_help():
    for key, item in option_keys().items():
        assert item.metadata.get("help", "").endswith("."), key


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("optim.lrr=1", "Unknown option 'optim.lrr' (command line). Did you mean 'optim.lr'?"),
        ("lr=1", "Unknown option 'lr' (command line). Did you mean 'optim.lr'?"),
        ("model.norm=batc", "takes one of layer, batch, rms, not 'batc' (command line). Did you mean 'batch'?"),
        ("optim.lr=fast", "'optim.lr' takes float, not 'fast'"),
        ("optim.lr=NaN", "'optim.lr' takes float"),
        ("optim.lr=-1", "'optim.lr' must be at least 0, not -1"),
        ("model.dropout=1.5", "must be between 0 and 1"),
        ("train.batch_size=0", "must be at least 1"),
        ("seed=1.5", "'seed' takes int, not 1.5"),
        ("seed=true", "'seed' takes int"),
        ("train.compile=maybe", "'train.compile' takes bool"),
        ("optim=null", "Unknown option 'optim'"),
        ("optim.lr", "is not an override; write key=value"),
        ("=3", "is not an override"),
        ("model.kwargs=3", "'model.kwargs' takes"),
        ("optim.beta1=2", "'optim.beta1' must be between 0 and 1, not 2"),
        ("optim.beta1=[0.9]", "'optim.beta1' takes float"),
    ],
)
def test_a_wrong_override_is_one_sentence(word, sentence):
    with pytest.raises(UserError) as raised:
        compose("hgrn", "listops", [word])
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("model", "task", "sentence"),
    [
        ("hgrm", "listops", "Unknown model 'hgrm'. Did you mean 'hgrn'?"),
        ("hgrn", "listop", "Unknown task 'listop'. Did you mean 'listops'?"),
        ("none.yaml", "listops", "There is no file 'none.yaml'."),
        ("../hgrn", "listops", "Unknown model"),
    ],
)
def test_a_wrong_name_is_one_sentence(model, task, sentence):
    with pytest.raises(UserError, match=None) as raised:
        compose(model, task)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"- a\n", "must hold a mapping"),
        (b"model: {name: [}\n", "cannot be read as YAML"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"model: !!python/object/apply:os.system ['touch owned']\n", "cannot be read as YAML"),
        (b"model: {targget: x}\n", "Did you mean 'model.target'?"),
        (b"3: 4\n", "must hold a mapping of options"),
        (b"optim: 3\n", "Unknown option 'optim'"),
        (b"model: {name: '${oc.env:HOME}x${nope}'}\n", "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, monkeypatch, content, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(UserError) as raised:
        compose("mine.yaml", "listops")
    assert sentence in str(raised.value)
    assert "mine.yaml" in str(raised.value)
    assert not (tmp_path / "owned").exists()


def test_values_are_json_and_not_yaml_1_1():
    assert parse_value("on") == "on"
    assert parse_value("010") == 10
    assert parse_value("1e-3") == 0.001
    assert parse_value("null") is None
    assert parse_value("[1, 2]") == [1, 2]
    assert compose("hgrn", "listops", ["model.name=on", "train.precision=16"]).config.model.name == "on"


def test_identity_ignores_the_machine_and_the_seed_only():
    base = compose("hgrn", "listops").config
    assert identity(compose("hgrn", "listops", ["seed=7", "train.threads=1", "task.workers=3"]).config) == identity(
        base
    )
    for word in ("optim.lr=0.1", "task.seed=1", "model.kwargs.causal=true", "train.epochs=2", "task.scale=tiny"):
        assert identity(compose("hgrn", "listops", [word]).config) != identity(base), word
    assert run_name(base) == f"listops-full-hgrn-seed1-{identity(base)}"


def test_a_default_never_changes_since_hashes_leave_defaults_out():
    """An option may be added, with the default that repeats what was before it; then also here."""
    known = json.loads(DEFAULTS.read_text())
    nothing = merge([Layer("x", {"task": {"name": "t"}, "model": {"name": "m"}})]).config
    assert changed(nothing) == {"task.name": "t", "model.name": "m"}
    assert {key: item.default for key, item in option_keys().items() if key != "model.kwargs"} == known


def test_an_option_at_its_default_changes_no_identity():
    base = compose("hgrn", "listops").config
    assert identity(compose("hgrn", "listops", ["optim.min_lr=0", "task.augment=false"]).config) == identity(base)


def test_a_recipe_stands_for_its_published_figure_until_an_option_of_it_is_changed():
    def stands_for(*words, model="hgrn"):
        return compose(model, "listops", words).config.stands_for

    assert stands_for() == "hgrn"
    for word in ("seed=2", "train.threads=1", "train.precision=bf16", "train.compile=true", "optim.lr=5e-4"):
        assert stands_for(word) == "hgrn", word
    for word in ("optim.lr=1e-3", "train.epochs=1", "task.scale=tiny", "model.kwargs.causal=true", "task.seed=1"):
        assert stands_for(word) is None, word
        assert stands_for(word, "seed=2") is None
    # Whoever takes HGRN's recipe is not HGRN.
    assert stands_for(model="hgrn-causal") is None
    assert stands_for(model="my_package.Mixer") is None
    assert compose("hgrn", "listops", ["optim.lr=1"]).origins["stands_for"] == "an option of the recipe was changed"


OPTIONS = {key: item for key, item in option_keys().items() if key not in ("task.name", "model.kwargs")}
TEXT = st.text("0aeE.-+[]{}\"'$\\ \t:é", max_size=8)  # pieces of numbers, JSON, YAML and interpolations


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from(sorted(OPTIONS)), TEXT | st.integers().map(str) | st.floats().map(str), max_size=4)
)
def test_any_override_composes_or_is_refused_in_one_sentence(values):
    try:
        config = compose("hgrn", "listops", [f"{key}={value}" for key, value in values.items()]).config
    except UserError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert from_plain(plain(config), "round trip") == config
    assert "\n" not in refusal


def test_words_of_a_layer_read_back():
    layer = {"task": {"scale": "tiny"}, "optim": {"lr": 0.1, "recurrence_lr": None}, "model": {"kwargs": {"heads": 2}}}
    assert parse_overrides(as_words(layer)) == layer


def test_defaults_lie_within_their_bounds():
    bounded = [(key, item) for key, item in option_keys().items() if isinstance(item.default, int | float)]
    assert len(bounded) > 10
    for key, item in bounded:
        assert item.metadata["low"] <= item.default <= item.metadata["high"], key


def test_a_task_of_ones_own_needs_no_file(tmp_path, monkeypatch):
    """A dotted path and a folder of arrays stand where a task's name stands; a name without a dot is looked up."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "card.toml").touch()
    for name in ("my_package.MyTask", "./mine", "mine"):
        assert compose("hgrn", name).config.task.name == name
    with pytest.raises(UserError, match="Unknown task 'listop'"):
        compose("hgrn", "listop")
