"""The contract of every task, checked on a task as it stands: one of this package, a class, or a folder of arrays."""

import contextlib
import io
import itertools
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, get_args

import numpy as np

from lra_tasks.card import Scale, Source, TaskCard, TaskSpec
from lra_tasks.contract_batches import batch_digests, stored_digests
from lra_tasks.datamodule import LRATask
from lra_tasks.errors import TaskError
from lra_tasks.findings import Broken, Finding, attempt, need
from lra_tasks.loader import BatchLoader
from lra_tasks.verify import verify

_BATCHES = 3  # compared where an order is to be the same, or another
_MADE = ("generated", "mini")  # sources that need no files
_DTYPES = {"tokens": (np.uint8, np.uint16), "values": (np.uint8, np.uint16, np.float32)}


def check_task(
    task_class: type[LRATask],
    *,
    scale: str | None = None,
    source: str | None = None,
    protocol: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    report: Callable[[Finding], None] | None = None,
) -> list[Finding]:
    """Hold a task to the contract: cards, builds, stores, batches; it is built four times, in a folder that goes again.

    Args:
        task_class: the task.
        scale: at which it is built; None: tiny, or the smallest one where there is no tiny.
        source: what it is built from; None: generated and mini, whatever the task has of them, else its first.
        protocol: None: s4, or the first one where there is no s4.
        data_dir: folder to work in; None: the system's folder of temporary files.
        report: called with each finding as it is made.

    Returns:
        The findings in order. What cannot be checked after a failure is among them as not made.

    Raises:
        TaskError: the task knows no such scale, source or protocol, or the folder cannot be written.
    """
    found: list[Finding] = []

    def holds(name: str, check: Callable[[], str]) -> bool:
        add(attempt(name, check, TaskError))
        return bool(found[-1].ok)

    def add(finding: Finding) -> None:
        found.append(finding)
        if report is not None:
            report(finding)

    if not holds("declaration", lambda: _declared(task_class)):
        return found
    card = task_class.card
    scale = scale or ("tiny" if "tiny" in task_class.scales else min(task_class.scales, key=_samples(task_class)))
    names = [each.name for each in card.protocols]
    protocol = protocol or ("s4" if "s4" in names else names[0])
    sources = [source] if source else [each for each in card.sources if each in _MADE] or [card.sources[0]]
    task_class(scale=scale, protocol=protocol, source=sources[0])  # a name that it does not know is no finding
    if not holds("spec", lambda: _specified(task_class)):
        return found
    for each in sources:
        with _scratch(data_dir) as folder:
            built = _Built(task_class, {"scale": scale, "protocol": protocol, "source": each, "data_dir": folder})
            for finding in built.findings():
                name = f"{each}: {finding.check}" if len(sources) > 1 else finding.check
                add(Finding(name, finding.ok, finding.message))
    return found


@contextlib.contextmanager
def _scratch(data_dir: str | os.PathLike[str] | None) -> Iterator[str]:
    try:
        if data_dir is not None:
            os.makedirs(data_dir, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix="check-", dir=data_dir)
    except OSError as error:
        raise TaskError(f"There is no room to work in ({error}): choose another folder with data_dir.") from error
    with folder as name:
        yield name


def _samples(task_class: type[LRATask]) -> Callable[[str], int]:
    return lambda scale: sum(task_class.scales[scale].sizes.values())


def _declared(task_class: type[LRATask]) -> str:
    need(isinstance(task_class, type) and issubclass(task_class, LRATask), f"{task_class!r} is no LRATask.")
    for member, kind in (("name", str), ("card", TaskCard), ("scales", dict)):
        value = getattr(task_class, member, None)
        need(isinstance(value, kind), f"The class has no {member}, or one that is no {kind.__name__}.")
    name, card, scales = task_class.name, task_class.card, task_class.scales
    need(name and name not in (".", "..") and not set(name) & set("/\\\0"), f"{name!r} cannot be a folder's name.")
    for source in card.sources:
        need(source in get_args(Source), f"The card has a source {source!r}; there are {', '.join(get_args(Source))}.")
    need("full" in scales, "There is no scale 'full'.")
    for key, scale in scales.items():
        need(isinstance(scale, Scale), f"The scale {key!r} is no lra_tasks.Scale.")
        need(scale.train and scale.test, f"The scale {key!r} has no training or no test samples.")
        held_out = bool(scale.val) if card.val else scale.train >= 10
        need(held_out, f"The scale {key!r} has no validation samples, nor ten of training to hold one out of.")
    published = {"train": card.train, "val": card.val, "test": card.test}
    need(scales["full"].sizes == published, f"Scale full has {scales['full'].sizes} and the card {published}.")
    return "name, card and scales are valid and agree"


def _specified(task_class: type[LRATask]) -> str:
    for scale, protocol in itertools.product(task_class.scales, task_class.card.protocols):
        task = task_class(scale=scale, protocol=protocol.name)
        spec, where = task.spec, f"at scale {scale} and protocol {protocol.name}"
        need(isinstance(spec, TaskSpec), f"The spec {where} is no TaskSpec.")
        need(spec.name == task_class.name, f"The spec {where} has the name {spec.name!r} and not the task's.")
        pairs = [
            ("n_classes", spec.n_classes, task_class.card.classes),
            ("vocab_size", spec.vocab_size, protocol.vocab_size),
        ]
        if scale == "full":
            pairs.append(("max_length", spec.max_length, protocol.max_length))
        for what, found, expected in pairs:
            need(found == expected, f"The spec {where} has {what} {found:,} and the card {expected:,}.")
        need(task.dtype in _DTYPES[spec.inputs], f"Steps {where} cannot be stored as {task.dtype}.")
        if task.augmentation:
            variants, steps = task.variants(), spec.max_length
            fit = variants.ndim == 2 and variants.shape[1] == steps and variants.dtype == np.int64
            need(fit and not spec.variable, f"The variants {where} are no int64 of (V, {steps}).")
            need(variants.min() >= 0 and variants.max() < steps, f"Variants {where} name a step beyond {steps - 1}.")
    return "at every scale and protocol the samples have the shape that the card says"


class _Built:
    """The checks that need a prepared task."""

    def __init__(self, task_class: type[LRATask], options: dict[str, Any]) -> None:
        self._class, self._options = task_class, options
        self.task = self._made()
        self.spec = self.task.spec

    def findings(self) -> Iterator[Finding]:
        """Make all checks; without a first build there is nothing for the others."""
        checks: dict[str, Callable[[], str]] = {
            "prepare": self._prepare,
            "prepare again": self._prepare_again,
            "samples": self._samples,
            "batches": self._batches,
            "order": self._order,
            "resume": self._resume,
            "evaluation": self._evaluation,
            "show": self._show,
            "repeatable": self._repeatable,
            "seed": self._seed,
            "failing build": self._failing_build,
            "damage": self._damage,
        }
        prepared = True
        for name, check in checks.items():
            if prepared:
                finding = attempt(name, check, TaskError)
                prepared = bool(finding.ok) or name != "prepare"
                yield finding
            else:
                yield Finding(name, None, "not checked, since the task could not be prepared")

    def _made(self, **options: Any) -> LRATask:
        return self._class(**{"workers": 1, **self._options, **options})

    def _ready(self, **options: Any) -> LRATask:
        task = self._made(**options)
        task.prepare_data()
        task.setup()
        return task

    def _prepare(self) -> str:
        begin = time.perf_counter()
        self.task = self._ready()
        samples = sum(len(self.task.split(name)) for name in ("train", "val", "test"))
        scale, took = self._options["scale"], time.perf_counter() - begin
        return f"{samples:,} samples of scale {scale}, protocol {self._options['protocol']}, in {took:.1f} s"

    def _prepare_again(self) -> str:
        def build(out: Any) -> None:
            raise Broken("A second prepare_data() builds the task again: its recipe may not change between two calls.")

        task = self._made()
        task.build = build  # type: ignore[method-assign]
        task.prepare_data()
        return "a second call builds nothing"

    def _samples(self) -> str:
        wrong = [row for row in verify(self.task).rows if row.ok is False]
        need(not wrong, "; ".join(f"{row.what}: {row.found} where {row.expected} is expected" for row in wrong))
        there = np.unique(self.task.split("train").labels)
        need(len(there) > 1, f"All training samples have the label {there[0]}.")
        return "sizes, labels, lengths and steps are as promised"

    def _batches(self) -> str:
        found: Counter[bytes] = Counter()
        loader = self._train(self.task)
        for batch in loader:
            found.update(batch_digests(batch, self.spec))
        expected = Counter(stored_digests(self.task.split("train"), self.spec))
        missing, more = (expected - found).total(), (found - expected).total()
        need(
            not missing and not more,
            f"In an epoch {missing:,} training samples are left out or altered, and {more:,} are served twice or are "
            "none of the split.",
        )
        return "well-formed; every training sample is served once an epoch"

    def _order(self) -> str:
        loader = self._train(self.task)
        first, second = self._head(loader), self._head(loader)  # the second pass is another epoch
        need(first == self._head(self._train(self._ready())), "Two loaders of one order_seed serve different batches.")
        if len(self.task.split("train")) < 20:
            return "the same for the same order_seed"
        need(first != second, "The second epoch has the order of the first.")
        other = self._head(self._train(self._ready(order_seed=1)))
        need(first != other, "Another order_seed gives the same order.")
        return "the same for one order_seed, another for another one and for the next epoch"

    def _resume(self) -> str:
        whole = self._head(self._train(self.task), 2 * _BATCHES)
        for stop in (1, _BATCHES):
            begun, resumed = self._train(self.task), self._train(self._ready())
            self._head(begun, stop)
            resumed.load_state_dict(begun.state_dict())
            need(
                self._head(resumed, 2 * _BATCHES - stop) == whole[stop:],
                f"Resumed after {stop} batches, a loader does not go on with the very next one.",
            )
        return "a loader goes on from a saved state with the very next batch"

    def _evaluation(self) -> str:
        for split, loader in (("val", self.task.val_dataloader()), ("test", self.task.test_dataloader())):
            served = itertools.chain.from_iterable(batch_digests(batch, self.spec) for batch in loader)
            stored = stored_digests(self.task.split(split), self.spec)
            same = all(one == other for one, other in itertools.zip_longest(served, stored))
            need(same, f"The {split} batches are not the whole split in the order of the store.")
        return "val and test are served whole, in the order of the store"

    def _show(self) -> str:
        from rich.console import Console

        from lra_tasks.show import contact_sheet, text_samples

        if self.spec.side:
            contact_sheet(self.task, self.task.data_dir / "sheet.png", 4)
            return "a contact sheet can be drawn"
        if self.spec.inputs == "values":
            return "values that are no image are not shown"
        console = Console(file=io.StringIO(), width=100)
        for _, documents in text_samples(self.task, 2):
            for document in documents:
                console.print(document)
        need(console.file.getvalue().strip(), "render() shows nothing.")  # type: ignore[attr-defined]
        return "samples can be shown"

    def _repeatable(self) -> str:
        if self._anew(workers=2) != self.task.fingerprint:
            need(
                self._anew(workers=1) == self.task.fingerprint,
                "Two builds give different samples: draw them from the task's seed alone, and in a fixed order.",
            )
            raise Broken("The samples depend on the number of workers.")
        return "two builds, by one worker and by two, give the same samples"

    def _anew(self, **options: Any) -> str:
        """Return the fingerprint of another build; the store itself then stands in its place again."""
        folder = self.task.folder
        kept = folder.with_name("kept")
        os.replace(folder, kept)
        try:
            found = self._ready(**options).fingerprint
            shutil.rmtree(folder)
        finally:
            os.replace(kept, folder)
        return found

    def _seed(self) -> str:
        source = self._options["source"]
        if source not in _MADE:
            return f"not asked for: a seed does not change what is read from files (source {source})"
        other = self._ready(seed=1)
        need(other.folder != self.task.folder, "Another seed has the same folder.")
        need(
            other.fingerprint != self.task.fingerprint,
            "Another seed gives the same samples: draw them from the task's seed, or name the card's source 'folder'.",
        )
        return "another seed gives other samples"

    def _failing_build(self) -> str:
        class Stop(Exception):
            pass

        def interrupt(phase: str, done: int, total: int | None) -> None:
            if phase == "prepare":
                raise Stop

        task = self._made(seed=2)
        before = self._names(task)
        try:
            task.prepare_data(interrupt)
        except Stop:
            pass
        else:
            raise Broken("A build goes on though its progress was interrupted: let exceptions pass.")
        need(self._names(task) == before, "A build that was interrupted leaves files behind.")
        return "a build that is interrupted leaves nothing"

    @staticmethod
    def _names(task: LRATask) -> set[str]:
        return {path.name for path in task.folder.parent.iterdir() if path.suffix != ".lock"}

    def _damage(self) -> str:
        folder = self.task.folder
        path = max(folder.glob("*-tokens.npy"), key=lambda path: path.stat().st_size)
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last[0] ^ 1]))
        opened = self._made()
        opened.setup()
        _refused(opened.store.verify, "A changed byte is not found by the store's verify().")
        path.unlink()
        _refused(self._made().setup, "A store that lacks a file can be opened.")
        return "damaged files get a sentence"

    def _train(self, task: LRATask) -> BatchLoader:
        samples = len(task.split("train"))
        task.batch_size = 32 if samples % 32 else 31  # so that the last batch is a short one
        return task.train_dataloader()

    def _head(self, loader: BatchLoader, batches: int = _BATCHES) -> list[list[bytes]]:
        """Return the samples of the next batches, of as many epochs as it takes."""
        epochs = itertools.chain.from_iterable(itertools.repeat(loader))
        return [batch_digests(batch, self.spec) for batch in itertools.islice(epochs, batches)]


def _refused(act: Callable[[], Any], message: str) -> None:
    """Raise Broken unless ``act`` raises a TaskError."""
    try:
        act()
    except TaskError:
        return
    raise Broken(message)
