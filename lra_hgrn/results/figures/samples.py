"""The test samples of a run, where its data still lie prepared."""

from typing import TYPE_CHECKING

from lra_hgrn.config import from_plain
from lra_hgrn.errors import UserError
from lra_hgrn.results.record import Record

if TYPE_CHECKING:
    from lra_tasks import LRATask


def open_task(record: Record) -> "LRATask":
    """Open the task of a run; nothing is prepared and nothing downloaded.

    Raises:
        UserError: the data are not prepared here, are damaged, or are not those that the run was tested on.
    """
    from lra_hgrn.training.data import build_task
    from lra_tasks.errors import TaskError

    config = from_plain(record.config, f"the record of {record.run}")
    try:
        task = build_task(config)
        if not task.folder.exists():
            raise UserError(
                f"The data of {record.task} ({record.scale}) are not prepared in {task.folder}: "
                f"`lra data prepare` makes them."
            )
        task.setup("test")
    except TaskError as error:
        raise UserError(str(error)) from None
    if task.fingerprint != record.data_fingerprint:
        raise UserError(f"The data in {task.folder} are not those that {record.run} was tested on.")
    return task
