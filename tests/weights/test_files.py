"""Files of weights are read without running them; what is none of them is told so."""

import errno
import pickle

import pytest
import torch

from minivl.errors import UserError
from minivl.weights import files

TENSORS = {"a": torch.arange(3.0), "b.c": torch.tensor(2)}


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors"])
def test_written_and_read(tmp_path, suffix):
    path = tmp_path / "new folder" / f"weights{suffix}"
    files.write(path, TENSORS)
    found = files.read(path)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], value) for name, value in TENSORS.items())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_parts_of_one_tensor_are_written_apart(tmp_path):
    whole = torch.randn(6, 2)
    parts = dict(zip("qkv", whole.chunk(3), strict=True)) | {"tied": whole[:2]}
    for suffix in (".pth", ".safetensors"):
        files.write(tmp_path / f"parts{suffix}", parts)
        found = files.read(tmp_path / f"parts{suffix}")
        assert all(torch.equal(found[name], value) for name, value in parts.items())


@pytest.mark.parametrize("key", [None, "model", "state_dict"])
def test_what_stands_beside_the_weights_is_left(tmp_path, key):
    """An official checkpoint: optimiser, schedule, settings and epoch beside the model."""
    saved = TENSORS
    if key:
        beside = {"epoch": 29, "config": {"temp": 0.07, "files": ["a", "b"]}}
        saved = {key: TENSORS, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}} | beside
    torch.save(saved, tmp_path / "file.pth")
    assert files.read(tmp_path / "file.pth").keys() == TENSORS.keys()


class Evil:
    """Rebuilding it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_is_never_run(tmp_path):
    mark = tmp_path / "mark"
    for name, save in {
        "zip.pth": lambda file: torch.save({"model": TENSORS, "x": Evil(mark)}, file),
        "bare.pth": lambda file: file.write_bytes(pickle.dumps({"x": Evil(mark)}, protocol=2)),
    }.items():
        save(tmp_path / name)
        with pytest.raises(UserError, match="more than tensors and plain values"):
            files.read(tmp_path / name)
        assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    {
        "page": ("a.pth", b"<!DOCTYPE html><html>", "a page of the web"),
        "pointer": ("a.bin", b"version https://git-lfs.github.com/spec/v1\n", "in Git LFS"),
        "empty": ("a.pth", b"", "no file of weights"),
        "noise": ("a.pth", bytes(range(256)), "no file of weights"),
        "not safe": ("a.safetensors", b"12345678 nothing", "cannot be read"),
    }.values(),
    ids=["page", "pointer", "empty", "noise", "not safe"],
)
def test_files_that_are_something_else(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        files.read(tmp_path / name)


def test_a_file_that_was_cut_off(tmp_path):
    torch.save(TENSORS, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="no file of weights, or a damaged one"):
        files.read(tmp_path / "cut.pth")


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ([1, 2], "holds no named tensors"),
        ({}, "holds no named tensors"),
        ({"lr": 0.1, "a": torch.zeros(1)}, "'lr' is a float, not a tensor"),
        (torch.zeros(3), "holds no named tensors"),
    ],
    ids=["list", "empty", "numbers", "tensor"],
)
def test_files_without_a_state_dict(tmp_path, saved, message):
    torch.save(saved, tmp_path / "file.pth")
    with pytest.raises(UserError, match=message):
        files.read(tmp_path / "file.pth")


def test_no_file_and_no_room(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        files.read(tmp_path / "none.pth")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        files.write(tmp_path / "file" / "weights.pth", TENSORS)


def test_a_full_disk_is_no_mistake_of_the_user_and_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    files.write(path, TENSORS)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        files.write(path, {})
    monkeypatch.undo()
    assert files.read(path).keys() == TENSORS.keys()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
