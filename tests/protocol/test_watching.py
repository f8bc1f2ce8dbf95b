"""A client that shows proposals itself is told what a request is at, and what the model writes while somebody watches."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.conftest import RIGHT, WRONG
from tests.protocol.endpoint import Endpoint
from tests.protocol.reviewer import REVIEWS, Reviewer


@pytest.fixture
def editor(reviewer: Reviewer) -> Reviewer:
    """It shows proposals itself."""
    return reviewer


def text(editor: Reviewer) -> str:
    """Return what the client shows."""
    shown = ""
    for reply in editor.replies:
        shown = reply["text"] if reply["begins"] else shown + reply["text"]
    return shown


async def test_what_the_model_writes_is_sent_as_it_comes(
    editor: Reviewer, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.replies, endpoint.pause = [WRONG, RIGHT], 0.05
    await editor.start(project, settings=settings, options=REVIEWS)
    await editor.command("oci.watch", watching=True)
    token = (await editor.command("oci.fix", uri=editor.open(project / "calc.py")))["token"]
    await editor.proposal()
    await editor.until("the last verdict", lambda: "**verified**" in text(editor))
    assert {reply["token"] for reply in editor.replies} == {token}
    assert [reply["begins"] for reply in editor.replies[:2]] == [True, False]
    shown = text(editor)
    parts = [
        "# Fix with OCI",
        "1 of 2 tests fail on the code as it is.",
        "`add` in `calc.py`",
        "## Round 1 of 3",
        "return a * b",
        "> 2 tests run on this.",
        "> **",
        "## Round 2 of 3",
        "return a + b",
        "> **verified**",
    ]
    places = [shown.find(part) for part in parts]
    assert -1 not in places, shown
    assert places == sorted(places), shown


async def test_nothing_is_sent_while_nobody_watches(
    editor: Reviewer, project: Path, settings: dict[str, Any]
) -> None:
    await editor.start(project, settings=settings, options=REVIEWS)
    calc = editor.open(project / "calc.py")
    await editor.command("oci.fix", uri=calc)
    await editor.proposal()
    assert not editor.replies
    # Who comes late sees it from its start.
    await editor.command("oci.watch", watching=True)
    await editor.until("the whole reply", lambda: "**verified**" in text(editor))
    assert editor.replies[0]["begins"]
    await editor.command("oci.watch", watching=False)
    del editor.replies[:]
    await editor.command("oci.fix", uri=calc)
    await editor.proposal()
    assert not editor.replies


async def test_who_begins_to_watch_in_the_middle_sees_all_of_it(
    editor: Reviewer, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.replies, endpoint.pause = ["word " * 2000], 0.02
    await editor.start(project, settings=settings, options=REVIEWS)
    token = (await editor.command("oci.fix", uri=editor.open(project / "calc.py")))["token"]
    assert await asyncio.to_thread(endpoint.streaming.wait, 60)
    await editor.command("oci.watch", watching=True)
    await editor.until("two messages", lambda: len(editor.replies) > 1)
    assert [reply["begins"] for reply in editor.replies] == [True] + [False] * (len(editor.replies) - 1)
    assert text(editor).startswith("# Fix with OCI\n")
    await editor.command("oci.cancel", token=token)


async def test_each_phase_is_told_once_as_it_begins(
    editor: Reviewer, project: Path, settings: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.replies = [WRONG, RIGHT]
    await editor.start(project, settings={**settings, "model": "scripted"}, options=REVIEWS)
    token = (await editor.command("oci.fix", uri=editor.open(project / "calc.py")))["token"]
    await editor.proposal()
    phases = ["testing", "generating", "testing", "generating", "testing"]
    assert [activity["phase"] for activity in editor.activities] == phases
    assert {(a["token"], a["model"], a["device"]) for a in editor.activities} == {(token, "scripted", "")}
