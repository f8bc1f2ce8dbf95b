"""The command line: `oci-companion demo | fix | generate | doctor | model … | serve | lsp`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from lsp_server import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from lsp_server.engine.protocol import Engine
    from lsp_server.models.catalog import Device, Precision
    from lsp_server.refine.proposal import Proposal
    from lsp_server.refine.task import Request, Snapshot

VERIFIED, NOT_VERIFIED, COULD_NOT_RUN = 0, 1, 2


class UsageError(Exception):
    """The command line asks for something that cannot be done; the message says what to write instead."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status: 0 verified or done, 1 not verified, 2 could not run."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return COULD_NOT_RUN
    except Exception as error:
        if not _is_told(error):
            raise
        print(f"oci-companion: {error}", file=sys.stderr)
        if getattr(options, "json", False):
            print(json.dumps({"verified": False, "error": str(error)}))
        return COULD_NOT_RUN


def _is_told(error: Exception) -> bool:
    """Whether an error's message is written for the user; anything else is a bug and keeps its traceback."""
    from lsp_server.engine.protocol import EngineError
    from lsp_server.models.catalog import UnknownModel
    from lsp_server.models.store import ModelError
    from lsp_server.refine.loop import NothingToFix
    from lsp_server.refine.task import TaskError
    from runner.errors import RunnerError

    return isinstance(
        error, UsageError | EngineError | ModelError | UnknownModel | NothingToFix | TaskError | RunnerError
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="oci-companion",
        description="Local code generation and repair, proven by your tests before it is proposed.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="get the default model and repair the bundled example")
    demo.add_argument("--model", default="", metavar="ID")
    demo.set_defaults(run=_demo)

    fix = commands.add_parser("fix", help="make failing tests pass")
    fix.add_argument("path", metavar="PATH[::TEST]", help="a source file, a test file, or one test")
    fix.add_argument("--line", type=int, metavar="N", help="the function at this line of PATH is the target")
    fix.set_defaults(run=_fix)

    generate = commands.add_parser("generate", help="write the code at a line")
    generate.add_argument("path", metavar="PATH")
    generate.add_argument(
        "--at", type=int, required=True, metavar="LINE", help="a stub, a docstring or a comment"
    )
    generate.add_argument(
        "--to", type=int, metavar="LINE", help="last line of a selection that begins at --at"
    )
    generate.set_defaults(run=_generate)

    for command in (fix, generate):
        _add_request_options(command)

    doctor = commands.add_parser("doctor", help="say what is missing here, and the command that mends it")
    doctor.set_defaults(run=_doctor)

    model = commands.add_parser("model", help="list, get, export and remove models")
    actions = model.add_subparsers(required=True, metavar="ACTION")
    actions.add_parser("list", help="the catalog, and what of it is here").set_defaults(run=_model_list)
    for name, run, text in (
        ("pull", _model_pull, "download a model's files"),
        ("export", _model_export, "make the ONNX folder that the engine loads"),
        ("rm", _model_rm, "delete a model"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("model", nargs="?" if name != "rm" else None, default="", metavar="ID")
        action.set_defaults(run=run)
        if name == "export":
            action.add_argument("--precision", default="int4", choices=["fp32", "fp16", "int4"])
            action.add_argument("--device", default="cpu", choices=["cpu", "cuda"])

    serve = commands.add_parser("serve", help="run the engine: an OpenAI-compatible server on loopback")
    serve.add_argument("--model", default="", metavar="ID")
    serve.add_argument("--port", type=int, default=0, help="0 takes a free one")
    serve.add_argument(
        "--idle", type=float, default=15.0, metavar="MINUTES", help="end after so long without a request"
    )
    serve.add_argument("--stop", action="store_true", help="end the engine that runs for this model")
    serve.set_defaults(run=_serve)

    lsp = commands.add_parser("lsp", help="the language server, on standard input and output")
    lsp.set_defaults(run=_lsp)
    return parser


def _add_request_options(command: argparse.ArgumentParser) -> None:
    how = command.add_mutually_exclusive_group()
    how.add_argument("--diff", action="store_true", help="print the diff (default)")
    how.add_argument("--apply", action="store_true", help="write the file if the proposal is verified")
    command.add_argument("--instruction", default="", metavar="TEXT")
    command.add_argument("--rounds", type=int, default=3, metavar="N")
    command.add_argument("--candidates", type=int, default=1, metavar="N", help="replies tried per round")
    command.add_argument("--time-limit", type=float, default=120.0, metavar="SECONDS")
    command.add_argument("--test-timeout", type=float, default=10.0, metavar="SECONDS", help="for one test")
    command.add_argument("--model", default="", metavar="ID")
    command.add_argument(
        "--endpoint", default="", metavar="URL", help="an OpenAI-compatible server instead of ours"
    )
    command.add_argument(
        "--workspace", type=Path, metavar="FOLDER", help="the project's root; found if not given"
    )
    command.add_argument("--interpreter", default="", metavar="PYTHON", help="the Python that runs the tests")
    command.add_argument("--sandbox", default="auto", choices=["auto", "strict", "off"])
    command.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _fix(options: argparse.Namespace) -> int:
    from lsp_server.refine.discover import is_test_file
    from lsp_server.refine.task import FixRequest

    file, _, test = options.path.partition("::")
    snapshot, path = _snapshot(file, options.workspace)
    if test and not is_test_file(path):
        raise UsageError(
            f"{path} is not a test file, so {options.path} names no test: write TEST_FILE::TEST."
        )
    node = f"{path}::{test}" if test else ""
    request = FixRequest(snapshot, path, node, line=options.line, instruction=options.instruction)
    return _work(request, options)


def _generate(options: argparse.Namespace) -> int:
    from lsp_server.refine.task import GenerateRequest

    snapshot, path = _snapshot(options.path, options.workspace)
    return _work(GenerateRequest(snapshot, path, options.at, options.to, options.instruction), options)


def _snapshot(file: str, workspace: Path | None) -> tuple[Snapshot, PurePosixPath]:
    from lsp_server.refine.task import Snapshot, workspace_of

    absolute = Path(file).resolve()
    if not absolute.is_file():
        raise UsageError(f"There is no file {file}.")
    root = workspace.resolve() if workspace else workspace_of(absolute)
    if not absolute.is_relative_to(root):
        raise UsageError(f"{file} is not in the workspace {root}.")
    return Snapshot(root), PurePosixPath(absolute.relative_to(root).as_posix())


def _work(request: Request, options: argparse.Namespace) -> int:
    """Work on a request, show it, and write the file where `--apply` asks for it."""
    from rich.console import Console

    from lsp_server.refine.loop import Cancelled, Options, refine
    from lsp_server.refine.record import proposal_record
    from lsp_server.terminal import RefinementView, show_proposal
    from runner.interpreter import find_interpreter
    from runner.request import Limits, Sandboxing

    if options.rounds < 1 or options.candidates < 1:
        raise UsageError("--rounds and --candidates take a number of at least 1.")
    console = Console(stderr=True) if options.json else Console()
    refinement = Options(
        interpreter=find_interpreter(request.snapshot.workspace, options.interpreter),
        rounds=options.rounds,
        candidates=options.candidates,
        time_limit=options.time_limit,
        edit_tests=False,
        limits=Limits(test_seconds=options.test_timeout),
        sandbox=Sandboxing(level=options.sandbox),
    )
    cancel = _cancel_on_interrupt()
    with RefinementView(console) as view:
        engine = _engine(options.model, options.endpoint, view.say)
        try:
            proposal = refine(request, engine, refinement, cancel, view)
        except Cancelled:
            raise KeyboardInterrupt from None
    show_proposal(console, proposal)
    if options.json:
        print(json.dumps(proposal_record(proposal)))
    if options.apply:
        _apply(proposal, console)
    return VERIFIED if proposal.verified else NOT_VERIFIED


def _apply(proposal: Proposal, console: Console) -> None:
    """Write a verified proposal, unless the file is no longer the one that was worked on."""
    path = proposal.task.snapshot.workspace / proposal.task.document.path
    if not proposal.verified or proposal.new_text is None:
        console.print("Not applied: only what is verified is written.")
    elif path.read_bytes() != proposal.task.document.text.encode("utf-8"):
        console.print(f"Not applied: {proposal.task.document.path} has changed meanwhile.")
    else:
        _replace_file(path, proposal.new_text.encode("utf-8"))
        console.print(f"Written: {proposal.task.document.path}")


def _replace_file(path: Path, content: bytes) -> None:
    """Write a file so that it has, whatever happens, either its old or its new content."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        shutil.copymode(path, name)
        os.replace(name, path)  # noqa: PTH105 - the name is a string
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _demo(options: argparse.Namespace) -> int:
    """Get the default model, show the example's failing test, and repair it."""
    from rich.console import Console

    from lsp_server.models import catalog, store

    console = Console()
    model = catalog.entry(options.model or catalog.DEFAULT)
    if store.find(model.id) is None:
        console.print(f"[bold]The model[/]: {model.id}, {model.licence}. This is done once.")
        _pull(console, model.id)
        _export(console, model.id, "int4", "cpu")
    example = _example()
    console.print(f"[bold]The example[/]: {example.name}, one of whose tests fails.")
    fix = [
        "fix",
        str(example / "tests" / "test_durations.py"),
        "--workspace",
        str(example),
        "--model",
        model.id,
    ]
    # The example needs pytest and nothing else: our own interpreter has it.
    status = main([*fix, "--interpreter", sys.executable])
    if status == VERIFIED:
        console.print("The file was not touched. On your own code: [bold]oci-companion fix PATH --apply")
    return status


def _example() -> Path:
    here = Path(__file__).resolve().parent
    for folder in (here / "examples", here.parent / "examples"):
        if folder.is_dir():
            return folder / "durations"
    raise UsageError("The bundled example is missing from this installation: install oci-companion again.")


def _engine(model: str, endpoint: str, say: Callable[[str], None]) -> Engine:
    if endpoint:
        from lsp_server.engine.client import HttpEngine

        return HttpEngine(endpoint, model=model)
    from lsp_server.engine.supervise import LocalEngine
    from lsp_server.models import catalog

    return LocalEngine(catalog.entry(model or catalog.DEFAULT).id, notice=say)


def _cancel_on_interrupt() -> threading.Event:
    """Return an event that Ctrl+C sets; a second Ctrl+C ends the program at once."""
    cancel = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    signal.signal(signal.SIGINT, interrupt)
    return cancel


def _model_list(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from lsp_server.models import catalog, store

    here = {form.model_id: form for form in store.installed()}
    table = Table(box=None)
    for column in ("model", "parameters", "int4", "licence", "here"):
        table.add_column(column, justify="right" if column in ("parameters", "int4") else "left")
    for entry in catalog.CATALOG:
        form = here.get(entry.id)
        state = "pulled" if store.pulled(entry.id) else ""
        table.add_row(
            f"[bold]{entry.id}[/] (default)" if entry.id == catalog.DEFAULT else entry.id,
            f"{entry.parameters / 1e9:.1f} B",
            f"{entry.weight_bytes('int4') / 1e9:.1f} GB",
            entry.licence,
            f"{form.precision} {form.device}, {form.size / 1e9:.1f} GB" if form else state,
        )
    Console().print(table)
    return 0


def _model_pull(options: argparse.Namespace) -> int:
    from rich.console import Console

    from lsp_server.models import catalog

    _pull(Console(), catalog.entry(options.model or catalog.DEFAULT).id)
    return 0


def _model_export(options: argparse.Namespace) -> int:
    from rich.console import Console

    from lsp_server.models import catalog

    _export(Console(), catalog.entry(options.model or catalog.DEFAULT).id, options.precision, options.device)
    return 0


def _pull(console: Console, model: str) -> None:
    """Download a model's files under a progress bar, and what exporting them takes: all that needs the network."""
    from lsp_server.models import export_env
    from lsp_server.models.pull import pull
    from lsp_server.terminal import download_progress

    with download_progress(console) as bar:
        task = bar.add_task(f"Pulling {model}", total=None)
        folder = pull(
            model, lambda have, total: bar.update(task, completed=have, total=total), _cancel_on_interrupt()
        )
    console.print(f"Pulled and verified: {folder}", highlight=False, soft_wrap=True)
    with console.status("Making the export environment…"):
        export_env.ensure(
            lambda text: console.print(f"[dim]  {text}", highlight=False), _cancel_on_interrupt()
        )


def _export(console: Console, model: str, precision: Precision, device: Device) -> None:
    """Export a model, telling each step."""
    from lsp_server.models.export import export

    with console.status(f"Exporting {model}…") as status:

        def step(text: str) -> None:
            console.print(f"[dim]  {text}", highlight=False)
            status.update(f"Exporting {model}: {text}…")

        folder = export(model, precision, device, step, _cancel_on_interrupt())
    console.print(f"Exported and checked against PyTorch: {folder}", highlight=False, soft_wrap=True)


def _serve(options: argparse.Namespace) -> int:
    """Run the engine in this process, or end one that runs."""
    from lsp_server.engine import supervise
    from lsp_server.models import catalog

    model = catalog.entry(options.model or catalog.DEFAULT).id
    if options.stop:
        print("Stopped." if supervise.stop(model) else f"No engine runs for {model}.")
        return 0
    running = supervise.status(model)
    if running.endpoint:
        print(f"An engine runs for {model} already: {running.endpoint}, process {running.pid}.")
        return 0
    from lsp_server.engine.serve import serve

    serve(model, port=options.port, idle_seconds=options.idle * 60)
    return 0


def _model_rm(options: argparse.Namespace) -> int:
    from lsp_server.models import catalog, store

    freed = store.remove(catalog.entry(options.model).id)
    print(f"{freed / 1e9:.1f} GB freed." if freed else f"{options.model} is not here.")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from rich.console import Console

    from lsp_server.doctor import examine

    console = Console()
    problems = 0
    for finding in examine(Path.cwd()):
        mark = "[green]ok [/]" if finding.ok else "[red]no [/]"
        console.print(f"{mark} {finding.what}", highlight=False, soft_wrap=True)
        if not finding.ok:
            problems += 1
            console.print(f"    mend it: [bold]{finding.remedy}", highlight=False, soft_wrap=True)
    return COULD_NOT_RUN if problems else 0


def _lsp(options: argparse.Namespace) -> int:
    from lsp_server.server import main as serve_lsp

    serve_lsp()
    return 0


if __name__ == "__main__":
    sys.exit(main())
