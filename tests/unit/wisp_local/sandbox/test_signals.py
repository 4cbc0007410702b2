"""Signals that end a command unwind it, except while it cleans up."""

import signal
import threading
from collections.abc import Iterator

import pytest

from wisp.base.errors import SettingError
from wisp_local.sandbox.signals import deferred, run_program, unwinding


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    """Give each test the handlers that a program starts with."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_signals_unwind_and_give_their_status(number: signal.Signals) -> None:
    """The default handler is restored afterwards."""
    with pytest.raises(SystemExit) as ended, unwinding():
        signal.raise_signal(number)
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL


def test_ignored_signals_stay_ignored() -> None:
    """That is what nohup asks for."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with unwinding():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_cleanup_is_not_interrupted() -> None:
    """The signal takes effect when the cleanup is done."""
    done = []

    def clean_up() -> None:
        with deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("cleanup")

    with pytest.raises(KeyboardInterrupt):
        clean_up()
    assert done == ["cleanup"]


def test_other_threads_may_clean_up_too() -> None:
    """They cannot set handlers, and receive no signals."""
    done = []

    def clean_up() -> None:
        with deferred():
            done.append("cleanup")

    thread = threading.Thread(target=clean_up)
    thread.start()
    thread.join()
    assert done == ["cleanup"]


def test_interrupted_program_has_the_shells_status() -> None:
    """It shows no traceback."""

    def interrupted() -> int:
        signal.raise_signal(signal.SIGINT)
        return 0

    assert run_program(lambda: 3) == 3
    assert run_program(interrupted) == 130


def test_an_error_of_wisp_is_printed_and_gives_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    def failing() -> int:
        raise SettingError("the port is in use", hint="choose another one")

    assert run_program(failing) == 2
    assert capsys.readouterr().err == "error: the port is in use\nhint: choose another one\n"
