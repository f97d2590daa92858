"""A small task that keeps the contract, and tasks that each break one rule of it."""

import itertools
import shutil
from dataclasses import replace

import numpy as np
import torch

from lra_tasks import LRATask, Protocol, Scale, TaskCard, TaskError, TaskSpec
from lra_tasks.loader import BatchLoader

CARD = TaskCard(
    "Toy",
    "What",
    "here",
    "none",
    "none",
    60,
    20,
    20,
    2,
    (1, 6),
    (Protocol("s4", "ids", 9, 6), Protocol("other", "b", 9, 6)),
)


class Toy(LRATask):
    """Keeps the contract."""

    name = "toy"
    card = CARD
    scales = {"full": Scale(60, 20, 20), "half": Scale(30, 10, 10)}

    @property
    def spec(self):
        return TaskSpec("toy", "tokens", 9, 2, 6)

    def rng(self):
        return np.random.default_rng(self.seed)

    def row(self, rng):
        return rng.integers(1, 9, rng.integers(1, 7))

    def label(self, row):
        return int(row[0] > 4)

    def build(self, out):
        rng = self.rng()
        for split, size in self.sizes.items():
            for _ in range(size):
                row = self.row(rng)
                out[split].append(row, self.label(row))


class BadName(Toy):
    name = "to/y"


class NoCard(LRATask):
    name = "toy"
    scales = Toy.scales


class OtherSizes(Toy):
    card = replace(CARD, train=61)


class NoFull(Toy):
    scales = {"half": Scale(30, 10, 10)}


class NoValidation(Toy):
    scales = {**Toy.scales, "half": Scale(30, 0, 10)}


class NoTenth(Toy):
    card = replace(CARD, val=0, train=9)
    scales = {"full": Scale(9, 0, 20)}


class OtherSource(Toy):
    card = replace(CARD, sources=("made up",))


class NoSpec(Toy):
    spec = LRATask.spec


class MoreIds(Toy):
    @property
    def spec(self):
        return TaskSpec("toy", "tokens", 10, 2, 6)


class Longer(Toy):
    @property
    def spec(self):
        return TaskSpec("toy", "tokens", 9, 2, 7)


class OneProtocolLess(Toy):
    @property
    def spec(self):
        return TaskSpec("toy", "tokens", 9, 2 if self.protocol == "s4" else 3, 6)


class LargeIds(Toy):
    dtype = np.dtype(np.int32)


class OtherSpecName(Toy):
    @property
    def spec(self):
        return TaskSpec("copy", "tokens", 9, 2, 6)


class Raises(Toy):
    def row(self, rng):
        return {}["missing"]


class OneMissing(Toy):
    def build(self, out):
        out["train"].append(np.array([1]), 0)


class NewRecipe(Toy):
    serial = itertools.count()

    def _recipe(self):
        return {**super()._recipe(), "serial": next(self.serial)}


class OneClass(Toy):
    def label(self, row):
        return 1


class Padding(Toy):
    def row(self, rng):
        return np.append(super().row(rng)[:5], 0)


class TooLong(Toy):
    def row(self, rng):
        return rng.integers(1, 9, 7)


class Unknown(Toy):
    def row(self, rng):
        return rng.integers(1, 10, 6)


class Unseeded(Toy):
    def rng(self):
        return np.random.default_rng()


class OneSeed(Toy):
    def rng(self):
        return np.random.default_rng(0)


class ByWorkers(Toy):
    def rng(self):
        return np.random.default_rng([self.seed, self.workers])


class Mute(Toy):
    def render(self, document):
        return ""


class Unprintable(Toy):
    def render(self, document):
        raise IndexError("list index out of range")


class Swallows(Toy):
    def build(self, out):
        for split, size in self.sizes.items():
            rows = self.rng().integers(1, 9, (size, 6))
            try:
                out[split].extend(rows, (rows[:, 0] > 4).astype(int))
            except Exception:
                continue


class Rebuilds(Toy):
    def prepare_data(self, progress=None, origin=None):
        shutil.rmtree(self.folder, ignore_errors=True)
        super().prepare_data(progress, origin)


class Litters(Toy):
    def build(self, out):
        (self.folder.parent / f"{self.seed}.txt").touch()
        super().build(out)


class Trusting(Toy):
    def setup(self, stage=None):
        try:
            super().setup(stage)
        except TaskError:
            return


class Loader(BatchLoader):
    pass


class Served(Toy):
    """A task with a loader of its own."""

    loader: type[BatchLoader]
    train_too = True

    def _loader(self, split, batch_size, *, shuffle):
        kind = self.loader if self.train_too or not shuffle else BatchLoader
        return kind(self.split(split), self.spec, batch_size, shuffle=shuffle, seed=self.order_seed)


class DropsLast(BatchLoader):
    def __iter__(self):
        return (batch for batch in super().__iter__() if len(batch.labels) == self.batch_size)


class Repeats(BatchLoader):
    def __iter__(self):
        return (batch for batch in super().__iter__() for _ in range(2))


class PadsWithOne(BatchLoader):
    def _collate(self, *taken):
        batch = super()._collate(*taken)
        rest = torch.arange(batch.inputs.shape[1]) >= batch.lengths[:, None]
        return batch._replace(inputs=batch.inputs.masked_fill(rest, 1))


class PadsToMore(BatchLoader):
    def _collate(self, *taken):
        batch = super()._collate(*taken)
        return batch._replace(inputs=torch.nn.functional.pad(batch.inputs, (0, 1)))


class Narrow(BatchLoader):
    def _collate(self, *taken):
        batch = super()._collate(*taken)
        return batch._replace(inputs=batch.inputs.int())


class OtherLabels(BatchLoader):
    def _collate(self, *taken):
        batch = super()._collate(*taken)
        return batch._replace(labels=1 - batch.labels)


class Backwards(BatchLoader):
    def _order(self):
        return super()._order()[::-1]


class InOrder(BatchLoader):
    def _order(self):
        return np.arange(len(self.split))


class OneOrder(BatchLoader):
    def _order(self):
        return np.random.default_rng(self._epoch).permutation(len(self.split))


class Unsteady(BatchLoader):
    def _order(self):
        return np.random.default_rng().permutation(len(self.split))


class Forgetful(BatchLoader):
    def load_state_dict(self, state):
        pass


def served(loader, train_too=True):
    return type(loader.__name__, (Served,), {"loader": loader, "train_too": train_too})


class Pairs(Toy):
    @property
    def spec(self):
        return TaskSpec("toy", "tokens", 9, 2, 6, documents=2)

    def build(self, out):
        rng = self.rng()
        for split, size in self.sizes.items():
            rows = [self.row(rng) for _ in range(size + 1)]
            numbers = np.array([out.documents.append(row) for row in rows])
            labels = np.array([self.label(row) for row in rows[1:]])
            out[split].extend_pairs(np.stack([numbers[1:], numbers[:-1]], 1), labels)


class Swapped(BatchLoader):
    def _collate(self, *taken):
        batch = super()._collate(*taken)
        half = len(batch.labels)
        order = [*range(half, 2 * half), *range(half)]
        return batch._replace(inputs=batch.inputs[order], lengths=batch.lengths[order])


class Single(BatchLoader):
    def _collate(self, *taken):
        batch = super()._collate(*taken)
        half = len(batch.labels)
        return batch._replace(inputs=batch.inputs[:half], lengths=batch.lengths[:half])


class Values(Toy):
    """Float images of one length."""

    card = replace(CARD, lengths=(4, 4), protocols=(Protocol("s4", "values", 0, 4),), sources=("folder",))

    @property
    def spec(self):
        return TaskSpec("toy", "values", 0, 2, 4, variable=False, shift=0.5, scale=2)

    dtype = np.dtype(np.float32)

    def build(self, out):
        rng = self.rng()
        for split, size in self.sizes.items():
            out[split].extend(rng.normal(size=(size, 4)), np.arange(size) % 2)


class Augmented(Values):
    augmentation = "Training images are mirrored at random."
    table: tuple = ([0, 1, 2, 3], [3, 2, 1, 0])

    def variants(self):
        return np.array(self.table)


def varied(*table):
    return type("Varied", (Augmented,), {"table": table})


class Unscaled(BatchLoader):
    def _collate(self, *taken):
        batch = super()._collate(*taken)
        return batch._replace(inputs=batch.inputs * 2 + 0.5)


BROKEN = [
    (BadName, "declaration", "'to/y' cannot be a folder's name"),
    (NoCard, "declaration", "no card"),
    (OtherSizes, "declaration", "'train': 60.*'train': 61"),
    (NoFull, "declaration", "no scale 'full'"),
    (NoValidation, "declaration", "scale 'half' has no validation"),
    (NoTenth, "declaration", "nor ten of training"),
    (OtherSource, "declaration", "source 'made up'"),
    (NoSpec, "spec", "NotImplementedError"),
    (MoreIds, "spec", "vocab_size 10 and the card 9"),
    (Longer, "spec", "max_length 7 and the card 6"),
    (OneProtocolLess, "spec", "protocol other has n_classes 3 and the card 2"),
    (LargeIds, "spec", "cannot be stored as int32"),
    (OtherSpecName, "spec", "the name 'copy'"),
    (varied([0, 1, 2]), "spec", r"no int64 of \(V, 4\)"),
    (varied([1, 2, 3, 4]), "spec", "name a step beyond 3"),
    (Raises, "prepare", r"KeyError in .*broken_tasks.py, line \d+: 'missing'"),
    (OneMissing, "prepare", "train split came out with 1 samples"),
    (NewRecipe, "prepare", "not prepared"),
    (OneClass, "samples", "All training samples have the label 1|train: labels"),
    (Padding, "samples", "train: ids: 0 to 8"),
    (TooLong, "samples", "train: lengths: 7 to 7"),
    (Unknown, "samples", "train: ids: 1 to 9, 9 different where 1 to 8 is expected"),
    (Unseeded, "repeatable", "Two builds give different samples"),
    (ByWorkers, "repeatable", "depend on the number of workers"),
    (OneSeed, "seed", "Another seed gives the same samples"),
    (Mute, "show", "shows nothing"),
    (Unprintable, "show", "IndexError"),
    (Swallows, "failing build", "goes on though"),
    (Rebuilds, "prepare again", "builds the task again"),
    (Litters, "failing build", "leaves files behind"),
    (Trusting, "damage", "lacks a file"),
    (served(DropsLast), "batches", "28 training samples are left out or altered, and 0"),
    (served(Repeats), "batches", "In an epoch 0 .* and 60 are served twice"),
    (served(PadsWithOne), "batches", "padded with something else"),
    (served(PadsToMore), "batches", r"inputs of shape \(32, 7\)"),
    (served(Narrow), "batches", "torch.int32 where"),
    (served(OtherLabels), "batches", "60 training samples are left out or altered, and 60"),
    (served(Backwards, train_too=False), "evaluation", "val batches"),
    (served(InOrder), "order", "second epoch has the order of the first"),
    (served(OneOrder), "order", "Another order_seed gives the same"),
    (served(Unsteady), "order", "Two loaders of one order_seed"),
    (served(Forgetful), "resume", "does not go on"),
]
