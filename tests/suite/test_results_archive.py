"""Runs taken along: what an export holds, and what an import of hostile archives leaves behind."""

import gzip
import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from small_runs import make_run

from lra_hgrn.cli.main import main
from lra_hgrn.errors import UserError
from lra_hgrn.results import archive
from lra_hgrn.results.archive import export_runs, import_runs

KEPT = ["config.yaml", "metrics.csv", "predictions.npz", "record.json"]


@pytest.fixture
def runs(tmp_path):
    """Two runs, with what is not to be taken along."""
    for seed in (1, 2):
        folder = make_run(tmp_path / "runs", seed=seed)
        for name in ("last.ckpt", "best.ckpt", "log.txt", "progress.json", ".record.json.1.tmp"):
            (folder / name).write_text("not to be taken along")
    return tmp_path / "runs"


def content(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


def kept(runs):
    return {name: data for name, data in content(runs).items() if Path(name).name in KEPT}


@pytest.mark.parametrize("ending", ["", ".tar.gz", ".zip"])
def test_runs_come_back_as_they_were(tmp_path, runs, ending):
    exported = export_runs(tmp_path / f"records{ending}", sorted(runs.iterdir()))
    assert sum(exported.copied.values()) == sum(map(len, kept(runs).values()))
    imported = import_runs(tmp_path / f"records{ending}", tmp_path / "new" / "runs")
    assert content(tmp_path / "new") == {f"runs/{name}": data for name, data in kept(runs).items()}
    assert imported == exported
    again = import_runs(tmp_path / f"records{ending}", tmp_path / "new" / "runs")
    assert (again.copied, again.there) == ({}, sorted(exported.copied))


@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_the_bytes_of_an_archive_depend_on_the_files_alone(tmp_path, runs, ending):
    folders = sorted(runs.iterdir())
    export_runs(tmp_path / f"one{ending}", folders)
    shutil.copytree(runs, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o700)
    export_runs(tmp_path / f"other{ending}", [tmp_path / "copy" / folder.name for folder in reversed(folders)])
    assert (tmp_path / f"one{ending}").read_bytes() == (tmp_path / f"other{ending}").read_bytes()
    if ending == ".tar.gz":
        assert (tmp_path / f"one{ending}").read_bytes()[4:8] == bytes(4)  # the time of packing, RFC 1952, 2.3


def test_other_programs_read_the_archives(tmp_path, runs):
    for name, command in (("a.tar.gz", ["tar", "xzf"]), ("a.zip", [sys.executable, "-m", "zipfile", "-e"])):
        export_runs(tmp_path / name, list(runs.iterdir()))
        (tmp_path / f"{name}.out").mkdir()
        where = [f"{name}.out"] if name == "a.zip" else ["-C", f"{name}.out"]
        subprocess.run([*command, name, *where], cwd=tmp_path, check=True)
        assert content(tmp_path / f"{name}.out") == kept(runs)


def test_an_archive_of_another_program_is_taken_in(tmp_path, runs):
    """With ``./`` before the names, and folders as members."""
    export_runs(tmp_path / "records", list(runs.iterdir()))
    subprocess.run(["tar", "czf", tmp_path / "a.tar.gz", "-C", tmp_path / "records", "."], check=True)
    import_runs(tmp_path / "a.tar.gz", tmp_path / "new")
    assert content(tmp_path / "new") == kept(runs)


@pytest.mark.parametrize("name", ["records", "records.zip"])
def test_an_export_overwrites_nothing(tmp_path, runs, name):
    first, second = sorted(runs.iterdir())
    export_runs(tmp_path / name, [first])
    before = content(tmp_path / name) or (tmp_path / name).read_bytes()
    assert export_runs(tmp_path / name, [first]).copied.keys() <= {first.name}  # the same again is no harm
    (first / "metrics.csv").write_text((first / "metrics.csv").read_text().replace("2.1", "2.2"))
    with pytest.raises(UserError, match=r"other content|something else"):
        export_runs(tmp_path / name, [second, first])
    assert (content(tmp_path / name) or (tmp_path / name).read_bytes()) == before


def test_a_run_that_is_there_with_other_content_stops_the_import(tmp_path, runs):
    export_runs(tmp_path / "a.zip", list(runs.iterdir()))
    first, second = sorted(runs.iterdir())
    shutil.rmtree(first)
    (second / "metrics.csv").write_text("step\n")
    before = content(runs)
    with pytest.raises(UserError, match=f"{second.name} is there already with other content"):
        import_runs(tmp_path / "a.zip", runs)
    assert content(runs) == before
    assert [path.name for path in runs.iterdir()] == [second.name]


@pytest.mark.parametrize("direction", ["export", "import"])
def test_a_run_that_is_not_as_recorded_is_not_copied(tmp_path, runs, direction):
    export_runs(tmp_path / "good", list(runs.iterdir()))
    (tmp_path / "good" / min(path.name for path in runs.iterdir()) / "metrics.csv").write_text("step\n")
    copy = {"import": import_runs, "export": lambda source, to: export_runs(to, list(source.iterdir()))}[direction]
    with pytest.raises(UserError, match=r"fails the check 'metrics'") as error:
        copy(tmp_path / "good", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert ".tmp" not in str(error.value)


def test_a_full_disk_leaves_nothing_half_done(tmp_path, runs, monkeypatch):
    export_runs(tmp_path / "a.zip", list(runs.iterdir()))
    original, moved = os.rename, []

    def rename(source, target):
        moved.append(target)
        if len(moved) == 2:
            raise OSError(28, "No space left on device")
        original(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(UserError, match="No space left on device"):
        import_runs(tmp_path / "a.zip", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def in_tar(path, name, **changes):
    member = tarfile.TarInfo(name)
    data = changes.pop("data", b"")
    member.size = len(data)
    for key, value in changes.items():
        setattr(member, key, value)
    with tarfile.open(path, "w:gz") as file:
        file.addfile(member, io.BytesIO(data))


def in_zip(path, name, mode=0, data=b""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        member = zipfile.ZipInfo(name)
        member.external_attr = mode << 16
        file.writestr(member, data, zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("write", [in_tar, in_zip])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("/run/record.json", "leads out of the folder"),
        ("../run/record.json", "leads out of the folder"),
        ("run/../../record.json", "leads out of the folder"),
        ("..\\record.json", "leads out of the folder"),
        ("C:/record.json", "leads out of the folder"),
        ("record.json", "no file of a run"),
        ("run/last.ckpt", "no file of a run"),
        ("run/deeper/record.json", "no file of a run"),
        ("run/inspection/x.html", "no file of a run"),
        ("run/inspection/deeper/x.png", "no file of a run"),
        (".hidden/record.json", "no file of a run"),
        ("ru\nn/record.json", "no file of a run"),
    ],
)
def test_names_that_no_export_writes_are_refused(tmp_path, write, name, sentence):
    path = tmp_path / ("a.tar.gz" if write is in_tar else "a.zip")
    write(path, name)
    refused(path, sentence)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    in_tar(tmp_path / "a.tar.gz", "run/record.json", type=kind, linkname="/etc/passwd")
    refused(tmp_path / "a.tar.gz", "not a plain file")


def test_links_in_a_zip_or_a_folder_are_refused(tmp_path, runs):
    in_zip(tmp_path / "a.zip", "run/record.json", stat.S_IFLNK | 0o777, b"/etc/passwd")
    refused(tmp_path / "a.zip", "not a plain file")
    folder = next(runs.iterdir())
    (folder / "metrics.csv").unlink()
    (folder / "metrics.csv").symlink_to("/etc/passwd")
    refused(runs, "not a plain file")


@pytest.mark.parametrize("write", [in_tar, in_zip])
def test_sizes_are_limited(tmp_path, monkeypatch, write):
    path = tmp_path / ("a.tar.gz" if write is in_tar else "a.zip")
    monkeypatch.setattr(archive, "LARGEST_FILE", 2**16)
    write(path, "run/metrics.csv", data=bytes(2**16 + 1))
    refused(path, "65,537 bytes are more than the 65,536 allowed")
    monkeypatch.setattr(archive, "LARGEST", 2**15)
    write(path, "run/metrics.csv", data=bytes(2**15 + 1))
    refused(path, "32,768 bytes")


def test_a_header_of_a_tar_is_not_unpacked_without_end(tmp_path, monkeypatch):
    """A long name is read by the library itself, before there is a member to be looked at."""
    monkeypatch.setattr(archive, "LARGEST_FILE", 2**16)
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**20
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT) + b"a" * 2**20)
    refused(tmp_path / "a.tar.gz", "unpacks to more than")


def test_predictions_that_unfold_without_end_are_refused(tmp_path, runs, monkeypatch):
    monkeypatch.setattr("lra_hgrn.results.check.LARGEST", 100)
    refused(runs, "which no test split has")


@pytest.mark.parametrize("ending", [".tar.gz", ".zip"])
def test_what_is_twice_empty_or_cut_off_is_refused(tmp_path, runs, ending):
    whole = tmp_path / f"whole{ending}"
    export_runs(whole, list(runs.iterdir()))
    path = tmp_path / f"a{ending}"
    for part in (b"", b"PK", whole.read_bytes()[: whole.stat().st_size // 2]):
        path.write_bytes(part)
        refused(path, f"a{ending} cannot be read|a{ending} holds no runs")
    if ending == ".tar.gz":
        with tarfile.open(path, "w:gz") as file:
            for _ in range(2):
                file.addfile(tarfile.TarInfo("run/metrics.csv"), io.BytesIO())
        refused(path, "more than once")


def refused(source, sentence):
    """The import is one sentence, and nothing is there that was not there before."""
    root = source.parent
    before = content(root)
    with pytest.raises(UserError, match=sentence) as error:
        import_runs(source, root / "new")
    assert "\n" not in str(error.value)
    assert not (root / "new").exists()
    assert content(root) == before


def test_the_command_says_the_size_and_warns_of_large_runs(capsys, tmp_path, runs, monkeypatch):
    def lra(*words):
        with pytest.raises(SystemExit) as stop:
            main(["results", *map(str, words)])
        return stop.value.code or 0, *capsys.readouterr()

    name = min(path.name for path in runs.iterdir())
    code, out, err = lra("export", tmp_path / "a.zip", name, "--runs", runs)
    assert (code, err) == (0, "")
    size = sum(len(data) for path, data in kept(runs).items() if path.startswith(name))
    assert out.splitlines()[0] == name
    assert out.splitlines()[1].startswith(f"1 run, {size / 1000:.0f} kB, ")
    suite = "title: One\ncells: [{model: hgrn, task: listops, set: {task: {scale: tiny}}}]\nseeds: [2, 3]\n"
    (tmp_path / "one.yaml").write_text(suite)
    code, out, _ = lra("export", tmp_path / "c", "--suite", tmp_path / "one.yaml", "--runs", runs)
    assert code == 0
    assert [path.name for path in (tmp_path / "c").iterdir()] == out.splitlines()[:1]
    assert "-seed2-" in out
    monkeypatch.setattr("lra_hgrn.cli.results.LARGE", 1000)
    code, out, err = lra("export", tmp_path / "b.zip", "--runs", runs)
    assert code == 0
    assert err.startswith("lra: More than 1 kB in one run: ")
    assert err.count("\n") == 1
    code, out, _ = lra("import", tmp_path / "b.zip", "--runs", tmp_path / "new")
    assert code == 0
    assert sorted(out.splitlines()[:2]) == sorted(path.name for path in runs.iterdir())
