"""What `lra reproduce` runs: a paper's table, or what the recipes of one model stand for."""

from collections.abc import Sequence

from lra_hgrn.config.compose import STANDS_FOR, config_dir, names, read_yaml
from lra_hgrn.errors import UserError, nearest
from lra_hgrn.suite import Cell, Suite, ad_hoc_suite, load_suite, suites
from lra_tasks import task_names


def reproduction(
    name: str, overrides: Sequence[str] = (), tasks: Sequence[str] = (), models: Sequence[str] = ()
) -> Suite:
    """Return the suite that reproduces a paper's table, or the published figures of one model.

    Args:
        name: of a paper (a suite of ``configs/suites`` says that it ``reproduces`` it), or of a model in
            ``configs/models`` with recipes that stand for published figures.
        overrides, tasks, models: as `lra_hgrn.suite.load_suite`.

    Raises:
        UserError: there is nothing of that name to reproduce, or a wrong word.
    """
    papers = {file.reproduces: suite for suite, file in suites().items() if file.reproduces is not None}
    if name in papers:
        return load_suite(papers[name], overrides, tasks, models)
    figures = _figures(name) if name in names("models") else {}
    if not figures:
        published = [model for model in names("models") if model not in papers and _figures(model)]
        known = [*papers, *published]
        raise UserError(
            f"Nothing published is known to reproduce as {name!r}.{nearest(name, known)} Papers: {', '.join(papers)}. "
            f"Models: {', '.join(published)}."
        )
    cells = [Cell(name, task) for task in figures]
    against = list(dict.fromkeys(figures.values()))
    return ad_hoc_suite(name, f"{name}, as published", cells, against, overrides, tasks, models)


def _figures(model: str) -> dict[str, str]:
    """Return the published row that the recipe of a model stands for, task by task."""
    found = {}
    for task in task_names():
        path = config_dir() / "recipes" / model / f"{task}.yaml"
        if path.is_file() and (figure := read_yaml(path, str(path)).get(STANDS_FOR)) is not None:
            found[task] = figure
    return found
