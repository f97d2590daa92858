"""From a server to a store: an archive that is kept, one that is read while it passes by, going on after a break."""

import io
import tarfile

import pytest
from local_site import HANGS_UP, Site, sentence, serve
from test_task_retrieval import Small as SmallRetrieval
from test_task_retrieval import files as papers
from test_task_text import Small as SmallText
from test_task_text import files as reviews

from lra_tasks import TaskError, download


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(download, "_DELAYS", (0, 0, 0))


def packed(content: dict[str, bytes], mode: str = "w:gz") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as tar:
        for name, body in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return data.getvalue()


def task_of(cls, site, **known):
    """The task with the archive of a server on this machine."""

    class Served(cls):
        class Card:
            def __getattr__(self, name):
                return getattr(cls.card, name)

        card = Card()

    archive = site.archive(**known)
    archive.passing = cls is SmallRetrieval
    Served.card.archive = archive
    return Served


def test_an_archive_is_fetched_once_for_all_protocols(tmp_path):
    content = packed(reviews())
    with serve(Site(content=content)) as site:
        Task = task_of(SmallText, site, size=len(content))
        calls = []
        Task(data_dir=tmp_path).prepare_data(lambda *call: calls.append(call))
        Task(data_dir=tmp_path, protocol="google").prepare_data()
    assert len(site.asked) == 1
    assert calls[-1] == ("prepare", 6, 6)
    assert ("download", len(content), len(content)) in calls
    assert (tmp_path / "downloads" / "data.tar.gz").read_bytes() == content


def test_a_large_archive_leaves_nothing_on_disk_and_is_not_read_to_its_end(tmp_path):
    rest = {f"lra_release/pathfinder32/{n}.png": bytes(1_000) for n in range(20_000)}
    content = packed({**papers(), **rest}, "w")
    with serve(Site(content=content, kind="application/x-tar")) as site:
        task = task_of(SmallRetrieval, site)(data_dir=tmp_path)
        calls = []
        task.prepare_data(lambda *call: calls.append(call))
        task.setup()
    assert len(task.split("train")) == 3
    assert max(done for phase, done, _ in calls if phase == "download") < len(content) / 4
    assert {path.name for path in tmp_path.iterdir()} == {"retrieval"}


def test_a_stream_that_breaks_is_taken_up_where_it_broke(tmp_path):
    content = packed(papers(), "w")
    with serve(Site(content=content, cuts=(5_000, 2_000))) as site:
        task = task_of(SmallRetrieval, site)(data_dir=tmp_path)
        task.prepare_data()
        task.setup()
    assert site.asked == [None, "bytes=5000-", "bytes=7000-"]
    assert len(task.split("test")) == 2


def test_a_hopeless_stream_says_how_to_go_on_and_leaves_nothing(tmp_path):
    with (
        serve(Site(content=packed(papers(), "w"), cuts=(5_000, *HANGS_UP))) as site,
        pytest.raises(TaskError) as caught,
    ):
        task_of(SmallRetrieval, site)(data_dir=tmp_path).prepare_data()
    assert "--from" in sentence(caught)
    assert "curl" in sentence(caught)
    assert [path.name for path in (tmp_path / "retrieval").iterdir() if path.suffix != ".lock"] == []


def test_the_data_that_are_there_survive_a_failed_preparation(tmp_path):
    with serve(Site(content=packed(reviews()))) as site:
        Task = task_of(SmallText, site)
        first = Task(data_dir=tmp_path)
        first.prepare_data()
        site.content = b"<!DOCTYPE html><title>Sign in</title>"
        (tmp_path / "downloads" / "data.tar.gz").unlink()
        with pytest.raises(TaskError, match="page"):
            Task(data_dir=tmp_path, seed=1).prepare_data()
    first.setup()
    first.store.verify()
    assert [path.name for path in (tmp_path / "text").iterdir() if path.suffix != ".lock"] == [first.folder.name]
