"""The order in which requests compute."""

from __future__ import annotations

import threading
import time

from lsp_server.engine.turn import Turn


def wait_until_queued(turn: Turn, count: int) -> None:
    deadline = time.monotonic() + 5
    while len(turn._waiting) != count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_by_hand_before_background_and_each_in_order_of_arrival() -> None:
    turn, order = Turn(), []
    never = threading.Event()

    def compute(name: str, background: bool) -> None:
        with turn.wait(background, never):
            order.append(name)

    threads = []
    with turn.wait(False, never):
        for number, name in enumerate(("b1", "f1", "b2", "f2"), 1):
            threads.append(threading.Thread(target=compute, args=(name, name[0] == "b")))
            threads[-1].start()
            wait_until_queued(turn, number)
    for thread in threads:
        thread.join(5)
    assert order == ["f1", "f2", "b1", "b2"]


def test_a_background_holder_gives_way_only_to_what_is_more_urgent() -> None:
    turn, never, order = Turn(), threading.Event(), []

    def compute(name: str, background: bool) -> None:
        with turn.wait(background, never):
            order.append(name)

    with turn.wait(True, never) as ticket:
        assert ticket is not None
        later = threading.Thread(target=compute, args=("background", True))
        later.start()
        wait_until_queued(turn, 1)
        assert turn.give_way(ticket)
        assert order == []
        urgent = threading.Thread(target=compute, args=("by hand", False))
        urgent.start()
        wait_until_queued(turn, 2)
        assert turn.give_way(ticket)
        assert order == ["by hand"]
    later.join(5)
    urgent.join(5)
    assert order == ["by hand", "background"]


def test_who_is_cancelled_while_waiting_never_has_the_turn() -> None:
    turn, cancel = Turn(), threading.Event()
    got: list[object] = []

    def wait() -> None:
        with turn.wait(False, cancel) as ticket:
            got.append(ticket)

    with turn.wait(False, threading.Event()):
        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_until_queued(turn, 1)
        cancel.set()
        waiting.join(5)
    assert got == [None]
    with turn.wait(False, threading.Event()) as ticket:
        assert ticket is not None
