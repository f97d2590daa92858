"""Search for the hyper-parameters of one cell, on the validation split alone."""

import gc
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from lra_hgrn.errors import Stopped, UserError
from lra_hgrn.results.files import CHECKPOINTS
from lra_hgrn.training import trackers
from lra_hgrn.training.data import build_task
from lra_hgrn.training.run import Validation, validate
from lra_hgrn.tuning.display import Display
from lra_hgrn.tuning.outcome import check_same_search, write_model, write_study
from lra_hgrn.tuning.plan import Plan
from lra_hgrn.tuning.space import options_of
from lra_hgrn.tuning.study import Study, Trial, best_first, check_installed
from lra_tasks import TaskError

TRIALS = "trials"  # folder with one folder a trial


def tune(plan: Plan, directory: Path) -> list[Trial]:
    """Run the trials that are missing, and write ``tuned.json`` and ``tuned.yaml``.

    The test split is never read. A trial that fails or diverges counts as a trial. The same call goes on with a search
    that was interrupted, at the step where it was; with a larger number of trials it goes on with one that has ended.

    Args:
        plan: what is searched, from `lra_hgrn.tuning.plan.make_plan`.
        directory: the search's folder, made if missing.

    Returns:
        Every trial of the study, in order.

    Raises:
        UserError: Optuna is not installed, the task has no validation split of its own, the folder holds another
            search or one at work, or no trial finished.
        Stopped: on SIGINT or SIGTERM in a trial, which has saved its state.
    """
    check_installed()
    trackers.check_installed(plan.base.train.tracker)
    _check_validation(plan)
    check_same_search(plan, directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / ".lock", timeout=0):
            return _search(plan, directory)
    except Timeout:
        raise UserError(f"Another process searches in {directory}: wait for it, or choose another --output.") from None
    except OSError as error:
        raise UserError(f"The search stopped: {error}. Mend this; the same command goes on.") from error


def _check_validation(plan: Plan) -> None:
    task = build_task(plan.base)
    if task.selects_on_test:
        raise UserError(
            f"{task.name} selects on its test split with task.selection=published: "
            "there is no validation split to search on; use task.selection=strict."
        )
    task.prepare_data()  # here and not in a trial, whose failure does not end the search


def _search(plan: Plan, directory: Path) -> list[Trial]:
    study = Study(directory, plan.name, plan.space, plan.seed)
    trials = study.trials()
    write_study(plan, directory, trials)
    with Display(f"{plan.base.model.name} on {plan.base.task.name}", plan.trials) as display:
        display.count(len(trials), "")
        while len(trials) < plan.trials:
            proposed, words = study.propose()
            folder = directory / TRIALS / f"{len(trials) + 1:03}"
            display.start(len(trials) + 1)
            trial = _run(plan, words, len(trials) + 1, folder, display)
            study.end(proposed, trial)
            for name in CHECKPOINTS:
                (folder / name).unlink(missing_ok=True)
            trials.append(trial)
            write_study(plan, directory, trials)
            display.finish(trial, next(iter(best_first(trials)), None))
    write_model(plan, directory, trials)
    return trials


def _run(plan: Plan, words: list[str], number: int, folder: Path, display: Display) -> Trial:
    """Train one trial; whatever it fails of but the disk is its result."""
    try:
        ended = validate(plan.config(words, plan.epochs), folder, display)
    except (OSError, Stopped):
        raise
    except (UserError, TaskError) as error:
        ended = Validation("failed", str(error), None, None, 0.0)
    except Exception as error:
        ended = Validation("failed", f"{type(error).__name__}: {' '.join(str(error).split())}", None, None, 0.0)
    finally:
        _release(plan)
    if ended.status == "stopped":
        raise Stopped(f"Stopped in trial {number}; the same command goes on.")
    done = ended.status == "finished"
    return Trial(
        number,
        options_of(words),
        "finished" if done else "failed",
        ended.accuracy if done else None,
        ended.step if done else None,
        ended.seconds,
        ended.message,
    )


def _release(plan: Plan) -> None:
    """Give back what a trial held, so that the next one has all the memory."""
    gc.collect()
    if plan.base.train.compile:
        torch.compiler.reset()  # or the trials together reach the limit of recompilations
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
