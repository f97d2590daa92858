"""Downloads: resumed, checked, refused; two processes, a full disk, no network."""

import hashlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from local_site import CONTENT, HANGS_UP, NAME, Archive, Site, sentence, serve

from lra_tasks import TaskError, download
from lra_tasks.download import fetch, stream

MD5 = hashlib.md5(CONTENT).hexdigest()
WHOLE = {NAME}
BROKEN_OFF = {f"{NAME}.part", f"{NAME}.part.json"}


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(download, "_DELAYS", (0, 0, 0))
    monkeypatch.setenv("NO_PROXY", "*")
    with serve(Site()) as site:
        yield site


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def interrupted(site, folder, at=30_000, **known):
    """Leave a download that broke off after ``at`` bytes."""
    site.cuts = (at, *HANGS_UP)
    with pytest.raises(TaskError, match="goes on where it stopped"):
        fetch(site.archive(**known), folder)
    assert names(folder) == BROKEN_OFF
    assert (folder / f"{NAME}.part").read_bytes() == site.content[:at]
    site.cuts = ()
    del site.asked[:], site.sent[:]


def test_a_file_is_fetched_once(site, tmp_path):
    calls = []
    known = site.archive(size=len(CONTENT), md5=MD5)
    path = fetch(known, tmp_path / "downloads", lambda *call: calls.append(call))
    assert path == tmp_path / "downloads" / NAME
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == WHOLE
    assert len(calls) > 2
    assert calls == sorted(calls)
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    for archive in (known, site.archive(), site.archive(md5=MD5.upper())):
        (path.parent / f"{NAME}.lock").unlink(missing_ok=True)
        assert fetch(archive, path.parent, pytest.fail) == path
        assert {path.name for path in path.parent.iterdir()} == WHOLE  # a folder that is read-only would do
    assert site.asked == [None]


def test_a_file_that_is_not_the_published_one_is_replaced(site, tmp_path, caplog):
    (tmp_path / NAME).write_bytes(b"\0" * len(CONTENT))
    fetch(site.archive(size=len(CONTENT), md5=MD5), tmp_path)
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert "fetched again" in caplog.text


@pytest.mark.parametrize("validator", [{}, {"etag": None, "modified": "Tue, 01 Jul 2025 10:00:00 GMT"}])
def test_an_interrupted_download_asks_for_the_rest_alone(site, tmp_path, validator):
    vars(site).update(validator)
    interrupted(site, tmp_path, md5=MD5)
    fetch(site.archive(md5=MD5), tmp_path)
    assert site.asked == ["bytes=30000-"]
    assert site.sent == [len(CONTENT) - 30_000]
    assert names(tmp_path) == WHOLE


def test_ctrl_c_keeps_what_has_come(site, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(site.archive(), tmp_path, stop)
    kept = (tmp_path / f"{NAME}.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    fetch(site.archive(md5=MD5), tmp_path)
    assert site.asked == [None, f"bytes={kept}-"]


def test_lost_connections_are_taken_up_where_they_broke(site, tmp_path, caplog):
    site.cuts = (10_000, 0, 0, 150_000, 0, 0)  # more failures than attempts, but bytes come in between
    fetch(site.archive(md5=MD5), tmp_path)
    assert site.asked == [None, *["bytes=10000-"] * 3, *["bytes=160000-"] * 3]
    assert site.sent[-1] == len(CONTENT) - 160_000
    assert caplog.text.count("trying again") == 6


def test_a_server_that_goes_silent_is_asked_again(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUT", (5, 0.2))
    site.pause = threading.Event()
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda delay: site.pause.set()))
    fetch(site.archive(md5=MD5), tmp_path)
    assert len(site.asked) == 2


@pytest.mark.parametrize("polite", [True, False])
def test_a_file_that_has_changed_is_begun_anew(site, tmp_path, polite):
    interrupted(site, tmp_path)
    site.content, site.etag, site.looks_at_if_range = CONTENT[::-1], '"second"', polite
    path = fetch(site.archive(), tmp_path)
    assert path.read_bytes() == CONTENT[::-1]
    assert site.asked == (["bytes=30000-"] if polite else ["bytes=30000-", None])


def test_a_file_that_comes_without_what_was_said_before_is_begun_anew(site, tmp_path):
    interrupted(site, tmp_path)
    site.content, site.etag, site.says_length = CONTENT[:250_000], None, False
    assert fetch(site.archive(), tmp_path).read_bytes() == site.content  # no longer the total of before
    site.content, site.etag, site.says_length = CONTENT, '"first"', True
    interrupted(site, tmp_path / "other")
    site.content, site.etag, site.cuts = CONTENT[::-1], None, (40_000, *HANGS_UP)
    with pytest.raises(TaskError):
        fetch(site.archive(), tmp_path / "other")
    site.etag, site.cuts = '"first"', ()  # no longer the validator of before
    assert fetch(site.archive(), tmp_path / "other").read_bytes() == CONTENT[::-1]
    assert site.asked[-1] is None


def test_a_part_of_another_file_is_begun_anew(site, tmp_path):
    interrupted(site, tmp_path)
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    site.content = CONTENT[:250_000]
    assert fetch(site.archive(size=250_000), tmp_path).read_bytes() == site.content  # another size
    interrupted(site, tmp_path / "other")
    fetch(Archive(f"{site.url}?version=2"), tmp_path / "other")
    assert site.asked == [None]


def test_a_file_that_changes_meanwhile_is_begun_anew(site, tmp_path):
    def change(done, total):
        site.content, site.etag = CONTENT[:250_000][::-1], '"second"'

    site.cuts = (200_000,)
    assert fetch(site.archive(), tmp_path, change).read_bytes() == CONTENT[:250_000][::-1]


def test_a_server_without_parts_is_read_from_the_start(site, tmp_path):
    site.ranges = False
    interrupted(site, tmp_path)
    site.cuts = (50_000,)
    assert fetch(site.archive(), tmp_path).read_bytes() == CONTENT
    assert site.asked == ["bytes=30000-", "bytes=50000-"]
    assert site.sent == [50_000, len(CONTENT)]
    site.cuts = (60_000,) * 9  # each time just as far
    with pytest.raises(TaskError, match="closed early"):
        fetch(site.archive(), tmp_path / "other")


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_sure_validator_nothing_is_pieced_together(site, tmp_path, etag):
    site.etag = etag
    interrupted(site, tmp_path)
    fetch(site.archive(), tmp_path)
    assert site.asked == [None]


def note(folder, **changes):
    path = folder / f"{NAME}.part.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_complete_part_is_kept(site, tmp_path):
    interrupted(site, tmp_path)
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    note(tmp_path, total=None)  # as of a server that does not say
    assert fetch(site.archive(md5=MD5), tmp_path).read_bytes() == CONTENT
    assert site.asked == ["bytes=300000-"]  # 416
    assert site.sent == [0]
    interrupted(site, tmp_path / "known")
    (tmp_path / "known" / f"{NAME}.part").write_bytes(CONTENT)
    assert fetch(site.archive(md5=MD5), tmp_path / "known").read_bytes() == CONTENT
    assert site.asked == []


def test_a_part_that_is_too_long_is_begun_anew(site, tmp_path):
    for number, total in enumerate((None, len(CONTENT))):
        folder = tmp_path / str(number)
        interrupted(site, folder)
        (folder / f"{NAME}.part").write_bytes(CONTENT + b"x")
        note(folder, total=total)
        assert fetch(site.archive(), folder).read_bytes() == CONTENT


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"url": 1}'])
def test_a_part_that_nothing_is_known_of_is_begun_anew(site, tmp_path, text):
    interrupted(site, tmp_path)
    (tmp_path / f"{NAME}.part.json").write_text(text)
    assert fetch(site.archive(md5=MD5), tmp_path).read_bytes() == CONTENT
    assert site.asked == [None]


def test_a_wrong_check_sum_cannot_be_resumed(site, tmp_path):
    site.content = CONTENT[:-1] + b"x"
    with pytest.raises(TaskError, match="run the same command again, or give the file with --from") as caught:
        fetch(site.archive(md5=MD5), tmp_path)
    assert MD5 in sentence(caught)
    assert hashlib.md5(site.content).hexdigest() in sentence(caught)
    assert names(tmp_path) == set()
    site.content = CONTENT
    fetch(site.archive(md5=MD5), tmp_path)


def test_a_wrong_size_is_one_sentence(site, tmp_path):
    with pytest.raises(TaskError, match="has 300,000 bytes where 300,001 were published"):
        fetch(site.archive(size=300_001), tmp_path)
    assert site.sent == [300_000]
    site.says_length = False
    with pytest.raises(TaskError, match="300,000 bytes and not 299,999"):
        fetch(site.archive(size=299_999), tmp_path)
    assert names(tmp_path) == set()
    assert fetch(site.archive(size=300_000), tmp_path).read_bytes() == CONTENT


def as_html(site):
    site.kind, site.content = "Text/HTML; charset=utf-8", b"Please log in."


def as_xml(site):
    site.content = b'\n<?xml version="1.0"?><Error>AccessDenied</Error>'


@pytest.mark.parametrize("page", [as_html, as_xml])
@pytest.mark.parametrize("way", ["fetch", "resume", "stream"])
def test_a_page_in_place_of_an_archive_is_refused(site, tmp_path, page, way):
    if way == "resume":
        interrupted(site, tmp_path)
    site.etag = '"page"'
    page(site)
    with pytest.raises(TaskError, match=f"^{site.url} answers with a web page and not with {NAME}") as caught:
        stream(site.archive()) if way == "stream" else fetch(site.archive(), tmp_path)
    assert "--from" in sentence(caught)
    assert NAME not in names(tmp_path)
    if way == "resume":
        assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:30_000]


def test_answers_that_will_change_are_waited_for_and_others_not(site, tmp_path):
    site.statuses = (503, 429, 502)
    fetch(site.archive(md5=MD5), tmp_path / "a")
    assert len(site.asked) == 4
    site.statuses = (503,) * 9
    with pytest.raises(TaskError, match="503 Service Unavailable"):
        fetch(site.archive(), tmp_path / "b")
    assert len(site.asked) == 8
    site.statuses = (404,)
    for way in (lambda: fetch(site.archive(), tmp_path / "b"), lambda: stream(site.archive())):
        site.statuses = (404,)
        with pytest.raises(TaskError, match="404 Not Found") as caught:
            way()
        assert "--from" in sentence(caught)
        assert "task.source=mini" in sentence(caught)
    assert len(site.asked) == 10


def test_no_network_is_one_sentence(site, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = Archive(f"http://127.0.0.1:{free.getsockname()[1]}/{NAME}")
    with pytest.raises(TaskError, match=r"\(Connection refused\): the same command goes on where it stopped") as caught:
        fetch(nobody, tmp_path)
    assert "--from FILE" in sentence(caught)
    assert "task.source=mini" in sentence(caught)

    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(TaskError, match=r"\(Name or service not known\)"):
        fetch(Archive(f"https://nowhere.invalid/{NAME}"), tmp_path)
    with pytest.raises(TaskError, match=r"0 bytes only \(Name or service not known\)"):
        stream(Archive(f"https://nowhere.invalid/{NAME}"))


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_is_one_sentence(site, tmp_path):
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from local_site import Archive
from lra_tasks import TaskError
from lra_tasks.download import fetch
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    fetch(Archive({site.url!r}), Path({str(tmp_path)!r}))
except TaskError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"Nothing can be downloaded to {tmp_path} (")
    assert "--data-dir or the environment variable LRA_DATA" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert names(tmp_path) == BROKEN_OFF
    fetch(site.archive(md5=MD5), tmp_path)  # with room again, it goes on
    assert site.asked[1] == f"bytes={len(CONTENT) - site.sent[1]}-" != "bytes=0-"


def test_a_folder_that_cannot_be_made_is_one_sentence(site, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TaskError, match=f"downloaded to {tmp_path}/file/downloads .*LRA_DATA") as caught:
        fetch(site.archive(), tmp_path / "file" / "downloads")
    sentence(caught)
    assert site.asked == []


CHILD = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from local_site import Archive
from lra_tasks.download import fetch
fetch(Archive({url!r}), Path({folder!r}), lambda done, total: print(done, flush=True))
"""


def start(site, folder):
    code = CHILD.format(here=str(Path(__file__).parent), url=site.url, folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_second_process_waits_and_reuses(site, tmp_path):
    site.pause = threading.Event()
    first = start(site, tmp_path)
    assert first.stdout.readline()
    second = start(site, tmp_path)
    assert "waiting for it" in second.stderr.readline()
    assert names(tmp_path) == BROKEN_OFF
    site.pause.set()
    outputs = [child.communicate(timeout=60) for child in (first, second)]
    assert first.returncode == second.returncode == 0
    assert outputs[1] == ("", "")
    assert site.asked == [None]
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_a_killed_process_has_not_worked_in_vain(site, tmp_path):
    site.pause = threading.Event()
    child = start(site, tmp_path)
    kept = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.communicate()
    site.pause.set()
    fetch(site.archive(md5=MD5), tmp_path)
    assert site.asked == [None, f"bytes={kept}-"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="a certificate is made with openssl")
def test_certificates_are_checked_and_tls_is_not_left(tmp_path, monkeypatch, site, caplog):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = (
        f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test -keyout {key} -out {certificate}"
    )
    usage = "-addext subjectAltName=IP:127.0.0.1 -addext keyUsage=digitalSignature,keyCertSign"
    subprocess.run(["openssl", *made.split(), *usage.split()], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serve(Site(), context) as secure:
        with pytest.raises(TaskError, match="certificate") as caught:
            fetch(secure.archive(), tmp_path / "data")
        sentence(caught)
        assert secure.asked == []
        assert "trying again" not in caplog.text
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        secure.statuses, secure.location = (302,), site.url
        with pytest.raises(TaskError, match="redirected to an address that is not https"):
            fetch(secure.archive(), tmp_path / "data")
        assert site.asked == []
        secure.statuses, secure.location = (302,), secure.url
        fetch(secure.archive(md5=MD5), tmp_path / "data")
        assert len(secure.asked) == 3
