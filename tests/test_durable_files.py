"""Files that are replaced whole or not at all."""

import os
import stat

import pytest

from langmem_dspy.durable_files import replacing, sync_folder


@pytest.fixture
def file(tmp_path):
    found = tmp_path / "notes.json"
    found.write_bytes(b"old")
    return found


@pytest.mark.parametrize("synced", [True, False])
def test_a_file_is_what_was_written_once_the_block_ends_and_the_former_until_then(file, synced):
    with replacing(file, synced=synced) as out:
        out.write(b"new")
        out.flush()
        assert file.read_bytes() == b"old"
    assert file.read_bytes() == b"new" and os.listdir(file.parent) == ["notes.json"]


def test_a_block_that_fails_leaves_the_former_file_and_nothing_beside_it(file):
    with pytest.raises(ZeroDivisionError), replacing(file) as out:
        out.write(b"half")
        raise ZeroDivisionError
    assert file.read_bytes() == b"old" and os.listdir(file.parent) == ["notes.json"]


def test_others_may_write_by_the_name_of_the_file(file):
    with replacing(file) as out, open(out.name, "ab") as other:
        other.write(b"by name")
    assert file.read_bytes() == b"by name"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_what_only_its_owner_may_read_is_so_from_the_first_byte_on(file):
    with replacing(file, mode=0o600) as out:
        assert stat.S_IMODE(os.fstat(out.fileno()).st_mode) == 0o600
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_folder_is_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    sync_folder(tmp_path)
    assert synced == ([tmp_path.stat().st_ino] if os.name == "posix" else [])
