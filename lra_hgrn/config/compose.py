"""Compose one cell's configuration: defaults ← task ← model ← recipe ← suite ← command line.

Each layer is a mapping of the options in `lra_hgrn.config.schema`; each leaf remembers the layer that set it.
Nothing here imports torch, so that a wrong key is answered at once.
"""

import copy
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lra_hgrn.config.schema import Config, ModelConfig
from lra_hgrn.config.yaml_files import check_values, read_yaml
from lra_hgrn.errors import UserError, nearest
from lra_tasks.errors import one_line, shown
from lra_tasks.registry import is_folder

RUNS = Path("results") / "runs"  # where runs lie unless another folder is given
TARGET = "model.target"
RECIPES = "recipes"  # key of a model's file: the model by whose recipes it is trained
DEFAULT_RECIPES = "hgrn"
KWARGS = "model.kwargs"  # the one free subtree: checked against the token mixer's constructor when it is built

# Where a cell runs and how often it reports do not change what it learns, and the seeds of a cell belong together:
# configurations that differ only here have one identity.
NOT_IDENTITY = (
    "seed",
    "task.data_dir",
    "task.workers",
    "train.eval_batch_size",
    "train.resident",
    "train.cuda_graphs",
    "train.accelerator",
    "train.devices",
    "train.threads",
    "train.deterministic",
    "train.checkpoint_minutes",
    "train.log_every",
    "train.tracker",
    "tuning.trials",
    "tuning.epochs",
    "stands_for",
    "profile",
)


# How a recipe is computed, which is told beside its result and does not make another recipe of it.
ARITHMETIC = ("train.precision", "train.compile")
STANDS_FOR = "stands_for"


@dataclass
class Layer:
    """One source of options: its name for messages, and a nested mapping."""

    origin: str
    values: Mapping[str, Any]


@dataclass
class Composed:
    """A resolved configuration, and for each dotted key the layer that set it."""

    config: Config
    origins: dict[str, str] = field(default_factory=dict)


def config_dir() -> Path:
    """Return the folder of YAML files: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def names(kind: str) -> list[str]:
    """Return the names of the files in one folder of ``configs/`` (tasks, models, suites)."""
    return sorted(path.stem for path in (config_dir() / kind).glob("*.yaml"))


def find(kind: str, name: str) -> tuple[Path, str]:
    """Return the file of a named task, model or suite, or a user's own file, with its name for messages.

    Raises:
        UserError: there is no such file.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise UserError(f"There is no file {shown(name)}.")
        return path, str(path)
    if name not in names(kind):
        known = ", ".join(names(kind))
        close = nearest(name, names(kind))
        raise UserError(f"Unknown {kind[:-1]} {shown(name)}.{close} Known: {known}, or a .yaml file.")
    return config_dir() / kind / f"{name}.yaml", f"configs/{kind}/{name}.yaml"


def compose(model: str, task: str, overrides: Sequence[str] = (), extra: Sequence[Layer] = ()) -> Composed:
    """Compose the configuration of one cell, `lra_hgrn.cell.compose_cell` without the fit of ``model.match``.

    Args:
        model: a name in ``configs/models``, a YAML file of the user's, or the dotted path of a class.
        task: a name in ``configs/tasks``, a YAML file of the user's, a class's dotted path or a folder of arrays.
        overrides: ``key=value`` words of the command line.
        extra: layers between the recipe and the command line (a suite's settings).

    Raises:
        UserError: for an unknown name, a wrong key, type or choice.
    """
    layer, recipes = _model_layer(model)
    published = [_task_layer(task), layer, *_recipe_layers(recipes, task, model)]
    changes = [*extra, Layer("command line", parse_overrides(overrides))]
    composed = merge([*published, *changes])
    if composed.config.stands_for is not None and _departs(composed.config, published, changes):
        composed.config.stands_for, composed.origins[STANDS_FOR] = None, "an option of the recipe was changed"
    return composed


def _departs(config: Config, published: Sequence[Layer], changes: Sequence[Layer]) -> bool:
    """Whether ``changes`` make of the published recipe something that no longer stands for the published figure."""
    keys = {key for layer in changes for key, _ in _leaves(layer.values)}
    if STANDS_FOR in keys:
        return False
    if all(key in NOT_IDENTITY or key in ARITHMETIC for key in keys):
        return False
    before, after = (dict(_leaves(plain(item))) for item in (merge(published).config, config))
    kept = (before.keys() | after.keys()) - {*NOT_IDENTITY, *ARITHMETIC}
    return any(before.get(key) != after.get(key) for key in kept)


def compose_task(task: str, overrides: Sequence[str] = ()) -> Config:
    """Compose the configuration of a task without a model, for the commands that only need its data."""
    nameless = Layer("default", {"model": {"name": "none"}})
    return merge([nameless, _task_layer(task), Layer("command line", parse_overrides(overrides))]).config


def compose_model(model: str, overrides: Sequence[str] = (), base: Mapping[str, Any] | None = None) -> ModelConfig:
    """Compose the options of a model without a task: ``base`` ← the model's file or dotted path ← overrides."""
    layers = [Layer("default", {"task": {"name": "none"}, "model": base or {}}), _model_layer(model)[0]]
    return merge([*layers, Layer("command line", parse_overrides(overrides))]).config.model


def _task_layer(task: str) -> Layer:
    if not _is_file_or_name("tasks", task) and (is_folder(task) or _is_dotted(task)):
        return Layer("command line", {"task": {"name": task}})
    path, origin = find("tasks", task)
    return Layer(origin, read_yaml(path, origin))


def _model_layer(model: str) -> tuple[Layer, list[str]]:
    """Return the options of a model, and whose recipes it is trained by: the first ones, its own over them.

    A model's file names the first ones as ``recipes``, beside its options; a dotted path is trained by HGRN's.
    """
    if not _is_file_or_name("models", model) and _is_dotted(model):
        name = model.rpartition(".")[2]
        return Layer("command line", {"model": {"name": name, "target": model}}), [DEFAULT_RECIPES]
    path, origin = find("models", model)
    values = read_yaml(path, origin)
    base = values.pop(RECIPES, None)
    if base is not None and base not in names("models"):
        raise UserError(f"{origin}: {RECIPES} must be a model of configs/models.{nearest(str(base), names('models'))}")
    return Layer(origin, values), [name for name in (base, model) if name is not None]


def has_recipe(model: str, task: str) -> bool:
    """Whether there is a recipe for a cell: its sizes and its training are not only the defaults."""
    return any(_recipe_layers(_model_layer(model)[1], task, model))


def _recipe_layers(recipes: Sequence[str], task: str, model: str) -> Iterator[Layer]:
    for name in recipes:
        path = config_dir() / "recipes" / name / f"{task}.yaml"
        if path.is_file():
            origin = f"configs/recipes/{name}/{task}.yaml"
            values = read_yaml(path, origin)
            if name != model:
                values.pop(STANDS_FOR, None)  # what a recipe stands for is not what others do with it
            yield Layer(origin, values)


def _is_file_or_name(kind: str, name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or name in names(kind)


def _is_dotted(name: str) -> bool:
    return "." in name and all(part.isidentifier() for part in name.split("."))


def merge(layers: Sequence[Layer]) -> Composed:
    """Merge layers over the defaults, later ones over earlier ones, each leaf checked as it is set.

    A layer that names another token mixer drops the keyword arguments that earlier layers gave the one before.
    """
    config = copy.deepcopy(_schema())
    origins = dict.fromkeys(option_keys(), "default")
    for layer in layers:
        leaves = dict(_leaves(layer.values))
        if leaves.get(TARGET, config.model.target) != config.model.target:
            config.model.kwargs = {}
            origins = {key: origin for key, origin in origins.items() if not key.startswith(f"{KWARGS}.")}
        for key, value in leaves.items():
            _set(config, key, value, layer.origin)
            origins[key] = layer.origin
    if config.model.kwargs:
        del origins[KWARGS]  # each of them has an origin of its own
    for key in sorted(OmegaConf.missing_keys(config)):
        raise UserError(f"Option {shown(key)} has no value; set it in a file or as {one_line(key, 100)}=...")
    return Composed(cast(Config, OmegaConf.to_object(config)), origins)


@cache
def _schema() -> DictConfig:
    return cast(DictConfig, OmegaConf.structured(Config))  # slow to make, and made for every cell of a suite


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Turn ``a.b=value`` words into a nested mapping.

    Values are read as JSON where they are JSON (numbers, true, null, lists, mappings) and as text otherwise; the
    option's type then decides. YAML 1.1 is avoided on purpose: there ``on`` is true and ``010`` is 8.
    """
    tree: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UserError(f"{shown(word)} is not an override; write key=value, for example optim.lr=1e-3.")
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise UserError(f"Override {shown(word)} contradicts another one on the command line.")
        node[leaf] = text if _is_text(key) and text != "null" else parse_value(text)
    return tree


def parse_value(text: str) -> Any:
    """Read one value of the command line."""
    for read in (json.loads, int, float):
        try:
            return read(text)
        except (ValueError, RecursionError):
            continue
    return text


def as_words(values: Mapping[str, Any]) -> list[str]:
    """Write a nested mapping of options as ``key=value`` words that `parse_overrides` reads back."""
    return [
        f"{key}={value if _is_text(key) and isinstance(value, str) else json.dumps(value)}"
        for key, value in _leaves(values)
    ]


@cache
def option_keys() -> dict[str, dataclasses.Field[Any]]:
    """Return every dotted key of the schema with its dataclass field (help, unit, default)."""

    def walk(node: Any, prefix: str) -> Iterator[tuple[str, dataclasses.Field[Any]]]:
        for item in dataclasses.fields(node):
            if dataclasses.is_dataclass(item.type):
                yield from walk(item.type, f"{prefix}{item.name}.")
            else:
                yield prefix + item.name, item

    return dict(walk(Config, ""))


def identity(config: Config) -> str:
    """Return the hash (12 hex digits) of everything in a configuration that decides what is learnt, but the seed.

    Options at their default are left out, so that an option that is added later on changes no earlier hash.
    """
    kept = {key: value for key, value in changed(config).items() if key not in NOT_IDENTITY}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def changed(config: Config) -> dict[str, Any]:
    """Return the options of a configuration that differ from their defaults, by dotted key."""
    defaults = _defaults()
    return {key: value for key, value in _leaves(plain(config)) if key not in defaults or defaults[key] != value}


@cache
def _defaults() -> dict[str, Any]:
    return dict(_leaves(plain(Config())))


def run_name(config: Config) -> str:
    """Return the folder name of a cell: readable, and different for every different result."""
    model = "".join(letter if letter.isalnum() else "-" for letter in config.model.name.lower())
    task = config.task.name.strip("./").replace("/", "-")
    scale = "-".join(filter(None, (config.task.scale, config.task.source)))
    return f"{task}-{scale}-{model}-seed{config.seed}-{identity(config)}"


def plain(config: Config) -> dict[str, Any]:
    """Return a configuration as plain containers, as written to ``config.yaml``, records and checkpoints."""
    return dataclasses.asdict(config)


def from_plain(values: Mapping[str, Any], origin: str) -> Config:
    """Rebuild a configuration from `plain`'s result, checking it as any other layer."""
    return merge([Layer(origin, values)]).config


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        # An option that is itself a mapping (model.kwargs) is given key by key, so that layers add to one another.
        if isinstance(value, Mapping) and (value or dotted != KWARGS) and not dotted.startswith(f"{KWARGS}."):
            yield from _leaves(value, f"{dotted}.")
        else:
            yield dotted, value


def _set(config: DictConfig, key: str, value: Any, origin: str) -> None:
    if key.startswith(f"{KWARGS}."):
        try:
            check_values(value)
            OmegaConf.update(config, key, value, force_add=True)
        except (OmegaConfBaseException, ValueError, TypeError, RecursionError) as error:
            raise UserError(f"Option {shown(key)} ({origin}) cannot be {shown(value)}: {one_line(error)}.") from None
        return
    if key == KWARGS and isinstance(value, Mapping):
        return
    if key not in option_keys():
        raise UserError(f"Unknown option {shown(key)} ({origin}).{_nearest_key(key)}")
    kind = _type_name(option_keys()[key])
    if _is_text(key) and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # YAML reads `precision: 16` as a number
    try:
        if _is_text(key) and isinstance(value, bool | float):
            raise ValueError
        check_values(value)
        OmegaConf.update(config, key, value)
    except (OmegaConfBaseException, ValueError):
        choices = _choices(option_keys()[key])
        guess = nearest(one_line(value), choices) if choices else ""
        raise UserError(f"Option {key!r} takes {kind}, not {shown(value)} ({origin}).{guess}") from None
    low, high = (option_keys()[key].metadata.get(bound) for bound in ("low", "high"))
    if isinstance(value, int | float) and low is not None and high is not None and not low <= value <= high:
        bounds = f"at least {low}" if high == math.inf else f"between {low} and {high}"
        raise UserError(f"Option {key!r} must be {bounds}, not {shown(value)} ({origin}).")


def _is_text(key: str) -> bool:
    return key in option_keys() and (_type_name(option_keys()[key]).startswith(("str", "one of")))


def _nearest_key(key: str) -> str:
    leaf = key.rpartition(".")[2]
    same_leaf = [known for known in option_keys() if known.rpartition(".")[2] == leaf]
    return f" Did you mean {same_leaf[0]!r}?" if same_leaf else nearest(key, option_keys())


def _choices(item: dataclasses.Field[Any]) -> tuple[str, ...]:
    return getattr(item.type, "__args__", ()) if "Literal" in str(item.type) else ()


def _type_name(item: dataclasses.Field[Any]) -> str:
    choices = _choices(item)
    if choices:
        return "one of " + ", ".join(choices)
    return item.type.__name__ if isinstance(item.type, type) else str(item.type).replace(" | None", " or null")
