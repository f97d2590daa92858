"""From the options of a task to the task."""

from lra_hgrn.config import Config
from lra_hgrn.imports import search_current_folder
from lra_tasks import LRATask, get_task


def build_task(config: Config) -> LRATask:
    """Build the task of a configuration, prepared or not; `prepare_data` and `setup` make it usable.

    Raises:
        TaskError: for an unknown task, scale or protocol.
    """
    search_current_folder()
    options = config.task
    return get_task(options.name)(
        scale=options.scale,
        protocol=options.protocol,
        seed=options.seed,
        data_dir=options.data_dir,
        workers=options.workers,
        batch_size=config.train.batch_size,
        eval_batch_size=config.train.eval_batch_size,
        order_seed=config.seed,
    )
