"""The command that repeats a run, made from its record alone."""

import shlex
from collections.abc import Iterator
from functools import cache

from lra_hgrn.cell import WIDTH, compose_cell
from lra_hgrn.config import Config, compose, from_plain, identity, plain
from lra_hgrn.config.compose import STANDS_FOR, as_words, find, names, read_yaml
from lra_hgrn.errors import UserError
from lra_hgrn.results.record import Record

# Where the data lie and who watches belong to the machine; what a recipe stands for follows from the rest.
_LEFT_OUT = ("task.data_dir", "train.tracker", STANDS_FOR)


def train_command(record: Record) -> str:
    """Return ``lra train MODEL TASK key=value ...`` for the shell, whose identity and seed are those of the run.

    A model's file and its recipe only set options. So any model will do if the words say what the run had otherwise;
    of those with the run's token mixer the one that leaves the fewest words is taken. A user's own .yaml file need
    not be at hand.

    Raises:
        UserError: this version cannot compose the run: it lacks one of its options, or the task or the model.
    """
    return f"lra train {shlex.join(train_words(from_plain(record.config, f'the record of {record.run}')))}"


def train_words(config: Config) -> list[str]:
    """Return the model, the task and the ``key=value`` words that compose ``config``; as `train_command`."""
    found = sorted(_candidates(config), key=len)  # stable: among equals the model's own file is first
    for words in found:
        model, task, *overrides = words
        again = compose_cell(model, task, overrides).config
        if (identity(again), again.seed) == (identity(config), config.seed):
            return words
    raise UserError(f"No command composes {config.model.name} on {config.task.name} as it was run.")


def _candidates(config: Config) -> Iterator[list[str]]:
    """Yield words of every model with the run's token mixer, and of one with another, which brings no arguments."""
    task, target = config.task.name, config.model.target
    targets = {name: _target(name) for name in names("models")}
    models = [target] if "." in target else []
    models += [name for name in targets if targets[name] == target]
    models += [name for name in targets if targets[name] != target][:1]
    bases = {model: _base(model, task) for model in models}
    for model in sorted(bases, key=lambda model: bases[model].model.name != config.model.name):
        there = set(as_words(plain(bases[model])))
        words = [word for word in as_words(plain(config)) if word not in there]
        yield [model, task, *(word for word in words if not _left_out(word, config))]


@cache
def _target(name: str) -> str:
    path, origin = find("models", name)
    return read_yaml(path, origin)["model"].get("target", Config().model.target)


@cache
def _base(model: str, task: str) -> Config:
    return compose(model, task).config  # the same for every run of a report; nobody changes it


def _left_out(word: str, config: Config) -> bool:
    key = word.partition("=")[0]
    return key in _LEFT_OUT or (key == WIDTH and config.model.match is not None)
