"""`lra report PAGE.md`: sections of a Markdown page, written from the records of runs that were never trained."""

import re
from urllib.parse import unquote

import pytest
from small_runs import make_run

from lra_hgrn.cli.figures import FAMILIES
from lra_hgrn.cli.main import main
from lra_hgrn.config import compose
from lra_hgrn.results.figures import gallery
from lra_hgrn.results.record import FILE, load_record
from lra_hgrn.results.report.sections import END, LARGEST

SUITE = """
title: Two models
baseline: LSTM
seeds: [1, 2]
set: {task: {scale: tiny}}
models: [hgrn, lstm]
tasks: [listops]
against: [transformer]
"""
PAGE = """# Mine

Before.

<!-- lra report {words} -->
what stood here
<!-- end of lra report -->

After, <!-- lra report in a sentence --> too.
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a suite, its runs and a page; paths are relative to it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(SUITE)
    for seed in (1, 2):
        for model in ("hgrn", "lstm"):
            config = compose(model, "listops", ["task.scale=tiny", f"seed={seed}"]).config
            make_run(tmp_path / "runs", config=config)
    put(tmp_path, "mine.yaml --runs runs --figure curves")
    return tmp_path


def put(home, words):
    (home / "pages").mkdir(exist_ok=True)
    (home / "pages" / "page.md").write_text(PAGE.format(words=words))


def lra(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["report", *words])
    return stop.value.code, *capsys.readouterr()


def page_of(home):
    return (home / "pages" / "page.md").read_text()


def test_a_section_is_written_and_all_else_is_left_alone(home, capsys):
    code, out, err = lra(capsys, "pages/page.md")
    assert (code, err) == (0, "")
    assert out.split() == ["pages/page-figures/mine-curves-listops.png", "pages/page.md"]
    text = page_of(home)
    assert text.startswith(
        "# Mine\n\nBefore.\n\n<!-- lra report mine.yaml --runs runs --figure curves -->\n\n4 runs, 2 of 2"
    )
    assert text.endswith(f"\n\n{END}\n\nAfter, <!-- lra report in a sentence --> too.\n")
    assert "what stood here" not in text
    assert "| HGRN" in text
    assert "Transformer, " in text  # published
    assert "```sh\nlra sweep mine.yaml\nlra table mine.yaml --runs runs\n```" in text
    assert lra(capsys, "pages/page.md")[0] == 0
    assert page_of(home) == text


def test_every_number_leads_to_its_record_and_every_figure_is_there(home, capsys):
    lra(capsys, "pages/page.md")
    text = page_of(home)
    pages = home / "pages"
    address = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", text, re.MULTILINE))
    numbers = re.findall(r"\[([^\]]+)\]\[([^\]]+)\]", text)
    assert len(address) == 4
    assert len(numbers) == 2 + 4 * 4  # a mean for each model; seed, best, validation and last of each run
    best = {one.parent.name: load_record(one).scores.best.accuracy for one in home.glob(f"runs/*/{FILE}")}
    rows = [line for line in text.splitlines() if line.startswith("| listops | ")]
    for label in address:
        record = load_record((pages / unquote(address[label])).resolve())
        assert record.run == label
        assert any(f"[{100 * best[label]:.2f}][{label}]" in row for row in rows)
    (figure,) = re.findall(r"^!\[.+\]\((.+)\)$", text, re.MULTILINE)
    assert (pages / figure).read_bytes().startswith(b"\x89PNG")


def test_check_tells_what_is_out_of_date(home, capsys):
    code, out, _ = lra(capsys, "pages/page.md", "--check")
    assert (code, "is out of date" in out, "is missing" in out) == (1, True, True)
    assert "what stood here" in page_of(home)  # nothing was written
    lra(capsys, "pages/page.md")
    assert lra(capsys, "pages/page.md", "--check")[:2] == (0, "pages/page.md is up to date.\n")
    figure = home / "pages" / "page-figures" / "mine-curves-listops.png"
    content = figure.read_bytes()
    figure.unlink()
    assert lra(capsys, "pages/page.md", "--check")[0] == 1
    figure.write_bytes(content)
    (home / "pages" / "page.md").write_text(re.sub(r"\[(\d\d\.\d\d)\]", "[99.99]", page_of(home), count=1))
    assert lra(capsys, "pages/page.md", "--check")[0] == 1
    lra(capsys, "pages/page.md")
    make_run(home / "runs", config=compose("hgrn", "listops", ["task.scale=tiny", "seed=3"]).config)
    assert lra(capsys, "pages/page.md", "--check")[0] == 0  # no seed of the suite
    put(home, "mine.yaml seed=[1,2,3] --runs runs --figure curves")
    assert lra(capsys, "pages/page.md", "--check")[0] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        # Overrides may follow options, as on the command line.
        ("runs seed=1 --model hgrn", ["1 run, 1 of 1 cell with results", "lra sweep mine.yaml seed=1 --model hgrn\n"]),
        ("nowhere", ["No run yet: listops × HGRN, listops × LSTM.", "There are no runs of listops"]),
    ],
)
def test_a_section_says_what_it_shows_and_what_is_missing(home, capsys, words, said):
    put(home, f"mine.yaml --figure curves --runs {words}")
    assert lra(capsys, "pages/page.md")[0] == 0
    assert all(sentence in page_of(home) for sentence in said)


def test_ends_of_lines_are_the_authors(home, capsys):
    path = home / "pages" / "page.md"
    path.write_bytes(PAGE.format(words="mine.yaml --runs runs").replace("\n", "\r\n").encode() + b"a\x0cb")
    assert lra(capsys, "pages/page.md")[0] == 0
    assert path.read_bytes().startswith(b"# Mine\r\n\r\nBefore.\r\n\r\n<!--")
    assert path.read_bytes().endswith(b" too.\r\na\x0cb")


def test_a_full_disk_is_one_sentence(home, capsys, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lra_hgrn.results.files.write_whole", full)
    code, _, err = lra(capsys, "pages/page.md")
    assert (code, err.count("\n")) == (2, 1)
    assert "Cannot write pages/page-figures/mine-curves-listops.png: No space left" in err


def test_names_with_spaces_are_found(home, capsys):
    (home / "my suite.yaml").write_text(SUITE)
    (home / "pages" / "my page.md").write_text(PAGE.format(words="'my suite.yaml' --runs runs --figure curves"))
    assert lra(capsys, "pages/my page.md")[0] == 0
    (figure,) = re.findall(r"^!\[.+\]\((.+)\)$", (home / "pages" / "my page.md").read_text(), re.MULTILINE)
    assert " " not in figure
    assert (home / "pages" / unquote(figure)).is_file()


def test_what_a_record_says_cannot_become_markup(home, capsys):
    (record,) = [one for one in home.glob(f"runs/*/{FILE}") if "hgrn-seed1" in str(one)]
    text = record.read_text().replace('"status": "finished"', '"status": "chance"')
    text = text.replace('"message": ""', '"message": "<script>x</script> | ](http://e.org) <!-- end of lra report -->"')
    record.write_text(text)
    assert lra(capsys, "pages/page.md")[0] == 0
    page = page_of(home)
    assert "<script>" not in page
    assert page.count(END) == 1
    assert not re.search(r"[^\\]\]\(http", page)


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("# Nothing\n", "has no section"),
        ("<!-- lra report mine.yaml -->\n", "line 1: this section has no end"),
        (f"<!-- lra report a -->\n<!-- lra report b -->\n{END}\n", "line 1: this section has no end"),
        (f"\n<!-- lra report 'a -->\n{END}\n", "line 2: No closing quotation"),
        (f"<!-- lra report nothing -->\n{END}\n", "nothing"),
        (f"<!-- lra report mine.yaml --output x -->\n{END}\n", "a section takes a suite"),
        (f"<!-- lra report other.md -->\n{END}\n", "a section takes a suite"),
        (f"<!-- lra report mine.yaml --figure all -->\n{END}\n", "--figure"),
        ("x" * (LARGEST + 1), "more than"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_page_that_cannot_be_written_is_told_in_one_sentence(home, capsys, page, said):
    path = home / "pages" / "page.md"
    content = page if isinstance(page, bytes) else page.encode()
    path.write_bytes(content)
    code, _, err = lra(capsys, "pages/page.md")
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert path.read_bytes() == content
    assert sorted(path.parent.iterdir()) == [path]


def test_words_that_do_not_go_together(home, capsys):
    for words, said in (
        (["nowhere.md"], "There is no page nowhere.md"),
        (["pages/page.md", "seed=1"], "is a page"),
        (["pages/page.md", "--figure", "curves"], "is a page"),
        (["mine.yaml", "--check"], "--check is about a Markdown page"),
        (["mine.yaml", "--output", "report.md"], "Markdown page"),
    ):
        code, _, err = lra(capsys, *words)
        assert (code, err.count("\n")) == (2, 1), words
        assert said in err


def test_families_of_figures_are_named_as_they_are_drawn(home, capsys):
    assert tuple(gallery.FAMILIES) == FAMILIES
    assert lra(capsys, "mine.yaml", "--runs", "runs", "--figure", "curves", "--output", "page.html")[0] == 0
    assert (home / "page.html").read_text().count('<figure class="plot"') == 1
