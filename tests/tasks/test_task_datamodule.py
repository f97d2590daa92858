"""A user's own task, from class to batches."""

from dataclasses import dataclass

import numpy as np

from lra_tasks import LRATask, Protocol, Scale, TaskCard, TaskSpec


@dataclass(frozen=True)
class CopyScale(Scale):
    symbols: int = 4


class Copy(LRATask):
    """A user's own task: the class is the first token."""

    name = "copy"
    card = TaskCard("Copy", "First token", "here", "none", "none", 30, 10, 10, 4, (8, 8), (Protocol("s4", "id", 5, 8),))
    scales = {"full": CopyScale(30, 10, 10), "tiny": CopyScale(3, 1, 1)}

    @property
    def spec(self):
        return TaskSpec("copy", "tokens", 5, 4, 8)

    def build(self, out):
        rng = np.random.default_rng(self.seed)
        for split, size in self.parameters.sizes.items():
            for row in rng.integers(1, 1 + self.parameters.symbols, (size, 8)):
                out[split].append(row, row[0] - 1)


def test_a_task_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setenv("LRA_DATA", str(tmp_path))
    task = Copy(batch_size=7, eval_batch_size=4, order_seed=1)
    assert task.folder.parent == tmp_path / "copy"
    task.prepare_data()
    task.setup("fit")
    assert [len(loader) for loader in (task.train_dataloader(), task.val_dataloader(), task.test_dataloader())] == [
        5,
        3,
        3,
    ]
    for batch in task.train_dataloader():
        assert (batch.inputs[:, 0] - 1 == batch.labels).all()
    assert task.val_dataloader().state_dict() == {"epoch": 0, "position": 0}
    task.batch_size = 30
    assert len(task.train_dataloader()) == 1
    orders = []
    for order_seed in (1, 2):
        same = Copy(batch_size=30, order_seed=order_seed)
        same.setup()
        orders.append(next(iter(same.train_dataloader())).inputs.tolist())
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])
    other = Copy(seed=1)
    other.prepare_data()
    other.setup()
    assert other.folder != task.folder
    assert other.fingerprint != task.fingerprint
