"""The trials of a search, proposed and kept by Optuna (Akiba et al. 2019, arXiv 1907.10902).

Proposals come from the tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), seeded anew for each trial:
a search that was interrupted proposes what it would have proposed otherwise.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lra_hgrn.errors import UserError
from lra_hgrn.results.decode import decode
from lra_hgrn.tuning.space import Dimension
from lra_tasks.errors import one_line

if TYPE_CHECKING:
    import optuna

FILE = "study.log"
_RESULT = "result"  # attribute of Optuna's trials


@dataclass(frozen=True)
class Trial:
    """One set of options and how training with it ended."""

    number: int  # from 1
    options: dict[str, Any]  # value of each searched option
    state: Literal["finished", "failed"]
    val_accuracy: float | None  # highest of the run; None if it failed
    step: int | None  # where that was
    seconds: float
    message: str = ""  # one sentence: why it failed


def check_installed() -> None:
    """Check that Optuna can be imported.

    Raises:
        UserError: the extra is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UserError("lra tune needs the extra: pip install 'lra-hgrn[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


class Study:
    """The trials of one search, in ``study.log`` of its folder; Optuna's own tools read it as well."""

    def __init__(self, directory: Path, name: str, space: Sequence[Dimension], seed: int) -> None:
        """Open the study of a folder, or begin one.

        A trial that a killed process left behind is proposed again.

        Raises:
            UserError: ``study.log`` holds something else.
        """
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        self.space, self.seed = space, seed
        self._distributions = {dimension.key: _distribution(dimension) for dimension in space}
        # By its whole path: Optuna's lock is a link to it.
        backend = JournalFileBackend(str(directory.resolve() / FILE))
        try:
            self._study = optuna.create_study(
                storage=JournalStorage(backend), study_name=name, direction="maximize", load_if_exists=True
            )
            for left in self._study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
                self._study.tell(left.number, state=optuna.trial.TrialState.FAIL)
                self._study.enqueue_trial(left.params)
            self.trials()
        except OSError:
            raise
        except Exception as error:  # Optuna raises whatever it stumbles over in a log that it did not write
            raise UserError(
                f"{directory / FILE} cannot be read as the study of a search ({one_line(error)}); choose another "
                "--output."
            ) from None

    def trials(self) -> list[Trial]:
        """Return the trials that have ended, in order."""
        ended = (trial for trial in self._study.get_trials() if trial.state.is_finished())
        return [decode(Trial, trial.user_attrs[_RESULT]) for trial in ended if _RESULT in trial.user_attrs]

    def propose(self) -> tuple[Any, list[str]]:
        """Return a new trial of Optuna's, to be ended with `end`, and its options as words of the command line."""
        import optuna

        state = np.random.SeedSequence((self.seed, len(self.trials()))).generate_state(1)
        self._study.sampler = optuna.samplers.TPESampler(seed=int(state[0]))
        proposed = self._study.ask(self._distributions)
        return proposed, [dimension.word(proposed.params[dimension.key]) for dimension in self.space]

    def end(self, proposed: Any, trial: Trial) -> None:
        """Keep what came of a proposal."""
        from optuna.trial import TrialState

        proposed.set_user_attr(_RESULT, asdict(trial))
        if trial.state == "finished":
            self._study.tell(proposed, trial.val_accuracy)
        else:
            self._study.tell(proposed, state=TrialState.FAIL)


def best_first(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that finished, the highest validation accuracy first, the earlier one among equals."""
    finished = [(trial.val_accuracy, trial) for trial in trials if trial.val_accuracy is not None]
    return [trial for _, trial in sorted(finished, key=lambda item: (-item[0], item[1].number))]


def _distribution(dimension: Dimension) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.kind == "choice":
        return CategoricalDistribution(dimension.values)
    low, high = dimension.values
    return (
        IntDistribution(low, high)
        if dimension.kind == "int"
        else FloatDistribution(low, high, log=dimension.kind == "log")
    )
