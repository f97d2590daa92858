"""From the options of a task to the task."""

import torch

from lra_hgrn.config import Config
from lra_hgrn.imports import search_current_folder
from lra_tasks import LRATask, get_task


def build_task(config: Config, device: torch.device | None = None) -> LRATask:
    """Build the task of a configuration, prepared or not; `prepare_data` and `setup` make it usable.

    Args:
        device: GPU that may hold the whole task; None: batches come from the files.

    Raises:
        TaskError: for an unknown task, scale, protocol or source, or an augmentation that the task does not have.
    """
    search_current_folder()
    options = config.task
    return get_task(options.name)(
        scale=options.scale,
        protocol=options.protocol,
        source=options.source,
        selection=options.selection,
        seed=options.seed,
        data_dir=options.data_dir,
        workers=options.workers,
        batch_size=config.train.batch_size,
        eval_batch_size=config.train.eval_batch_size,
        order_seed=config.seed,
        bucket_batches=config.train.bucket_batches,
        augment=options.augment,
        device=device if config.train.resident else None,
    )
