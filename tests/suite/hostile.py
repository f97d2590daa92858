"""What tests of hostile files share: one sentence, and nothing more."""

import itertools
import json
from collections.abc import Iterator

import pytest

from lra_hgrn.cli.main import main
from lra_hgrn.errors import UserError

ESCAPE = "\x1b]0;owned\x07\x1b[2J"  # sets a terminal's title and clears it
SCRIPT = "<script>alert(1)</script>"
SUITE = "title: One\ncells: [{model: hgrn, task: listops, set: {task: {scale: tiny}}}]\nseeds: [1]\n"


def count() -> Iterator[str]:
    """Names of cases, which are no names themselves."""
    return map(str, itertools.count())


def refusal(read, *arguments) -> str:
    """What a reader answers, which is one line that any terminal can show."""
    with pytest.raises(UserError) as caught:
        read(*arguments)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 2_000
    return said


def change(path, edit):
    """Change the JSON of a file."""
    data = json.loads(path.read_text())
    edit(data)
    path.write_text(json.dumps(data))


def lra(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, words)))
    out, err = capsys.readouterr()
    return stop.value.code, out, err
