"""What is committed of measured results: the page is what its records say, and the records are what their files say."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from lra_hgrn.cli.main import main
from lra_hgrn.cli.results import LARGE
from lra_hgrn.results.archive import run_files
from lra_hgrn.results.check import verify_run
from lra_hgrn.results.record import run_folders

HOME = Path(__file__).parents[2]
RESULTS = HOME / "results"
SUITES = sorted(path for path in (RESULTS / "records").iterdir())
LARGEST_FIGURE = 300_000  # bytes


def test_the_page_is_up_to_date(monkeypatch, capsys):
    monkeypatch.chdir(HOME)
    with pytest.raises(SystemExit) as stop:
        main(["report", "results/README.md", "--check"])
    assert stop.value.code == 0, capsys.readouterr().out


def test_every_link_of_the_page_leads_somewhere():
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE) + re.findall(r"\]\(([^)#]+)\)", text)
    missing = [target for target in targets if "://" not in target and not (RESULTS / unquote(target)).is_file()]
    assert len(targets) > 100
    assert not missing
    shown = {RESULTS / target for target in targets if target.endswith(".png")}
    assert shown == set((RESULTS / "README-figures").iterdir())
    assert max(figure.stat().st_size for figure in shown) < LARGEST_FIGURE


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.name)
def test_records_agree_with_their_files(suite):
    folders = run_folders(suite)
    assert folders
    for folder in folders:
        assert [finding.message for finding in verify_run(folder) if finding.ok is False] == []


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.name)
def test_only_small_files_are_there(suite):
    folders = run_folders(suite)
    expected = {path for folder in folders for path in run_files(folder).values()}
    assert {path for path in suite.rglob("*") if path.is_file()} == expected
    assert max(sum(path.stat().st_size for path in run_files(folder).values()) for folder in folders) < LARGE
