"""A slave's log records, in the master's logging."""

from __future__ import annotations

import gc
import io
import logging
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from mpitasks.context import Context, enter, leave
from mpitasks.ids import Rank
from mpitasks.runtime import logs, memory
from mpitasks.runtime.logs import Forwarder, forwarding, records_with_rank, replay
from mpitasks.transport import wire
from tests.runtime.world import echo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.runtime.world import World


class Odd:
    """A value that can't travel."""

    def __init__(self) -> None:
        self.lock = sys.stderr

    def __str__(self) -> str:
        return "odd"


@pytest.fixture(autouse=True)
def _nothing_left_over() -> None:
    """Failed futures of other tests, which nobody asked for, are logged when they are collected: not here."""
    gc.collect()


@pytest.fixture
def collected() -> Iterator[deque[Any]]:
    """What a slave would send."""
    records: deque[Any] = deque()
    with forwarding(records):
        yield records


def test_a_record_travels_whole(collected: deque[Any], caplog: pytest.LogCaptureFixture) -> None:
    """Message, level, name, extra, and the traceback as text; values that can't travel are text already."""
    logger = logging.getLogger("app.part")
    with records_with_rank(3):
        try:
            1 // 0  # noqa: B018  it raises
        except ZeroDivisionError:
            logger.exception("failed: %s and %d", Odd(), 5, extra={"colour": "red", "odd": Odd()})
    kept = wire.unpack(wire.pack(collected.popleft()))
    assert (kept["msg"], kept["args"], kept["rank"], kept["task"]) == ("failed: odd and 5", None, 3, "")
    caplog.clear()
    replay(kept)
    (record,) = caplog.records
    assert (record.getMessage(), record.name, record.levelno) == ("failed: odd and 5", "app.part", logging.ERROR)
    assert (vars(record)["colour"], vars(record)["rank"], "odd" in vars(record)) == ("red", 3, False)
    assert record.exc_text is not None
    assert record.exc_text.endswith("ZeroDivisionError: integer division or modulo by zero")
    assert "ZeroDivisionError" in logging.Formatter("%(message)s").format(record)


def test_a_record_of_a_call_knows_task_and_rank(collected: deque[Any]) -> None:
    """Those of the call, not of the process."""
    token = enter(Context("a task", Rank(2)))
    with records_with_rank(0):
        logging.getLogger("app").warning("inside")
        leave(token)
        logging.getLogger("app").warning("outside")
    assert [(kept["rank"], kept["task"]) for kept in collected] == [(2, "a task"), (0, "")]


def test_the_record_factory_of_the_user_is_kept() -> None:
    """Ours asks it first, and gives way at the end."""
    before = logging.getLogRecordFactory()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        record.theirs = True
        return record

    logging.setLogRecordFactory(make)
    try:
        with records_with_rank(1):
            record = logging.getLogRecordFactory()("name", 10, "path", 1, "text", (), None)
        assert (vars(record)["theirs"], vars(record)["rank"]) == (True, 1)
        assert logging.getLogRecordFactory() is make
    finally:
        logging.setLogRecordFactory(before)


def test_a_level_that_the_master_does_not_want_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """The master's settings decide what is shown."""
    logger = logging.getLogger("app.quiet")
    logger.setLevel(logging.ERROR)
    try:
        replay({"name": "app.quiet", "msg": "small", "levelno": logging.INFO, "args": None})
        replay({"name": "app.quiet", "msg": "large", "levelno": logging.CRITICAL, "args": None})
    finally:
        logger.setLevel(logging.NOTSET)
    assert [record.getMessage() for record in caplog.records] == ["large"]


def test_handlers_to_the_terminal_give_way_on_a_slave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each line would come twice; handlers to files stay, and all is put back."""
    root = logging.getLogger()
    to_terminal, to_file = logging.StreamHandler(sys.stderr), logging.StreamHandler(io.StringIO())
    monkeypatch.setattr(root, "handlers", [to_terminal, to_file])
    records: deque[Any] = deque()
    with forwarding(records):
        assert to_terminal not in root.handlers
        assert to_file in root.handlers
        assert [type(handler) for handler in root.handlers if handler is not to_file] == [Forwarder]
        root.error("once")
    assert len(records) == 1
    assert root.handlers == [to_file, to_terminal]
    assert to_file.stream.getvalue() == "once\n"


def test_records_of_a_slave_reach_the_master(new_world: Callable[..., World], caplog: pytest.LogCaptureFixture) -> None:
    """With its reports, or alone when there are no outcomes; handled without the lock."""
    world = new_world(1)
    locked: list[bool] = []
    caplog.handler.addFilter(lambda record: bool(locked.append(world.master._lock._is_owned())) or True)
    record = {"name": "app", "msg": "from afar", "levelno": logging.WARNING, "args": None, "rank": 1}
    world.slaves[1].records.append(record)
    world.turn()
    world.slaves[1].records.append(record)
    echo.delay()
    world.turn()
    assert [(one.getMessage(), vars(one)["rank"]) for one in caplog.records] == [("from afar", 1)] * 2
    assert locked == [False, False]
    assert logs.replay is replay


@pytest.mark.parametrize("answer", [0, 1])
def test_memory_is_left_alone_if_the_user_says_so(monkeypatch: pytest.MonkeyPatch, answer: int) -> None:
    """`MPITASKS_MALLOC=0`; without glibc there is nothing to be told either."""
    told: list[tuple[int, int]] = []

    class Libc:
        @staticmethod
        def mallopt(what: int, value: int) -> int:
            told.append((what, value))
            return answer

    monkeypatch.setattr(memory, "_libc", lambda: Libc)
    monkeypatch.setenv("MPITASKS_MALLOC", "0")
    assert memory.keep_freed_memory() is False
    assert told == []
    monkeypatch.delenv("MPITASKS_MALLOC")
    assert memory.keep_freed_memory() is bool(answer)
    assert told[0] == (-1, 256 << 20)
    monkeypatch.setattr(memory, "_libc", lambda: None)
    assert memory.keep_freed_memory() is False


@pytest.mark.parametrize(("before", "within"), [(700, 2000), (701, 701), (0, 0)])
def test_the_collector_is_relaxed_for_the_run_alone(before: int, within: int) -> None:
    """And only where the user left it as Python has it."""
    usual = gc.get_threshold()
    try:
        gc.set_threshold(before, 10, 10)
        with memory.collecting_less_often():
            assert gc.get_threshold() == (within, 10, 10)
        assert gc.get_threshold() == (before, 10, 10)
    finally:
        gc.set_threshold(*usual)


NOSY = """
import sys
from collections import deque
from mpitasks.runtime.late_logs import forwarding

class Nosy:
    def find_spec(self, name, *_):
        if name == "colorsys":
            import logging

assert "logging" not in sys.modules
records = deque()
with forwarding(1, records):
    sys.meta_path.insert(-1, Nosy())
    import colorsys, logging
    logging.getLogger("app").warning("there")
print(len(records), any("late_logs" in type(finder).__module__ for finder in sys.meta_path))
"""


def test_whoever_imports_logging_first_disturbs_no_other_import() -> None:
    """A finder that asks for it in the midst of another import, as a thread might: the import system goes through its list."""
    ended = subprocess.run([sys.executable, "-c", NOSY], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.returncode) == ("1 False\n", 0), ended.stderr
