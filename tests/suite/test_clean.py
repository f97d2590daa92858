"""`lra clean`: what takes space, what is deleted, and what never is."""

import csv
import io
import os
import time
from pathlib import Path

import pytest
from filelock import FileLock
from small_runs import make_run

from lra_hgrn import cleaning
from lra_hgrn.cli.main import main
from lra_hgrn.results.check import verify_run
from lra_hgrn.results.files import CHECKPOINTS, PENDING
from lra_tasks import holdings

SIZE = 1000  # bytes of each file that the tests add
STORE = "s4-tiny-generated-seed0-1234abcd"
TEMPORARY = ".record.json.0123456789abcdef.tmp"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def lra(capsys, monkeypatch, tmp_path):
    """Return a function that runs `lra clean` on the test's folders: exit code, standard output, standard error."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "data").mkdir()

    def run(*words, answer=None):
        monkeypatch.setattr("sys.stdin", io.StringIO() if answer is None else Terminal(answer))
        with pytest.raises(SystemExit) as stop:
            main(["clean", *words, "--runs", str(tmp_path / "runs"), "--data-dir", str(tmp_path / "data")])
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


def put(path, *, hours=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(SIZE))
    age(path, hours)
    return path


def age(path, hours):
    os.utime(path, (time.time() - 3600 * hours,) * 2)


def trained(runs, *, seed=1, ended=True):
    """Make a run with the files that one may have."""
    run = make_run(runs, seed=seed)
    for name in (*CHECKPOINTS, "log.txt", "tracker.json", "inspection/gates.png", "profile/trace.json.gz"):
        put(run / name)
    put(run / "profile" / "table.txt")
    if not ended:
        (run / "record.json").unlink()
    return run


def store(data, name=STORE):
    folder = data / "listops" / name
    put(folder / "train-tokens.npy")
    (folder / "meta.json").write_text("{}")
    age(put(data / "listops" / f"{name}.lock"), 2)
    return folder


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def sizes(out):
    return {row["kind"]: (int(row["number"]), int(row["bytes"])) for row in csv.DictReader(out.splitlines())}


def test_the_table_counts_what_each_kind_frees_and_deletes_nothing(lra, tmp_path):
    trained(tmp_path / "runs", seed=1)
    trained(tmp_path / "runs", seed=2, ended=False)
    store(tmp_path / "data")
    put(tmp_path / "data" / "downloads" / "archive.tar.gz")
    put(tmp_path / "data" / "downloads" / "archive.tar.gz.lock")
    put(tmp_path / "runs" / TEMPORARY, hours=2)
    before = files(tmp_path)
    code, out, err = lra("--format", "csv")
    assert (code, err) == (0, "")
    found = sizes(out)
    assert {
        kind: found[kind] for kind in ("leftovers", "checkpoints", "downloads", "traces", "best", "unfinished")
    } == {
        "leftovers": (1, SIZE),
        "checkpoints": (2, 2 * SIZE),
        "downloads": (1, SIZE),
        "traces": (1, SIZE),
        "best": (1, SIZE),
        "unfinished": (3, 3 * SIZE),
    }
    assert found["data"] == (1, SIZE + 2)
    locks = len([name for name in before if name.endswith(".lock")])
    whole = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert sum(size for _, size in found.values()) == whole - locks * SIZE
    assert files(tmp_path) == before
    code, out, _ = lra()
    assert "prepared tasks" in out
    assert "**Kept**" in out


@pytest.mark.parametrize(
    ("kinds", "gone"),
    [
        (["checkpoints"], {"last.ckpt", "previous.ckpt"}),
        (["best"], {"best.ckpt"}),
        (["traces"], {"profile/trace.json.gz"}),
        (["leftovers", "downloads", "data"], set()),
        (list(cleaning.KINDS), {*CHECKPOINTS, "profile/trace.json.gz"}),
    ],
)
def test_of_a_run_that_has_ended_only_the_kind_goes(lra, tmp_path, kinds, gone):
    run = trained(tmp_path / "runs")
    before = files(run)
    code, _, err = lra(*kinds, "--yes")
    assert (code, err) == (0, "")
    assert before - files(run) == gone
    assert all(finding.ok is not False for finding in verify_run(run))


def test_a_run_without_a_final_record_keeps_all(lra, tmp_path):
    runs = [trained(tmp_path / "runs", seed=seed) for seed in (1, 2, 3)]
    put(runs[0] / PENDING)
    (runs[0] / "record.json").unlink()
    (runs[1] / "record.json").write_text("{")
    stopped = (runs[2] / "record.json").read_text().replace('"status": "finished"', '"status": "stopped"')
    (runs[2] / "record.json").write_text(stopped)
    before = files(tmp_path / "runs")
    assert lra(*cleaning.KINDS, "--yes")[1] == "There is nothing to delete.\n"
    assert files(tmp_path / "runs") == before


def test_left_over_files_go_and_young_ones_stay(lra, tmp_path):
    runs, data = tmp_path / "runs", tmp_path / "data"
    run = trained(runs)
    before = files(tmp_path)
    for name in ("last.tmp", "progress.json", TEMPORARY, f"inspection/{TEMPORARY}", "profile/.trace.json.gz"):
        put(run / name, hours=2)
    put(runs / ".ab3_x9zq.tmp" / "run" / "record.json", hours=2)
    for folder in (runs / ".ab3_x9zq.tmp" / "run", runs / ".ab3_x9zq.tmp"):
        age(folder, 2)
    (runs / "listops-tiny-hgrn-seed9-1234abcd").mkdir()
    age(runs / "listops-tiny-hgrn-seed9-1234abcd", 2)
    put(data / "listops" / f"{STORE}.partial" / "train-tokens.npy")
    put(data / "listops" / f".{STORE}.removed" / "train-tokens.npy")
    put(data / "listops" / STORE / "train-tokens.npy")  # without meta.json
    put(data / "text" / f"{STORE}.lock", hours=2)
    put(data / "downloads" / "archive.zip.lock", hours=2)
    # What stays: too young, or of somebody else.
    others = {
        put(path)
        for path in (
            run / "inspection" / "progress.json",
            runs / "notes.tmp",
            runs / ".ab3_x9zr.tmp" / "record.json",
            runs / ".git" / "x.tmp",
            data / "mine" / "thing.partial",
            data / "downloads" / "mine.zip",
            data / "text" / f"{STORE.replace('0-', '1-')}.lock",
        )
    }
    (runs / "listops-tiny-hgrn-seed8-1234abcd").mkdir()
    code, _, err = lra("leftovers", "--yes")
    assert (code, err) == (0, "")
    assert files(tmp_path) == before | {str(path.relative_to(tmp_path)) for path in others}
    assert not (runs / "listops-tiny-hgrn-seed9-1234abcd").exists()
    assert (runs / "listops-tiny-hgrn-seed8-1234abcd").is_dir()
    assert not (data / "listops" / STORE).exists()


def test_temporary_files_under_a_free_lock_need_not_be_old(lra, tmp_path):
    run = trained(tmp_path / "runs")
    (run / ".lock").touch()
    put(run / "last.tmp")
    put(run / "inspection" / TEMPORARY)  # of `lra inspect`, which holds no lock
    assert lra("leftovers", "--yes")[1] == "Freed: 1 of leftovers; 1 KiB.\n"
    assert not (run / "last.tmp").exists()
    assert (run / "inspection" / TEMPORARY).exists()


@pytest.mark.parametrize("place", ["run", "search"])
def test_nothing_goes_where_a_process_is_at_work(lra, tmp_path, place):
    runs, data = tmp_path / "runs", tmp_path / "data"
    run = trained(runs / "search")
    put(run / "last.tmp", hours=2)
    store(data)
    put(data / "listops" / f"{STORE}.partial" / "x.npy")
    put(data / "downloads" / "archive.zip.part")
    lock = (run if place == "run" else runs / "search") / ".lock"
    locks = [FileLock(path) for path in (lock, data / "listops" / f"{STORE}.lock", data / "downloads/archive.zip.lock")]
    for each in locks:
        each.acquire()
    before = files(tmp_path)
    try:
        assert lra(*cleaning.KINDS, "--yes")[:2] == (0, "There is nothing to delete.\n")
        assert sizes(lra("--format", "csv")[1])["at work"][0] >= 7
        assert files(tmp_path) == before
    finally:
        for each in locks:
            each.release()
    assert lra(*cleaning.KINDS, "--yes")[0] == 0
    assert not any(name.endswith((".ckpt", ".npy", ".part")) for name in files(tmp_path))


def test_what_is_taken_up_while_the_question_stands_stays(lra, tmp_path, monkeypatch):
    run, other = trained(tmp_path / "runs", seed=1), trained(tmp_path / "runs", seed=2)
    (run / ".lock").touch()
    held = FileLock(run / ".lock")
    monkeypatch.setattr("builtins.input", lambda question: (held.acquire(), "y")[1])
    code, out, err = lra("checkpoints", answer="")
    held.release()
    assert (code, out) == (0, "Freed: 2 of checkpoints; 2 KiB.\n")
    assert err == "lra: 2 stay: a run or a task was taken up meanwhile.\n"
    assert (run / "last.ckpt").exists()
    assert not (other / "last.ckpt").exists()


def test_what_is_begun_anew_while_the_question_stands_stays(lra, tmp_path, monkeypatch):
    run = trained(tmp_path / "runs")
    monkeypatch.setattr("builtins.input", lambda question: ((run / "record.json").unlink(), "y")[1])
    assert lra("checkpoints", answer="")[:2] == (0, "Freed: nothing; 0 KiB.\n")
    assert (run / "last.ckpt").exists()


def test_archives_go_and_files_that_somebody_put_beside_them_stay(lra, tmp_path):
    downloads = tmp_path / "data" / "downloads"
    for name in ("archive.zip", "archive.zip.lock", "half.zip.part", "half.zip.part.json", "half.zip.lock", "mine.zip"):
        put(downloads / name)
    assert lra("downloads", "--yes")[0] == 0
    assert files(downloads) == {"archive.zip.lock", "half.zip.lock", "mine.zip"}


def test_links_are_neither_followed_nor_deleted(lra, tmp_path, monkeypatch):
    monkeypatch.setattr(holdings, "RECENT", -1)
    elsewhere = trained(tmp_path / "elsewhere")
    prepared = store(tmp_path / "elsewhere")
    run = trained(tmp_path / "runs", seed=2)
    (run / "last.ckpt").unlink()
    (tmp_path / "data" / "text").mkdir()
    links = {
        tmp_path / "runs" / "linked": elsewhere,
        run / "last.ckpt": elsewhere / "last.ckpt",
        tmp_path / "runs" / ".ab3_x9zq.tmp": tmp_path / "elsewhere",
        tmp_path / "data" / "listops": tmp_path / "elsewhere" / "listops",
        tmp_path / "data" / "text" / STORE: prepared,
        tmp_path / "data" / "downloads": tmp_path / "elsewhere",
    }
    for link, target in links.items():
        link.symlink_to(target)
    before = files(tmp_path / "elsewhere")
    assert lra(*cleaning.KINDS, "--yes")[0] == 0
    assert files(tmp_path / "elsewhere") == before
    assert all(link.is_symlink() for link in links)
    assert not (run / "best.ckpt").exists()


@pytest.mark.parametrize(
    ("answer", "gone"), [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_a_terminal_is_asked(lra, tmp_path, answer, gone):
    run = trained(tmp_path / "runs")
    code, out, err = lra("checkpoints", answer=answer)
    assert (code, err) == (0, "")
    assert "Delete 2 of checkpoints; 2 KiB? [y/N]" in out
    assert ("Nothing was deleted." in out) != gone
    assert (run / "last.ckpt").exists() != gone


def test_mistakes_are_one_sentence(lra, capsys, tmp_path):
    run = trained(tmp_path / "runs")
    code, _, err = lra("checkpoints")
    assert (code, err) == (
        2,
        "lra: This deletes 2 of checkpoints; 2 KiB, and there is no terminal to ask on: add --yes.\n",
    )
    code, _, err = lra("checkpiont", "--yes")
    assert code == 2
    assert "Unknown kind 'checkpiont'. Did you mean 'checkpoints'?" in err
    for option in ("--runs", "--data-dir"):
        with pytest.raises(SystemExit) as stop:
            main(["clean", option, str(tmp_path / "nowhere")])
        assert stop.value.code == 2
        assert f"give another as {option}" in capsys.readouterr().err
    assert (run / "last.ckpt").exists()


def test_without_any_run_the_table_is_empty(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRA_DATA", str(tmp_path / "data"))
    with pytest.raises(SystemExit) as stop:
        main(["clean", "--format", "csv"])
    assert not stop.value.code
    assert set(sizes(capsys.readouterr().out).values()) == {(0, 0)}


def test_what_cannot_be_deleted_is_one_sentence_and_the_rest_goes(lra, tmp_path, monkeypatch):
    runs = [trained(tmp_path / "runs", seed=seed) for seed in (1, 2)]
    original = Path.unlink

    def unlink(self, missing_ok=False):
        if self.parent == runs[0]:
            raise OSError(30, "Read-only file system", str(self))
        original(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    code, out, err = lra("checkpoints", "--yes")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert f"{runs[0] / 'last.ckpt'} (Read-only file system) and 1 more cannot be deleted; 2 KiB of others" in err
    assert (runs[0] / "last.ckpt").exists()
    assert not (runs[1] / "last.ckpt").exists()


def test_a_killed_removal_leaves_no_half_store_and_the_next_one_ends_it(lra, tmp_path, monkeypatch):
    prepared = store(tmp_path / "data")

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(holdings.shutil, "rmtree", killed)
        assert lra("data", "--yes")[0] == 130
    assert not prepared.exists()
    assert files(tmp_path / "data" / "listops") == {
        f".{STORE}.removed/train-tokens.npy",
        f".{STORE}.removed/meta.json",
        f"{STORE}.lock",
    }
    store(tmp_path / "data")
    assert lra("data", "--yes")[0] == 0
    assert files(tmp_path / "data" / "listops") == {f"{STORE}.lock"}
    assert lra("leftovers", "--yes")[0] == 0
    assert files(tmp_path / "data" / "listops") == set()
