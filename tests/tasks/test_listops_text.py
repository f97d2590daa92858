"""ListOps expressions against examples worked by hand."""

import pytest

from lra_tasks import TaskError
from lra_tasks.listops_text import (
    SYMBOLS,
    decode,
    encode,
    evaluate,
    from_nested,
    parse,
    read_tsv,
    to_nested,
    write_tsv,
)

EXAMPLES = [
    ("[MAX 2 9 ]", "( ( ( [MAX 2 ) 9 ) ] )", 9),
    ("[MIN 4 7 3 ]", "( ( ( ( [MIN 4 ) 7 ) 3 ) ] )", 3),
    ("[MED 1 2 ]", "( ( ( [MED 1 ) 2 ) ] )", 1),  # 1.5 is cut to 1
    ("[MED 9 0 4 ]", "( ( ( ( [MED 9 ) 0 ) 4 ) ] )", 4),
    ("[MED 1 8 3 6 ]", "( ( ( ( ( [MED 1 ) 8 ) 3 ) 6 ) ] )", 4),  # 4.5
    ("[SM 9 9 9 ]", "( ( ( ( [SM 9 ) 9 ) 9 ) ] )", 7),
    ("[MAX 2 [MIN 4 7 ] 0 ]", "( ( ( ( [MAX 2 ) ( ( ( [MIN 4 ) 7 ) ] ) ) 0 ) ] )", 4),
    ("[SM [SM 5 6 ] [MED 3 9 ] ]", "( ( ( [SM ( ( ( [SM 5 ) 6 ) ] ) ) ( ( ( [MED 3 ) 9 ) ] ) ) ] )", 7),
    ("5", "5", 5),
]


@pytest.mark.parametrize(("text", "nested", "value"), EXAMPLES)
def test_worked_examples(text, nested, value):
    symbols = text.split()
    assert evaluate(symbols) == value
    assert to_nested(parse(symbols)) == nested
    assert from_nested(nested) == symbols


def test_ids_of_protocol_s4():
    assert len(SYMBOLS) == 18
    assert SYMBOLS[:3] == ("<pad>", "<unk>", "<eos>")
    assert encode(["[MAX", "2", "9", "]"]).tolist() == [14, 5, 12, 17]
    assert encode(["7", "what"]).tolist() == [10, 1]
    assert decode([13, 14, 15, 16, 17]) == ["[MIN", "[MAX", "[MED", "[SM", "]"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[MAX 2", "ends inside"),
        ("", "ends inside"),
        ("[MAX ]", "unexpected ']' at symbol 1"),
        ("]", "unexpected"),
        ("[MAX 2 9 ] 3", "goes on after symbol 3"),
        ("[MAX 12 9 ]", "unexpected '12'"),
        ("[ADD 1 2 ]", "unexpected '.ADD'"),
    ],
)
def test_what_is_no_expression(text, complaint):
    with pytest.raises(TaskError, match=complaint):
        parse(text.split())


def test_original_form_round_trips(tmp_path):
    samples = [(text.split(), value) for text, _, value in EXAMPLES]
    write_tsv(tmp_path / "basic_train.tsv", samples)
    lines = (tmp_path / "basic_train.tsv").read_text().splitlines()
    assert lines[:2] == ["Source\tTarget", "( ( ( [MAX 2 ) 9 ) ] )\t9"]
    assert list(read_tsv((tmp_path / "basic_train.tsv").open("rb"), "it")) == samples
    assert [path.name for path in tmp_path.iterdir()] == ["basic_train.tsv"]


@pytest.mark.parametrize("text", ["", "( ( ( [MAX 2 ) 9 ) ] )\t9\n", "Source\tTarget\n5\n", "Source\tTarget\n5\t12\n"])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "other.tsv").write_text(text)
    with pytest.raises(TaskError, match=r"other\.tsv"):
        list(read_tsv((tmp_path / "other.tsv").open("rb"), "other.tsv"))
