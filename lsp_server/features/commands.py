"""The commands behind the code actions: they return at once, the work goes on under a progress token."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams

from lsp_server.features import (
    ahead,
    archive,
    configuration,
    documents,
    l10n,
    on_save,
    progress,
    proposals,
    review,
    watching,
    work,
)
from lsp_server.features.messages import EXPLANATION, ExplanationPiece, KeptProposal
from lsp_server.features.narrator import Narrator
from lsp_server.features.session import CompanionServer, Work
from lsp_server.refine.events import Event, Listener
from lsp_server.refine.loop import Cancelled, NothingToFix
from lsp_server.refine.proposal import FeedbackRequest, Proposal
from lsp_server.refine.task import (
    Complaint,
    ComplaintRequest,
    FixRequest,
    GenerateRequest,
    Request,
    TaskError,
)

Make = Callable[[], Request | FeedbackRequest]
Do = Callable[[Work, Narrator], Awaitable[str]]
"""Does what is asked, and returns how it ended, in a sentence."""

log = logging.getLogger(__name__)


def generate(server: CompanionServer, *arguments: Any) -> dict[str, Any]:
    """`oci.generate` {uri, line, endLine?, instruction?}: write code at a place; lines count from 1."""
    argument = _Argument(arguments)
    uri, line = argument.text("uri"), argument.line("line")
    if line is None:
        raise JsonRpcInvalidParams("oci.generate needs a `line`, or a `range`")
    end_line, instruction = argument.line("endLine"), argument.text("instruction", "")

    def request() -> Request:
        root, path = documents.locate(server, uri)
        return GenerateRequest(documents.snapshot(server, root), path, line, end_line, instruction)

    return _start(server, uri, l10n.text("Generate with OCI"), request)


def fix(server: CompanionServer, *arguments: Any) -> dict[str, Any]:
    """`oci.fix` {uri, line?, instruction?}: make a file's failing tests pass; lines count from 1."""
    argument = _Argument(arguments)
    uri, line, instruction = argument.text("uri"), argument.line("line"), argument.text("instruction", "")

    def request() -> Request:
        root, path = documents.locate(server, uri)
        return FixRequest(documents.snapshot(server, root), path, line=line, instruction=instruction)

    return _start(server, uri, l10n.text("Fix with OCI"), request)


def fix_test(server: CompanionServer, *arguments: Any) -> dict[str, Any]:
    """`oci.fixTest` {uri, test, line?, instruction?}: make one test pass; `test` is `Class::test` or a node id."""
    argument = _Argument(arguments)
    uri, test, line = argument.text("uri"), argument.text("test"), argument.line("line")
    instruction = argument.text("instruction", "")

    def request() -> Request:
        root, path = documents.locate(server, uri)
        file, _, inner = test.partition(".py::")
        node = f"{file}.py::{inner}" if inner else f"{path}::{test}"
        return FixRequest(documents.snapshot(server, root), path, node, line, instruction)

    return _start(server, uri, l10n.text("Fix failing test with OCI"), request)


def fix_diagnostic(server: CompanionServer, *arguments: Any) -> dict[str, Any]:
    """`oci.fixDiagnostic` {uri, line, source, code?, message}: change what another tool complains of."""
    argument = _Argument(arguments)
    uri, line = argument.text("uri"), argument.line("line")
    if line is None:
        raise JsonRpcInvalidParams("oci.fixDiagnostic needs a `line`")
    complaint = Complaint(argument.text("source"), argument.text("code", ""), argument.text("message"), line)

    def request() -> Request:
        root, path = documents.locate(server, uri)
        return ComplaintRequest(documents.snapshot(server, root), path, complaint)

    return _start(server, uri, l10n.text("Fix what {0} reports", complaint.tool), request)


def run_tests(server: CompanionServer, *arguments: Any) -> dict[str, Any]:
    """`oci.runTests` {uri, tests?}: run node ids, or all tests of a file, and show what fails."""
    argument = _Argument(arguments)
    uri, tests = argument.text("uri"), argument.texts("tests")
    if not server.trusted:
        return _refuse_untrusted(server)
    try:
        root, path = documents.locate(server, uri)
    except TaskError as error:
        return _refuse(server, str(error))
    on_save.run(server, root, tests or (str(path),))
    return {"tests": tests or [str(path)]}


def cancel(server: CompanionServer, *arguments: Any) -> dict[str, Any]:
    """`oci.cancel` {token?} stops one request, or all of them."""
    token = _Argument(arguments).text("token", "")
    stopped = [w for w in server.works.values() if token in ("", w.token)]
    for stopping in stopped:
        stopping.cancel.set()
    if not token:
        server.end_runs()
    return {"cancelled": [w.token for w in stopped]}


def apply_proposal(server: CompanionServer, *arguments: Any) -> dict[str, Any]:
    """`oci.applyProposal` {token?} offers a proposal again that could not be applied, the latest by default."""
    token = _Argument(arguments).text("token", "") or next(reversed(server.proposals), "")
    proposal = server.proposals.get(token)
    if proposal is None:
        server.say(l10n.text("No proposal is waiting."))
        return {"token": None}
    _offer(server, token, proposals.offer(server, token, proposal))
    return {"token": token}


async def accept_proposal(server: CompanionServer, *arguments: Any) -> dict[str, Any]:
    """`oci.acceptProposal` {token}: apply a proposal that the client shows; answers with a `Decision`."""
    return await review.accept(server, _Argument(arguments).text("token"))


def watch(server: CompanionServer, *arguments: Any) -> None:
    """`oci.watch` {watching}: send what the model writes from now on, and what it has written, or send it no longer."""
    watching.watch(server, _Argument(arguments).flag("watching"))


def discard_proposal(server: CompanionServer, *arguments: Any) -> None:
    """`oci.discardProposal` {token}: let a proposal go."""
    review.discard(server, _Argument(arguments).text("token"))


def fit_proposal(server: CompanionServer, *arguments: Any) -> dict[str, Any] | None:
    """`oci.fitProposal` {token}: answers with the `WaitingProposal` as it fits its file now."""
    return review.refit(server, _Argument(arguments).text("token"))


async def refine_proposal(server: CompanionServer, *arguments: Any) -> dict[str, Any]:
    """`oci.refineProposal` {token, feedback}: go on with a proposal in the direction that the user says."""
    argument = _Argument(arguments)
    token, feedback = argument.text("token"), argument.text("feedback")
    earlier = await _kept(server, token)
    if earlier is None:
        return _refuse_unknown(server)
    root, path = earlier.task.snapshot.workspace, earlier.task.document.path

    def request() -> FeedbackRequest:
        return FeedbackRequest(documents.snapshot(server, root), earlier, feedback)

    return _start(server, documents.uri_of(root, path), l10n.text("Refine with feedback"), request)


async def explain_proposal(server: CompanionServer, *arguments: Any) -> dict[str, Any]:
    """`oci.explainProposal` {token}: say why the test failed and what was changed."""
    token = _Argument(arguments).text("token")
    proposal = await _kept(server, token)
    if proposal is None:
        return _refuse_unknown(server)
    uri = documents.uri_of(proposal.task.snapshot.workspace, proposal.task.document.path)

    async def do(started: Work, narrator: Narrator) -> str:
        loop = asyncio.get_running_loop()
        narrator.notice(l10n.text("explaining"))

        def tell(text: str, done: bool = False) -> None:
            server.protocol.notify(EXPLANATION, asdict(ExplanationPiece(token, text, done)))

        def listener(piece: str) -> None:
            if server.reviews:
                loop.call_soon_threadsafe(tell, piece)

        try:
            whole = await asyncio.to_thread(
                work.explain, proposal, server.settings, started.cancel, narrator.notice, listener
            )
        finally:
            if server.reviews:
                tell("", done=True)
        if started.cancel.is_set():
            raise Cancelled
        if not server.reviews:
            server.say(whole)
        return l10n.text("Explained")

    return _begin(server, uri, l10n.text("Explain"), do)


async def list_proposals(server: CompanionServer, *arguments: Any) -> list[dict[str, Any]]:
    """`oci.proposals` {}: answers with a `KeptProposal` for each of the opened folders, the latest first."""
    _Argument(arguments)
    return [
        asdict(
            KeptProposal(
                token=session.id,
                uri=(root / session.path).as_uri(),
                target=session.target,
                created=session.created,
                verdict=session.verdict,
                reason=session.reason,
                decision=session.decision,
            )
        )
        for root, session in await archive.sessions(server)
    ]


async def open_proposal(server: CompanionServer, *arguments: Any) -> dict[str, Any]:
    """`oci.openProposal` {token}: offer a proposal of an earlier session again."""
    token = _Argument(arguments).text("token")
    proposal = await _kept(server, token)
    if proposal is None or proposal.new_text is None:
        return _refuse_unknown(server)
    if token not in server.proposals:
        server.restored.add(token)
    _give(server, token, proposal)
    return {"token": token}


async def _kept(server: CompanionServer, token: str) -> Proposal | None:
    try:
        return await archive.proposal(server, token)
    except Exception as error:
        _tell_error(server, l10n.text("Reading the proposal"), error)
        return None


def progress_cancelled(server: CompanionServer, params: types.WorkDoneProgressCancelParams) -> None:
    """Stop the request whose progress the user has cancelled."""
    if (found := server.works.get(str(params.token))) is not None:
        found.cancel.set()


def _start(server: CompanionServer, uri: str, title: str, make: Make) -> dict[str, Any]:
    """Begin to work on a request, or say why not."""
    try:
        request = make()
    except TaskError as error:
        return _refuse(server, str(error))

    async def do(started: Work, narrator: Narrator) -> str:
        return await _propose(server, started, title, request, narrator)

    return _begin(server, uri, title, do)


def _begin(server: CompanionServer, uri: str, title: str, do: Do) -> dict[str, Any]:
    """Begin to do something about a file, or say why not."""
    if not server.trusted:
        return _refuse_untrusted(server)
    if any(w.uri == uri for w in server.works.values()):
        return _refuse(server, l10n.text("This file is being worked on already. Wait for it, or cancel it."))
    started = Work(str(uuid.uuid4()), uri)
    server.works[started.token] = started
    started.task = asyncio.ensure_future(_work(server, started, title, do))
    return {"token": started.token}


def _refuse_untrusted(server: CompanionServer) -> dict[str, Any]:
    return _refuse(
        server, l10n.text("This workspace is not trusted, so its code is not run. Trust it first.")
    )


def _refuse_unknown(server: CompanionServer) -> dict[str, Any]:
    return _refuse(server, l10n.text("There is no such proposal any more: ask again."))


def _refuse(server: CompanionServer, why: str) -> dict[str, Any]:
    server.say(why, types.MessageType.Warning)
    return {"token": None, "message": why}


async def _work(server: CompanionServer, started: Work, title: str, do: Do) -> None:
    """Do something to its end, with progress, and tell how it ended."""
    try:
        display = await progress.begin(server, started.token, title)
        ending = l10n.text("Stopped")
        try:
            await configuration.settled(server)
            ahead.stop(server)
            ending = await do(started, Narrator(display, asyncio.get_running_loop()))
        except Cancelled:
            server.log(f"{title}: stopped; nothing was changed.")
        except NothingToFix as error:
            ending = l10n.text("Nothing to fix")
            server.say(str(error))
        except Exception as error:
            ending = l10n.text("Could not run")
            _tell_error(server, title, error)
        finally:
            display.end(ending)
    finally:
        # Also when the server ends: the thread goes on until it sees this.
        started.cancel.set()
        del server.works[started.token]


def _listeners(
    narrator: Narrator, watcher: watching.Watcher | None
) -> tuple[Listener, Callable[[str], None]]:
    """Return what is told of each step, and what of waiting for the model."""
    if watcher is None:
        return narrator, narrator.notice

    def tell(event: Event) -> None:
        narrator(event)
        watcher(event)

    def notice(text: str) -> None:
        narrator.notice(text)
        watcher.loading()

    return tell, notice


async def _propose(
    server: CompanionServer,
    started: Work,
    title: str,
    request: Request | FeedbackRequest,
    narrator: Narrator,
) -> str:
    """Work on a request, and offer what comes out."""
    watcher = watching.Watcher(server, started.token, title) if server.reviews else None
    proposal = None
    ready = None if isinstance(request, FeedbackRequest) else ahead.take(server, request)
    if ready is not None:
        narrator.notice(l10n.text("trying a repair that was made ahead"))
        proposal = await asyncio.to_thread(
            ahead.still_true, ready, request.snapshot, server.settings, started.cancel
        )
    if proposal is None:
        proposal = await asyncio.to_thread(
            work.propose, request, server.settings, started.cancel, *_listeners(narrator, watcher)
        )
    if started.cancel.is_set():
        raise Cancelled
    _give(server, started.token, proposal)
    return proposal.receipt.verdict.reason


def _give(server: CompanionServer, token: str, proposal: Proposal) -> None:
    """Let the user decide about a proposal, in the way that the client knows."""
    if server.reviews and proposal.new_text is not None:
        review.hand_over(server, token, proposal)
    else:
        _offer(server, token, proposals.offer(server, token, proposal))


def _offer(server: CompanionServer, token: str, offering: Any) -> None:
    task = asyncio.ensure_future(offering)
    server.offers.add(task)

    def done(ended: asyncio.Task[None]) -> None:
        server.offers.discard(ended)
        if not ended.cancelled() and (error := ended.exception()) is not None:
            log.error("proposal %s could not be offered", token, exc_info=error)
            server.say(l10n.text("The proposal could not be shown: {0}", error), types.MessageType.Error)

    task.add_done_callback(done)


def _tell_error(server: CompanionServer, title: str, error: Exception) -> None:
    if work.is_told(error):
        server.say(str(error), types.MessageType.Error)
        return
    log.error("%s failed", title, exc_info=error)
    what = f"{type(error).__name__}: {error}"
    told = l10n.text("{0} failed: {1}. The server's log has more; please report it.", title, what)
    server.say(told, types.MessageType.Error)


class _Argument:
    """The one JSON object that a command takes."""

    def __init__(self, arguments: Sequence[Any]) -> None:
        first: Any = arguments[0] if arguments else {}
        values = vars(first) if hasattr(first, "__dict__") else first
        if len(arguments) > 1 or not isinstance(values, Mapping):
            raise JsonRpcInvalidParams("the command takes one JSON object")
        self._values = values

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string; without a default it must be there."""
        value = self._values.get(name)
        if value is None:
            value = default
        if not isinstance(value, str):
            raise JsonRpcInvalidParams(f"`{name}` is {value!r}, not a string")
        return value

    def flag(self, name: str) -> bool:
        """Return a truth value, which must be there."""
        value = self._values.get(name)
        if not isinstance(value, bool):
            raise JsonRpcInvalidParams(f"`{name}` is {value!r}, not true or false")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of strings; empty if it is not there."""
        values = self._values.get(name) or []
        if not isinstance(values, Sequence) or not all(isinstance(value, str) for value in values):
            raise JsonRpcInvalidParams(f"`{name}` is {values!r}, not a list of strings")
        return list(values)

    def line(self, name: str) -> int | None:
        """Return a line (from 1): given as such, or by the `range` of a selection (from 0)."""
        value = self._values.get(name)
        chosen = self._values.get("range")
        if value is None and isinstance(chosen, Mapping):
            start, end = chosen["start"], chosen["end"]
            if name == "line":
                value = start["line"] + 1
            elif start != end:
                value = end["line"] + (1 if end["character"] or end["line"] == start["line"] else 0)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise JsonRpcInvalidParams(f"`{name}` is {value!r}, not a line number from 1")
        return value
