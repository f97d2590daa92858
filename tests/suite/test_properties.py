"""What holds for whatever is put in: scans, records, overrides, predictions, the lines of the original files."""

import dataclasses
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from small_runs import make_run

from hgrn_kernels import hgru, scan
from lra_hgrn.config import compose, from_plain, plain
from lra_hgrn.config.compose import as_words, option_keys, parse_overrides
from lra_hgrn.errors import UserError
from lra_hgrn.results.predictions import load_predictions, make_predictions
from lra_hgrn.results.record import load_record
from lra_tasks import TaskError
from lra_tasks.errors import cleaned, is_clean
from lra_tasks.listops_text import evaluate, from_nested, parse, read_tsv, to_nested, write_tsv
from lra_tasks.retrieval import _beginning
from lra_tasks.tokens import Characters, byte_ids, byte_text, count_characters

steady = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
BACKENDS = pytest.mark.parametrize("backend", ["reference", "cpu"])


def is_sentence(error: Exception) -> None:
    # Not isprintable(): that refuses what is only not assigned, or for private use, and moves no terminal's cursor.
    assert is_clean(str(error))
    assert len(str(error).splitlines()) == 1
    assert "\t" not in str(error)
    assert 0 < len(str(error)) < 2_000


# -- scans


@st.composite
def scans(draw):
    """Arguments of a scan in float64: x, gate in [-1, 1], theta or None, initial state or None."""
    batch, length, channels = draw(st.integers(1, 4)), draw(st.integers(1, 40)), draw(st.integers(1, 9))
    turned = draw(st.booleans())
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    planes = 2 if turned else 1
    gate = random.uniform(-1, 1, (batch, length, channels))
    gate[random.random(gate.shape) < 0.2] = draw(st.sampled_from([0.0, 1.0, -1.0, 1e-300]))
    return {
        "x": torch.from_numpy(random.normal(size=(batch, length, planes * channels))),
        "gate": torch.from_numpy(gate),
        "theta": torch.from_numpy(random.normal(size=channels) * 9) if turned else None,
        "initial_state": torch.from_numpy(random.normal(size=(batch, planes * channels)))
        if draw(st.booleans())
        else None,
        "reverse": draw(st.booleans()),
    }


def close(one, other):
    assert torch.allclose(one, other, rtol=1e-10, atol=1e-10), (one - other).abs().max()


@steady
@given(scans())
def test_backends_agree_on_any_scan(given_):
    close(scan(**given_, backend="cpu"), scan(**given_, backend="reference"))


@BACKENDS
@steady
@given(given_=scans(), factor=st.floats(-3, 3))
def test_a_scan_is_linear_in_input_and_state(backend, given_, factor):
    x, state = given_.pop("x"), given_.pop("initial_state")
    other = torch.flip(x, (0, 2)).sin()
    first = scan(x=x, initial_state=state, **given_, backend=backend)
    second = scan(x=other, **given_, backend=backend)
    close(scan(x=x + factor * other, initial_state=state, **given_, backend=backend), first + factor * second)


@BACKENDS
@steady
@given(given_=scans(), place=st.floats(0, 1))
def test_a_scan_can_be_cut_anywhere(backend, given_, place):
    given_["reverse"] = False
    whole, end = scan(**given_, return_final_state=True, backend=backend)
    cut = round(place * given_["x"].shape[1])
    x, gate, state = given_.pop("x"), given_.pop("gate"), given_.pop("initial_state")
    head, middle = scan(
        x[:, :cut], gate[:, :cut], initial_state=state, **given_, return_final_state=True, backend=backend
    )
    tail, last = scan(
        x[:, cut:], gate[:, cut:], initial_state=middle, **given_, return_final_state=True, backend=backend
    )
    close(torch.cat([head, tail], 1), whole)
    close(last, end)


@BACKENDS
@steady
@given(given_=scans())
def test_the_gradient_of_a_scan_is_its_transpose(backend, given_):
    """Σ y · scan(x) = Σ x · grad(y) for the x that start from no state: autograd against nothing but linearity."""
    given_["initial_state"] = None
    x = given_.pop("x").requires_grad_()
    weights = torch.flip(x.detach(), (1,)).cos()
    h = scan(x=x, **given_, backend=backend)
    (transposed,) = torch.autograd.grad((h * weights).sum(), x)
    close((h.detach() * weights).sum(), (x.detach() * transposed).sum())


@BACKENDS
@steady
@given(st.lists(st.integers(1, 24), min_size=1, max_size=4), st.integers(1, 5), st.booleans(), st.integers(0, 2**32))
def test_padding_changes_no_sample(backend, lengths, channels, bidirectional, seed):
    random = np.random.default_rng(seed)
    shape = (len(lengths), 24, channels)
    candidate, forget = (torch.from_numpy(random.normal(size=shape) * 3) for _ in range(2))
    options = {"bidirectional": bidirectional, "backend": backend}
    batch = hgru(candidate, forget, lengths=torch.tensor(lengths), **options)
    for i, length in enumerate(lengths):
        alone = hgru(candidate[i : i + 1, :length], forget[i : i + 1, :length], **options)
        close(batch[i : i + 1, :length], alone)
        assert not batch[i, length:].any()


SHAPES = st.lists(st.integers(0, 3), max_size=4).map(tuple)
KINDS = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64])


@steady
@given(SHAPES, SHAPES, SHAPES | st.none(), SHAPES | st.none(), KINDS, KINDS)
def test_tensors_that_do_not_fit_are_refused_in_a_sentence(x, gate, theta, state, kind, other):
    rest = [None if shape is None else torch.zeros(shape) for shape in (theta, state)]
    try:
        found = scan(torch.zeros(x, dtype=kind), torch.zeros(gate, dtype=other), theta=rest[0], initial_state=rest[1])
    except (TypeError, ValueError) as error:
        is_sentence(error)
    else:
        assert found.shape == x
        assert len(x) == len(gate) == 3


# -- records

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The JSON of a record as it was saved."""
    return (make_run(tmp_path_factory.mktemp("runs")) / "record.json").read_text()


def places(data, way=()):
    """Every place in nested containers, as a list of keys."""
    if way:
        yield way
    for key in data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield from places(data[key], (*way, key))


@settings(steady, max_examples=300)
@given(value=JSON, where=st.floats(0, 1, exclude_max=True))
@example(value="\ud800\x1b[2J", where=0.02)
@example(value={"\U000b40e6~": 292742878431}, where=0.9492822702306175)
def test_a_record_with_any_value_anywhere_is_read_or_refused(stored, value, where):
    data = json.loads(stored)
    found = list(places(data))
    *way, last = found[int(where * len(found))]
    inner = data
    for key in way:
        inner = inner[key]
    inner[last] = value
    with TemporaryDirectory() as folder:
        path = Path(folder) / "record.json"
        path.write_text(json.dumps(data))
        try:
            record = load_record(path)
        except UserError as error:
            is_sentence(error)
            return
        assert is_clean(json.dumps(dataclasses.asdict(record), ensure_ascii=False))
        assert load_record(record.save(Path(folder) / "again")) == record


NUMBERS = st.floats(1e-6, 1e12)


@steady
@given(st.text(), st.integers(-(2**62), 2**62), NUMBERS, st.dictionaries(st.text(), JSON, max_size=3), st.text())
def test_what_a_record_says_is_read_back(stored, message, seed, seconds, kwargs, version):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "record.json"
        path.write_text(stored)
        record = load_record(path)
        changed = dataclasses.replace(record, message=message, seed=seed, wall_seconds=seconds, versions={"a": version})
        try:
            path = changed.save(Path(folder))
        except UnicodeEncodeError:
            assume(False)  # half a character: nothing writes it
        read = load_record(path)
    assert (read.seed, read.wall_seconds) == (seed, seconds)
    assert (read.message, read.versions["a"]) == (cleaned(message), cleaned(version))


@steady
@given(st.integers(2, 300), st.integers(0, 2**32), st.integers(0, 40), st.booleans(), st.text(max_size=20))
def test_predictions_are_read_back(classes, seed, count, sure, fingerprint):
    random = np.random.default_rng(seed)
    best, last, labels = random.integers(0, classes, (3, count))
    confidence = random.random(count) if sure else None
    assume("\0" not in fingerprint and fingerprint.isprintable() and fingerprint.strip() == fingerprint)
    made = make_predictions(best, last, labels, fingerprint=fingerprint, n_classes=classes, confidence=confidence)
    with TemporaryDirectory() as folder:
        read = load_predictions(made.save(Path(folder)))
    for name in ("best", "last", "labels", "confidence"):
        one, other = getattr(read, name), getattr(made, name)
        assert (one is None) == (other is None)
        assert one is None or (one.dtype == other.dtype and (one == other).all())
    assert read.fingerprint == fingerprint


# -- options

NAMES = st.text("abcxyz_", min_size=1, max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, min_size=1, max_size=3),
    max_leaves=5,
)


@steady
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_keyword_arguments_survive_words_files_and_records(kwargs):
    words = as_words({"model": {"kwargs": kwargs}}) if kwargs else []
    config = compose("my_package.Mixer", "listops", words).config
    assert config.model.kwargs == kwargs
    assert from_plain(json.loads(json.dumps(plain(config))), "a record") == config
    assert parse_overrides(words) == ({"model": {"kwargs": kwargs}} if kwargs else {})


KEYS = sorted(option_keys())
PIECES = st.text("ab.=[]{}$\"'\\:,0\n\x1b\ud800é", max_size=12)


@steady
@given(st.lists(st.tuples(st.sampled_from(KEYS) | PIECES, PIECES), max_size=3))
def test_any_words_compose_or_are_refused(pairs):
    try:
        config = compose("hgrn", "listops", [f"{key}={text}" for key, text in pairs]).config
    except UserError as error:
        is_sentence(error)
    else:
        text = json.dumps(plain(config), ensure_ascii=False)
        assert is_clean(text)
        assert "${" not in text


# -- original files

TREES = st.recursive(
    st.integers(0, 9).map(str),
    lambda inner: st.tuples(
        st.sampled_from(["[MIN", "[MAX", "[MED", "[SM"]), st.lists(inner, min_size=1, max_size=4)
    ).map(lambda parts: " ".join([parts[0], *parts[1], "]"])),
    max_leaves=12,
)


@steady
@given(st.lists(TREES, max_size=5))
def test_expressions_are_read_back_from_their_lines(expressions):
    pairs = [(text.split(), evaluate(text.split())) for text in expressions]
    for symbols, _ in pairs:
        assert from_nested(to_nested(parse(symbols))) == symbols
    with TemporaryDirectory() as folder:
        write_tsv(Path(folder) / "x.tsv", pairs)
        with (Path(folder) / "x.tsv").open("rb") as file:
            assert list(read_tsv(file, "x")) == pairs


@settings(steady, max_examples=200)
@given(st.lists(st.text("[MAXSD]()0123456789 \t\r\n\"'\0é\x85\u2028", max_size=30), max_size=4))
def test_any_lines_are_read_or_refused(lines):
    data = "\n".join(["Source\tTarget", *lines]).encode()
    try:
        read = list(read_tsv(io.BytesIO(data), "x"))
    except TaskError as error:
        is_sentence(error)
    else:
        assert all(0 <= value <= 9 for _, value in read)


@steady
@given(st.text(max_size=60), st.integers(1, 80))
def test_texts_come_back_from_their_ids(text, length):
    assume(is_clean(text) and "\n" not in text)
    ids = byte_ids(text, length)
    assert len(ids) <= length
    assert text.encode().startswith(byte_text(ids).encode()[: len(ids) - 3 if len(ids) > 3 else 0])
    characters = Characters.counted(count_characters([text]), 1, 99)
    assert characters.text(characters.ids(text, length)) == text[: length - 1]


@steady
@given(st.text(min_size=0, max_size=20).map(lambda text: (text * 2_000).encode("utf-8", "replace")))
def test_the_beginning_of_a_paper_ends_between_characters(data):
    beginning = _beginning(data, "x")
    assert data.decode().startswith(beginning)
    assert len(beginning.encode()) > min(len(data), 16_000) - 4
