"""Archives and folders as members: every kind, names, links, damage at every byte, limits."""

import gzip
import io
import logging
import os
import posixpath
import re
import shutil
import struct
import subprocess
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_site import sentence
from made_archives import FILES, PACK, SMALL, Passing, contents, fails, in_file, tar, zipped
from originals import write_folder

from lra_tasks import TaskError
from lra_tasks import archive as archive_module
from lra_tasks.archive import Member, open_members, stream_members


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_are_read_whatever_they_are_called(tmp_path, monkeypatch, kind, format):
    path = in_file(tmp_path, PACK[kind](tar(FILES, format)), "given.zip")
    monkeypatch.chdir(tmp_path)
    for opened in (open_members(path), stream_members(Passing(path.read_bytes()), "a label")):
        with opened as members:
            for (name, data), member in zip(FILES.items(), members, strict=True):
                assert (member.name, member.size) == (name, len(data))
                with member.open() as file:
                    assert file.read() == data
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zips_are_read_whatever_they_are_called(tmp_path, compression):
    path = in_file(tmp_path, zipped(FILES, compression), "given.tar.gz")
    assert contents(open_members(path)) == FILES
    assert contents(open_members(in_file(tmp_path, zipped({})))) == {}


@pytest.mark.skipif(shutil.which("tar") is None, reason="made by the command tar")
@pytest.mark.parametrize("options", ["-cf", "-czf", "--format=v7 -cf"])
def test_what_the_command_tar_writes_is_read(tmp_path, options):
    write_folder(tmp_path / "in", SMALL)
    subprocess.run(["tar", *options.split(), tmp_path / "out", "."], cwd=tmp_path / "in", check=True)
    assert contents(open_members(tmp_path / "out")) == SMALL


def test_empty_tars_and_joined_gzips(tmp_path):
    assert contents(open_members(in_file(tmp_path, tar({})))) == {}
    assert contents(open_members(in_file(tmp_path, gzip.compress(tar({}))))) == {}
    data = tar(SMALL)
    assert contents(open_members(in_file(tmp_path, gzip.compress(data[:700]) + gzip.compress(data[700:])))) == SMALL


def test_a_folder_is_read_in_order(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "one" / "two" / "three", FILES)
    found = contents(open_members(folder))
    assert found == {f"one/two/three/{name}": data for name, data in FILES.items()}
    assert list(found) == sorted(found)
    monkeypatch.chdir(folder / "set")
    assert "two/three/set/train/a.txt" in contents(open_members(Path()))
    assert contents(open_members(Path("block"))) == {"three/set/block": FILES["set/block"]}


def test_folders_that_are_skipped_are_not_entered(tmp_path):
    folder = write_folder(tmp_path / "skip", {"skip1/a": b"", "b/skip22/c": b"", "skipper/d": b"", "e/skip3": b""})
    names = contents(open_members(folder, skip=r"skip\d+"))
    assert [name.split("/skip/", 1)[1] for name in names] == ["e/skip3", "skipper/d"]


def test_links_in_a_folder_are_followed_inside_it_alone(tmp_path, caplog):
    folder = write_folder(tmp_path / "folder", {"real/file": b"in"})
    write_folder(tmp_path, {"outside/file": b"out", "folder2/file": b"out"})
    links = {"file": "real/file", "dir": "real", "real/back": "..", "real/self": "self", "gone": "nowhere"}
    outside = {"out1": "../outside", "out2": "../outside/file", "out3": "../folder2", "out4": "/"}
    for name, target in (links | outside).items():
        (folder / name).symlink_to(target)
    (tmp_path / "link").symlink_to("folder")
    with caplog.at_level(logging.WARNING):
        found = contents(open_members(tmp_path / "link"))
    prefix = "/".join(folder.parts[-3:])
    assert {name.removeprefix(prefix) for name in found} == {"/dir/file", "/file", "/real/file"}
    assert set(found.values()) == {b"in"}
    assert caplog.text.count("are not followed") == 1


def test_a_file_by_itself_is_one_member(tmp_path):
    path = write_folder(tmp_path, {"x/y/z/basic_train.tsv": b"Source\tTarget\n"}) / "x/y/z/basic_train.tsv"
    assert contents(open_members(path)) == {"y/z/basic_train.tsv": b"Source\tTarget\n"}
    (path.parent / "link.tsv").symlink_to(path)
    assert list(contents(open_members(path.parent / "link.tsv"))) == ["y/z/link.tsv"]


def test_only_regular_files_are_members(tmp_path):
    kinds = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE, "dir": tarfile.DIRTYPE}
    kinds |= {"device": tarfile.CHRTYPE, "block": tarfile.BLKTYPE}
    with tarfile.open(tmp_path / "tar", "w") as made:
        made.addfile(tarfile.TarInfo("first"))
        for name, kind in kinds.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "first"
            made.addfile(entry)
        made.addfile(tarfile.TarInfo("last"))
    assert list(contents(open_members(tmp_path / "tar"))) == ["first", "last"]
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "zip", "w") as made:
        made.writestr(link, "/etc/passwd")
        made.writestr("folder/", "")
        made.writestr("last", "")
    assert list(contents(open_members(tmp_path / "zip"))) == ["last"]


NAMES = {
    "./a": "a",
    "././b//c": "b/c",
    "/etc/passwd": None,
    "../up": None,
    "d/../../up": None,
    "d/..": None,
    "._a": None,
    "b/._c": None,
    "__MACOSX/x": None,
    "b/..c..": "b/..c..",
    "b/._d/e": "b/._d/e",
    "new\nline": None,
    "\x1b[2J": None,
    "C:\\x": "C:\\x",
    "été/ñ": "été/ñ",
}


@pytest.mark.parametrize("make", [tar, zipped])
def test_names_are_made_plain_or_left_out(tmp_path, make):
    found = contents(open_members(in_file(tmp_path, make({name: name.encode() for name in NAMES}))))
    assert found == {clean: name.encode() for name, clean in NAMES.items() if clean is not None}


@given(st.lists(st.text(st.sampled_from("ab./_\\\n\x7f é"), min_size=1, max_size=12), unique=True, max_size=6))
def test_no_name_leads_outside(names):
    names = [name for name in names if not name.endswith("/")]  # those of folders
    with stream_members(Passing(tar(dict.fromkeys(names, b""))), "label") as members:
        found = [member.name for member in members]
    plain = [posixpath.normpath(name) for name in names if not re.search(r"^/|(^|/)\.\.(/|$)|[\n\x7f]", name)]
    assert found == [name for name in plain if name != "." and not posixpath.basename(name).startswith("._")]


# Damage.


@pytest.mark.parametrize("kind", [*PACK, "zip"])
def test_a_cut_archive_is_never_taken_for_a_whole_one(tmp_path, kind):
    whole = zipped(SMALL) if kind == "zip" else PACK[kind](tar(SMALL))
    end = 7 * 512 if kind == "tar" else len(whole)  # three headers, three files and the end mark: the rest is padding
    cuts = range(512, end, 64) if kind == "tar" else range(6, end)
    for cut in cuts:
        path = in_file(tmp_path, whole[:cut])
        assert str(path) in fails(open_members(path), "damaged or incomplete|no tar")
        if kind != "zip":
            assert "a label" in fails(stream_members(Passing(whole[:cut]), "a label"))
    assert contents(open_members(in_file(tmp_path, whole))) == SMALL


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zip"])
def test_no_changed_byte_changes_a_content(tmp_path, kind):
    files = {"a": bytes(range(256))}
    whole = zipped(files) if kind == "zip" else PACK[kind](tar(files))
    places = range(31, whole.index(b"PK\x01\x02")) if kind == "zip" else range(10, len(whole), 2)
    noticed = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        try:
            assert contents(open_members(in_file(tmp_path, damaged))) == files  # some bits mean nothing
        except TaskError:
            noticed += 1
    assert noticed > 0.9 * len(places)


def test_a_damaged_header_is_not_the_end(tmp_path):
    data = bytearray(tar(SMALL))
    data[2 * 512] ^= 1  # the first letter of the second name
    path = in_file(tmp_path, data)
    with open_members(path) as members:
        assert next(members).read(5) == b"first"
        with pytest.raises(TaskError, match=f"^{path} cannot be read .bad checksum.: it is damaged"):
            next(members)


def header(name, size, kind):
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
@pytest.mark.parametrize("size", [1 << 40, -512])
def test_hostile_headers_are_refused(tmp_path, kind, size):
    first = header("first", 0, tarfile.REGTYPE)
    fails(open_members(in_file(tmp_path, first + header("x", size, kind) + bytes(2048))), rf"header of {size} bytes")


def test_hostile_sizes_and_endless_headers_are_refused(tmp_path):
    first = header("first", 0, tarfile.REGTYPE)
    record = b"12 size=-99\n".ljust(512, b"\0")
    pax = header("x", 12, tarfile.XHDTYPE) + record + header("second", 0, tarfile.REGTYPE)
    fails(open_members(in_file(tmp_path, first + pax + bytes(2048))), "damaged")
    fails(open_members(in_file(tmp_path, first + header("x", 0, tarfile.XHDTYPE) * 5_000)), "damaged")


def flag_encrypted(data: bytearray) -> bytearray:
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    return data


def set_method(data: bytearray) -> bytearray:
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", data, data.index(signature) + offset, 97)
    return data


@pytest.mark.parametrize(("change", "match"), [(flag_encrypted, "password"), (set_method, "packed in a way")])
def test_zips_that_cannot_be_read_say_so(tmp_path, change, match):
    path = in_file(tmp_path, change(bytearray(zipped({"a": b"1"}))))
    assert "give the folder" in fails(open_members(path), match)


WRONG = {
    "is empty": b"",
    "is a web page": b"\xef\xbb\xbf \n<!DOCTYPE html><html>",
    "is a 7z archive": b"7z\xbc\xaf\x27\x1c\0\4",
    "is a rar archive": b"Rar!\x1a\7\1\0",
    "is a zstd archive": b"\x28\xb5\x2f\xfd\4",
    "what it holds is no tar": gzip.compress(b"just text" * 100),
}


@pytest.mark.parametrize("match", WRONG)
def test_what_is_no_archive_is_one_sentence(tmp_path, match):
    path = in_file(tmp_path, WRONG[match])
    assert str(path) in fails(open_members(path), match)
    fails(stream_members(io.BytesIO(WRONG[match]), "https://x.org/y"), f"^https://x.org/y .*{match}")


def test_paths_that_lead_to_nothing_are_one_sentence(tmp_path):
    path = in_file(tmp_path, b"neither", "given.tar.gz")
    fails(open_members(path), "whatever its name says")
    fails(open_members(tmp_path / "nowhere"), "does not exist: check the path given with --from")
    fails(open_members(path / "below"), "does not exist")
    fails(open_members(Path("/dev/null")), "neither an archive nor a folder")
    fails(open_members(tmp_path / ("x" * 400)), "cannot be read")
    for data in (b"plain text", zipped(SMALL)):
        fails(stream_members(io.BytesIO(data), "label"), "^label is no tar.*--from")


def test_files_that_may_not_be_read_are_one_sentence(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "folder", {"a": b"1", "closed/b": b"2"})
    (folder / "a").chmod(0)
    (folder / "closed").chmod(0)

    scan = os.scandir

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    if os.access(folder / "a", os.R_OK):  # as for root
        monkeypatch.setattr(archive_module, "_open_file", refuse)
        monkeypatch.setattr(archive_module.os, "scandir", lambda path: refuse(path) if "closed" in path else scan(path))
    fails(open_members(folder), f"^{folder}/a may not be read: change its permissions")
    (folder / "a").unlink()
    fails(open_members(folder), f"^{folder}/closed may not be read")
    (folder / "closed").chmod(0o755)


# Members.


def test_contents_have_a_limit_that_counts_what_comes(tmp_path):
    path = in_file(tmp_path, gzip.compress(tar({"bomb": bytes(5_000_000)})))
    with (
        open_members(path) as members,
        pytest.raises(TaskError, match=r"bomb in .*larger than the 999 bytes") as caught,
    ):
        next(members).read(999)
    sentence(caught)
    for claim in (0, 9, 10, 11, 1 << 60):
        source = io.BytesIO(b"0123456789")
        member = Member("name", claim, lambda source=source: source, "where")
        assert member.read(10) == b"0123456789"
        source = io.BytesIO(b"0123456789")
        with pytest.raises(TaskError, match="larger"):
            Member("name", claim, lambda source=source: Unclosed(source), "where").read(6)
        assert source.tell() == 7


class Unclosed(io.BufferedReader):
    def __init__(self, source):
        self.source = source
        super().__init__(source)

    def read(self, size):
        return self.source.read(size)

    def close(self):
        pass


@pytest.mark.parametrize("kind", [*PACK, "zip"])
def test_members_are_read_in_part_by_line_or_not_at_all(tmp_path, kind):
    path = in_file(tmp_path, zipped(FILES) if kind == "zip" else PACK[kind](tar(FILES)))
    with open_members(path) as members:
        first = next(members)
        file = first.open()
        assert file.readline() == b"two\n"
        with next(members).open() as second:
            assert second.read(10) == FILES["set/train/a.txt"][:10]
        with pytest.raises(ValueError):
            file.read()
        with pytest.raises(ValueError, match="after the next member"):
            first.open()
        assert [member.name for member in members] == list(FILES)[2:]


def test_what_passes_by_is_opened_once():
    with stream_members(Passing(tar(SMALL)), "label") as members:
        member = next(members)
        assert member.read(10) == b"first"
        with pytest.raises(io.UnsupportedOperation):
            member.read(10)


def test_errors_of_the_reader_are_its_own(tmp_path):
    path = in_file(tmp_path, tar(SMALL))

    def use(error):
        with open_members(path) as members:
            next(members)
            raise error

    for error in (OSError("mine"), EOFError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            use(error)


def test_a_release_of_many_files_is_not_held_in_memory(tmp_path):
    data = tar({f"{number}": b"" for number in range(5_000)}, tarfile.USTAR_FORMAT)
    tracemalloc.start()
    with stream_members(io.BytesIO(data), "label") as members:
        assert sum(1 for _ in members) == 5_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
