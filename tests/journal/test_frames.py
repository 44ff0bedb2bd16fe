"""Frames: whole, or not there."""

from __future__ import annotations

import os
import random
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from mpitasks.errors import JournalError
from mpitasks.journal.frames import BEGIN, MAGIC, Damage, Frame, FrameFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAST = 4096
"""Bytes at the end that are cut off one by one."""


@contextmanager
def opened(path: Path) -> Iterator[FrameFile]:
    """The file, as a writer opens it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        frames = FrameFile(descriptor, path.name)
        frames.begin()
        yield frames
    finally:
        os.close(descriptor)


def payloads(count: int) -> list[bytes]:
    """Of many sizes, and all different."""
    dice = random.Random(7)  # noqa: S311  no secret
    return [b"%d:" % number + dice.randbytes(dice.randrange(200)) for number in range(count)]


def written(path: Path, contents: list[bytes]) -> list[int]:
    """Write frames; where each ends."""
    with opened(path) as frames:
        return [frames.end_of(frames.append([[content]])[0]) for content in contents]


def read(path: Path) -> list[bytes]:
    """The payloads that are whole."""
    with opened(path) as frames:
        return [found.payload for found in frames.scan() if isinstance(found, Frame)]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """In its order, large and empty frames too, and by their places."""
    contents = [b"", b"a" * 100_000, *payloads(20)]
    path = tmp_path / "j"
    with opened(path) as frames:
        places = frames.append([[content[:7], content[7:]] for content in contents])
        assert contents == [frames.read(place) for place in places]
    assert contents == read(path)


def cuts() -> list[object]:
    """A slice of the last bytes; all of them as a soak."""
    return [*range(0, LAST, 97), pytest.param(-1, marks=pytest.mark.soak)]


def check_cut(path: Path, data: bytes, size: int, contents: list[bytes], ends: list[int]) -> None:
    """What is whole is there, what is torn is cut, and what comes next is found."""
    path.write_bytes(data[:size])
    whole = [content for content, end in zip(contents, ends, strict=True) if end <= size]
    with opened(path) as frames:
        found = [one for one in frames.scan() if isinstance(one, Frame)]
        frames.cut(frames.end_of(found[-1].place))
        frames.append([[b"next"]])
    assert [*whole, b"next"] == read(path)


@pytest.mark.parametrize("cut", cuts())
def test_a_torn_tail_costs_only_itself(tmp_path: Path, cut: int) -> None:
    """The journal cut at each byte of its last 4 KiB; what is written next is found again."""
    path, contents = tmp_path / "j", payloads(100)
    ends = written(path, contents)
    data = path.read_bytes()
    for back in range(LAST) if cut < 0 else [cut]:
        check_cut(path, data, len(data) - back, contents, ends)


def test_a_flipped_bit_costs_one_frame(tmp_path: Path) -> None:
    """300 bit flips: no wrong data, and all others are there; in the head of the file, nothing is taken."""
    path, contents = tmp_path / "j", payloads(60)
    written(path, contents)
    data = path.read_bytes()
    dice = random.Random(300)  # noqa: S311  no secret
    for _ in range(300):
        place, bit = dice.randrange(len(data)), 1 << dice.randrange(8)
        path.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
        if place < BEGIN:
            with pytest.raises(JournalError, match=r"is no journal|are damaged"):
                read(path)
            continue
        found = read(path)
        assert len(found) == len(contents) - 1
        assert [content for content in contents if content in found] == found


def test_a_journal_within_a_payload_is_only_a_payload(tmp_path: Path) -> None:
    """Damage the head around it: its frames are not taken for ours, not even if it is a copy of this very file."""
    inner, path = tmp_path / "inner", tmp_path / "j"
    written(inner, payloads(5))
    written(path, [b"before"])
    begin = path.stat().st_size
    with opened(path) as frames:
        frames.cut(begin)
        frames.append([[inner.read_bytes()], [path.read_bytes()], [b"after"]])
    data = bytearray(path.read_bytes())
    data[begin + 5] ^= 1
    second = data.index(MAGIC, data.index(MAGIC, begin) + 1)
    data[second - 20] ^= 1
    path.write_bytes(data)
    assert read(path) == [b"before", b"after"]


def test_damage_is_told(tmp_path: Path) -> None:
    """With the bytes that it covers."""
    path = tmp_path / "j"
    ends = written(path, [b"one", b"two", b"three"])
    data = bytearray(path.read_bytes())
    data[ends[1] - 1] ^= 1
    path.write_bytes(data)
    with opened(path) as frames:
        assert [one for one in frames.scan() if isinstance(one, Damage)] == [Damage(ends[0], ends[1])]


@pytest.mark.parametrize("size", range(BEGIN))
def test_a_head_that_is_torn_is_written_again(tmp_path: Path, size: int) -> None:
    """A writer that died in its first write leaves no file that nobody can use."""
    path = tmp_path / "j"
    written(path, [])
    path.write_bytes(path.read_bytes()[:size])
    written(path, [])
    assert path.stat().st_size == BEGIN


@pytest.mark.parametrize("content", [b"x", b"a,b,c\n1,2,3\n", b"mpitasks journal 2\n" + b"x" * 40])
def test_a_file_of_another_kind_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    """Refused, not overwritten."""
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"'table.csv' is no journal of mpitasks, .* left as it is; name another file"):
        read(path)
    assert path.read_bytes() == content


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """All frames of one write, or none; and what fits later goes in."""
    path, contents = tmp_path / "j", payloads(10)
    written(path, contents)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 1000, before[1]))
    try:
        with opened(path) as frames:
            frames.cut(path.stat().st_size)
            with pytest.raises(OSError, match="File too large"):
                frames.append([[b"small"], [b"x" * 2000]])
            frames.append([[b"fits"]])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [*contents, b"fits"] == read(path)
