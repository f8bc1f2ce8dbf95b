"""`oci-companion sessions list | show | compare | export | purge`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsp_server.refine.proposal import Proposal
    from lsp_server.refine.sessions import Session, Sessions


def add(actions: Any) -> None:
    """Add the commands to the parser's `sessions` group."""
    every = actions.add_parser("list", help="what was proposed, the latest first")
    every.set_defaults(run=_list)
    show = actions.add_parser("show", help="one session's rounds, receipt and diff")
    show.add_argument("session", metavar="ID", help="or its beginning")
    show.set_defaults(run=_show)
    compare = actions.add_parser("compare", help="how two sessions' proposals for a file differ")
    compare.add_argument("session", metavar="ID")
    compare.add_argument("other", metavar="ID")
    compare.set_defaults(run=_compare)
    for command in (every, show):
        command.add_argument("--json", action="store_true", help="JSON on standard output")
    for command in (every, show, compare):
        command.add_argument(
            "--workspace", type=Path, metavar="FOLDER", help="of this one; of all if not given"
        )
    export = actions.add_parser(
        "export", help="what was collected with your consent (oci.collectSessions), in Code-Feedback's form"
    )
    export.add_argument("--output", type=Path, metavar="FILE.jsonl", help="else standard output")
    export.add_argument("--applied", action="store_true", help="only what was applied")
    export.set_defaults(run=_export)
    purge = actions.add_parser("purge", help="delete what was collected")
    purge.add_argument("--all", action="store_true", help="the proposals that are kept for you as well")
    purge.set_defaults(run=_purge)


def _list(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    found = [(each.workspace, session) for each in _stores(options.workspace) for session in each.list()]
    found.sort(key=lambda pair: -pair[1].created)
    if options.json:
        print(json.dumps([{"workspace": str(root), **vars(session)} for root, session in found]))
        return 0
    if not found:
        print("No session is kept: the editor has proposed nothing yet.")
        return 0
    table = Table(box=None, header_style="bold")
    for column in ("id", "when", "file", "target", "verdict", "decision"):
        table.add_column(column)
    for root, session in found:
        when = datetime.fromtimestamp(session.created).strftime("%Y-%m-%d %H:%M")
        file = session.path if options.workspace else str(root / session.path)
        table.add_row(session.id[:8], when, file, session.target, session.verdict, session.decision)
    Console().print(table)
    return 0


def _show(options: argparse.Namespace) -> int:
    from rich.console import Console

    from lsp_server.refine.record import proposal_record
    from lsp_server.terminal import show_proposal

    session, proposal = _one(options.workspace, options.session)
    if options.json:
        print(json.dumps({**vars(session), **proposal_record(proposal)}))
        return 0
    console = Console()
    for done in proposal.rounds:
        console.print(f"[bold]Round {done.number}[/]: {done.verdict.kind.value}. ", end="")
        console.print(done.verdict.reason, markup=False, highlight=False)
    show_proposal(console, proposal)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from lsp_server.refine.proposal import unified_diff

    (first, one), (second, other) = (
        _one(options.workspace, each) for each in (options.session, options.other)
    )
    if first.path != second.path:
        print(f"oci-companion: they are about two files: {first.path} and {second.path}", file=sys.stderr)
        return 2
    for session, proposal in ((first, one), (second, other)):
        passed, total = proposal.receipt.tests_after
        print(f"{session.id[:8]}  {session.verdict}, {passed} of {total} tests pass, {session.decision}")
    print(unified_diff(one.new_text or "", other.new_text or "", first.path), end="")
    return 0


def _export(options: argparse.Namespace) -> int:
    from lsp_server.refine.collection import collected

    lines = [line for line in collected() if not options.applied or json.loads(line)["decision"] == "applied"]
    text = "".join(f"{line}\n" for line in lines)
    if options.output is None:
        sys.stdout.write(text)
    else:
        options.output.write_text(text, encoding="utf-8")
        print(f"{len(lines)} sessions written to {options.output}.")
    return 0


def _purge(options: argparse.Namespace) -> int:
    from lsp_server.refine import collection

    print(f"{collection.purge()} collected sessions deleted.")
    if options.all:
        from lsp_server.refine.sessions import purge_all

        purge_all()
        print("All proposals deleted.")
    return 0


def _stores(workspace: Path | None) -> Iterator[Sessions]:
    from lsp_server.refine.sessions import Sessions, workspaces

    yield from map(Sessions, [workspace.resolve()] if workspace else workspaces())


def _one(workspace: Path | None, beginning: str) -> tuple[Session, Proposal]:
    from lsp_server.refine.sessions import SessionsError

    found = [
        (store, each)
        for store in _stores(workspace)
        for each in store.list()
        if each.id.startswith(beginning)
    ]
    if len(found) != 1:
        many = f"{len(found)} sessions begin" if found else "No session begins"
        raise SessionsError(f"{many} with {beginning}: `oci-companion sessions list` names them.")
    store, session = found[0]
    proposal = store.proposal(session.id)
    if proposal is None:
        raise SessionsError(f"The session {session.id} was deleted meanwhile.")
    return session, proposal
