"""Archives that are read as they pass by: connections that break, servers without parts, files that change."""

import threading

import pytest
from local_site import CONTENT, HANGS_UP, NAME, Site, sentence, serve
from originals import write_tar

from lra_tasks import TaskError, download
from lra_tasks.archive import stream_members
from lra_tasks.download import stream


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(download, "_DELAYS", (0, 0, 0))
    monkeypatch.setenv("NO_PROXY", "*")
    with serve(Site()) as site:
        yield site


def drain(file) -> bytes:
    with file:
        return file.read()


def test_a_stream_leaves_nothing_on_disk(site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = []
    with stream(site.archive(), lambda *call: calls.append(call)) as file:
        assert file.read(10) == CONTENT[:10]
        assert file.read() == CONTENT[10:]
        assert file.read() == b""
    assert calls == sorted(calls)
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert list(tmp_path.iterdir()) == []
    site.says_length = False
    assert drain(stream(site.archive())) == CONTENT


@pytest.mark.parametrize("etag", ['"first"', None])
def test_a_stream_goes_on_at_the_same_byte(site, etag):
    site.etag, site.cuts = etag, (100_000, 0, 0, 7, 0, 0, 150_000, 0)
    assert drain(stream(site.archive())) == CONTENT
    assert site.asked[-1] == "bytes=250007-"
    assert sum(site.sent) == len(CONTENT)


def test_a_stream_of_a_server_without_parts_is_not_given_twice(site):
    site.ranges, site.cuts = False, (100_000, 20_000, 210_000)
    assert drain(stream(site.archive())) == CONTENT
    assert len(site.asked) == 4


@pytest.mark.parametrize("change", [{"etag": '"second"'}, {"etag": '"second"', "looks_at_if_range": False}])
def test_a_stream_of_a_file_that_changes_is_given_up(site, change):
    site.cuts = (200_000,)
    with stream(site.archive()) as file:
        start = file.read(1)
        vars(site).update(change, content=CONTENT[::-1])
        with pytest.raises(TaskError, match="changed on the server") as caught:
            file.read()
    assert start == CONTENT[:1]
    sentence(caught)


def test_a_stream_that_cannot_be_verified_is_given_up(site):
    site.etag, site.ranges, site.cuts = None, False, (200_000,)
    with stream(site.archive()) as file, pytest.raises(TaskError, match="not served in parts"):
        file.read()
    site.etag, site.cuts = '"first"', (200_000,)
    with stream(site.archive()) as file:
        site.content, site.says_length = CONTENT[:150_000], False  # ends before the place where it broke
        with pytest.raises(TaskError, match="changed on the server"):
            file.read()


def test_a_hopeless_stream_says_how_far_it_came_and_how_to_go_on(site):
    site.content, site.total, site.cuts = bytes(2_400_000), 8_000_000_000, (1_200_000, *HANGS_UP)
    with stream(site.archive()) as file, pytest.raises(TaskError) as caught:
        file.read()
    assert "up to 1.2 MB of 8.0 GB only (the connection was closed early), and nothing of it is kept" in sentence(
        caught
    )
    assert "run the same command to start anew" in sentence(caught)
    assert f"`curl -L -C - -O {site.url}`, which resumes, and give it with --from {NAME}" in sentence(caught)
    assert len(site.asked) == 4


@pytest.mark.parametrize("hopeless", [False, True])
def test_an_archive_is_read_as_it_passes_by(site, tmp_path, hopeless):
    files = {f"folder/{number}": CONTENT[: number * 40_000] for number in range(4)}
    site.content = write_tar(tmp_path / "made", files).read_bytes()
    site.cuts = (150_000, *HANGS_UP) if hopeless else (70_000, 0, 100_000, 30_000)
    seen = {}
    with stream(site.archive()) as body, stream_members(body, site.url) as members:
        if hopeless:
            with pytest.raises(TaskError, match="up to 150,000 bytes"):
                seen.update((member.name, member.read(1 << 20)) for member in members)
            assert seen == {name: files[name] for name in list(files)[: len(seen)]} != {}
        else:
            assert {member.name: member.read(1 << 20) for member in members} == files


def test_of_a_stream_the_rest_need_not_be_read(site, tmp_path):
    site.content = write_tar(tmp_path / "made", {"first": b"1", "second": CONTENT * 4}).read_bytes()
    site.pause = threading.Event()
    with stream(site.archive()) as body, stream_members(body, site.url) as members:
        assert next(members).read(10) == b"1"
    site.pause.set()
