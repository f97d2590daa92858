"""The LightningModule: loss, metrics and optimiser around a sequence classifier."""

from itertools import zip_longest
from typing import Any, NamedTuple

import lightning as L
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lra_hgrn.config import Config, plain
from lra_hgrn.models.precision import autocast
from lra_hgrn.training import processes
from lra_hgrn.training.optim import build_optimizer, build_schedule, schedule_end
from lra_tasks.loader import Batch


class Seen(NamedTuple):
    """What metrics say of the samples of a split since they were last popped, over all processes."""

    loss: float
    accuracy: float
    samples: int


class SplitMetrics(nn.Module):
    """Loss and accuracy of one split; they accumulate on the device until they are popped."""

    def __init__(self, n_classes: int, persistent: bool) -> None:
        super().__init__()
        self.loss = MeanMetric(nan_strategy="disable")  # a NaN must be seen
        self.accuracy = MulticlassAccuracy(n_classes, average="micro", validate_args=False)
        for metric in (self.loss, self.accuracy):
            metric.persistent(persistent)

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        # Once for each sample: a weight would be copied from the host, and is ignored by nan_strategy="disable".
        self.loss.update(loss.detach().expand(len(labels)))
        self.accuracy.update(logits.detach(), labels)

    def pop(self) -> Seen:
        """Return what was seen since the last call, and start anew. Synchronises with the device and all processes."""
        (samples,) = processes.total([int(self.loss.weight)])
        seen = Seen(float(self.loss.compute()), float(self.accuracy.compute()), samples)
        self.reset()
        return seen

    def reset(self) -> None:
        """Forget what was seen."""
        self.loss.reset()
        self.accuracy.reset()

    def gather(self) -> None:
        """Let the first of several processes, which writes checkpoints, have seen what all of them have."""
        if processes.world_size() == 1:
            return
        for metric in (self.loss, self.accuracy):
            for name, value in metric.metric_state.items():
                assert isinstance(value, Tensor)
                dist.all_reduce(value)
                setattr(metric, name, value if dist.get_rank() == 0 else torch.zeros_like(value))


class Classification(L.LightningModule):
    """Cross-entropy training of ``net(inputs, lengths) -> logits``.

    The metrics of the training split are part of the checkpoint, so that a resumed run logs the same rows.
    """

    def __init__(self, net: nn.Module, n_classes: int, config: Config, total_steps: int) -> None:
        super().__init__()
        self.net = net
        self.config = config
        self.schedule_end = schedule_end(config.optim, total_steps)
        self.train_metrics = SplitMetrics(n_classes, persistent=True)
        self.val_metrics = SplitMetrics(n_classes, persistent=False)
        self.largest_gradient: Tensor  # norm, since the last `pop_gradient`
        self.register_buffer("largest_gradient", torch.zeros(()))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        weight = self.trainer.train_dataloader.weight if processes.world_size() > 1 else 1.0  # type: ignore[union-attr]
        return self._step(batch, self.train_metrics, weight)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step(batch, self.val_metrics)

    def _step(self, batch: Batch, metrics: SplitMetrics, weight: float = 1.0) -> Tensor:
        logits = self.net(batch.inputs, batch.lengths)
        loss = F.cross_entropy(logits.float(), batch.labels)
        if weight:
            metrics.update(loss, logits, batch.labels)
        return loss if weight == 1 else loss * weight

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        # Lightning's own refuses fused optimisers under autocast, also where no scaler is at work.
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if gradient_clip_val:
            nn.utils.clip_grads_with_norm_(self.net.parameters(), gradient_clip_val, norm)
        torch.maximum(self.largest_gradient, norm, out=self.largest_gradient)

    def pop_gradient(self) -> float:
        """Return the largest norm of the gradient, before clipping, since the last call. Waits for the device."""
        largest = float(self.largest_gradient)
        self.largest_gradient.zero_()
        return largest

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["lra_config"] = plain(self.config)  # a checkpoint says by itself what it is of

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.net, self.config.optim, self.config.train.precision)
        schedule = build_schedule(optimizer, self.config.optim, self.schedule_end)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Predicted(NamedTuple):
    """What a network says of n samples, on the CPU."""

    classes: Tensor  # (n,) int64
    confidence: Tensor  # (n,) float32: softmax probability of that class; 0 where logits are not finite


@torch.inference_mode()
def predict(module: Classification, loader: Any, precision: str, progress: Any = None) -> Predicted:
    """Predict every sample of a loader, in its order, on the module's device.

    Several processes predict their share of each batch, and each of them is given all.
    """
    training = module.training
    module.eval()
    classes, confidences = [], []
    for done, batch in enumerate(loader, start=1):
        inputs, lengths = batch.inputs.to(module.device), batch.lengths.to(module.device)
        with autocast(module.device, precision):
            logits = module.net(inputs, lengths)
        best = logits.argmax(dim=-1)
        confidence = logits.float().softmax(dim=-1).gather(-1, best[:, None])[:, 0]
        classes.append(best.cpu())
        confidences.append(confidence.nan_to_num(nan=0.0).cpu())
        if progress is not None:
            progress(done, len(loader))
    module.train(training)
    return Predicted(*(_in_order(processes.gathered(parts)) for parts in (classes, confidences)))


def _in_order(parts: list[list[Tensor]]) -> Tensor:
    """Join what each process has of each batch; one that had no share of the last batch has one part less."""
    batches = zip_longest(*parts, fillvalue=torch.empty(0))
    return torch.cat([part for batch in batches for part in batch if len(part)])
