"""Notice numbers that go wrong: a gradient that explodes, a loss that stays at that of guessing."""

import math
from typing import Any, Literal

import lightning as L
import numpy as np

from lra_hgrn.config import TrainConfig
from lra_hgrn.results.record import Incident, Kind

Policy = Literal["note", "stop"]
EARLY = 10  # windows whose largest gradients are what later ones are measured by
AT_CHANCE = 0.01  # share by which the loss of an epoch may lie under that of guessing


class Spoilt(Exception):
    """Numbers went wrong, and the run ends here; ``status`` is what its record says."""

    def __init__(self, status: Literal["diverged", "exploded", "plateau"], message: str) -> None:
        super().__init__(message)
        self.status = status


def guessing_loss(labels: np.ndarray, n_classes: int) -> float:
    """Return the cross-entropy (nats) of one who knows the shares of the classes alone: ln classes if they are equal.

    Args:
        labels: (n,) integers in [0, n_classes).
    """
    shares = np.bincount(labels, minlength=n_classes) / len(labels)
    return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())


class Health(L.Callback):
    """Watch the losses and gradients that the journal reads, and end the run or note an incident by policy.

    Nothing is read from the device beside what the journal reads. In the order of the checks:

    - a loss that is not finite ends the run (`diverged`);
    - a gradient's norm over ``train.explosion`` times the median of the first windows' largest is an explosion;
    - a training loss within 1 % of guessing, or above it, for ``train.plateau_epochs`` epochs in turn is a plateau.

    Args:
        training: the policies.
        guessing: from `guessing_loss`, of the training split.
        incidents: where they are kept; those of earlier sessions come with the checkpoint.
    """

    def __init__(self, training: TrainConfig, guessing: float, incidents: list[Incident]) -> None:
        self.training = training
        self.guessing = guessing
        self.incidents = incidents
        self._early: list[float] = []  # largest norms of the first windows
        self._loss = [0.0, 0]  # of this epoch: sum over samples, samples
        self._flat = 0  # epochs at chance in turn

    def state_dict(self) -> dict[str, Any]:
        incidents = [dict(vars(incident)) for incident in self.incidents]
        return {"early": self._early, "loss": self._loss, "flat": self._flat, "incidents": incidents}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._early, self._loss, self._flat = list(state["early"]), list(state["loss"]), state["flat"]
        self.incidents[:0] = [Incident(**incident) for incident in state["incidents"]]

    def see(self, step: int, loss: float, samples: int, gradient: float) -> None:
        """Take the numbers of one window.

        Args:
            step: the last one of the window.
            loss: mean over its samples.
            samples: in the window.
            gradient: largest norm in it, before clipping.

        Raises:
            Spoilt: they end the run.
        """
        if not math.isfinite(loss):
            raise Spoilt("diverged", f"The training loss was {loss} at step {step}.")
        self._loss = [self._loss[0] + loss * samples, self._loss[1] + samples]
        if not math.isfinite(gradient):
            return  # half precision: the scaler left the step out; otherwise the next loss is not finite
        if len(self._early) < EARLY:
            self._early.append(gradient)
        elif gradient > self.training.explosion * float(np.median(self._early)):
            usual = float(np.median(self._early))
            message = f"The gradient's norm was {gradient:.3g} up to step {step}, and at the beginning {usual:.3g}."
            self._act("gradient", self.training.on_explosion, "exploded", step, message)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        total, samples = self._loss
        self._loss = [0.0, 0]
        loss = total / max(1, samples)
        self._flat = self._flat + 1 if loss >= (1 - AT_CHANCE) * self.guessing else 0
        if self._flat == self.training.plateau_epochs:
            message = (
                f"The training loss was that of guessing ({self.guessing:.4g}) for {self._flat} "
                f"epoch{'s' if self._flat > 1 else ''}, up to step {trainer.global_step}."
            )
            self._act("plateau", self.training.on_plateau, "plateau", trainer.global_step, message)

    def _act(self, kind: Kind, policy: Policy, status: Literal["exploded", "plateau"], step: int, message: str) -> None:
        if policy == "stop":
            raise Spoilt(status, message)
        if all(incident.kind != kind for incident in self.incidents):  # the first one tells enough
            self.incidents.append(Incident(kind=kind, step=step, message=message))
