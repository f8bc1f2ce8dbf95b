"""The command line: `oci-companion demo | fix | generate | doctor | model … | sessions … | eval … | serve | …`."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lsp_server import __version__, eval_commands, model_commands, session_commands
from lsp_server.interrupt import cancel_on_interrupt
from lsp_server.settings_options import UsageError, add_settings_options, settings_of

if TYPE_CHECKING:
    from lsp_server.engine.runfile import Running
    from lsp_server.refine.task import Request

VERIFIED, NOT_VERIFIED, COULD_NOT_RUN = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status: 0 verified or done, 1 not verified, 2 could not run."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except KeyboardInterrupt:
        return _failed(options, "stopped")
    except BrokenPipeError:
        # Whoever read our output, `head` for one, has had enough; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return COULD_NOT_RUN  # 0 would say of a repair that it is verified
    except Exception as error:
        from lsp_server.evaluation.run_folder import EvaluationError
        from lsp_server.features.work import is_told

        if not isinstance(error, UsageError | EvaluationError) and not is_told(error):
            traceback.print_exc()  # a bug of ours; its status must not read as "not verified"
        return _failed(options, str(error))


def _failed(options: argparse.Namespace, reason: str) -> int:
    print(f"oci-companion: {reason}", file=sys.stderr)
    if getattr(options, "json", False):
        print(json.dumps({"error": reason, **getattr(options, "without_result", {})}))
    return COULD_NOT_RUN


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

    mcp = commands.add_parser(
        "mcp", help="the same for other assistants: an MCP server on standard input and output"
    )
    mcp.set_defaults(run=_mcp)

    for command in (fix, generate):
        _add_request_options(command)
    for command in (fix, generate, mcp):
        add_settings_options(command)
        command.add_argument(
            "--workspace", type=Path, metavar="FOLDER", help="the project's root; found if not given"
        )

    doctor = commands.add_parser("doctor", help="say what is missing here, and the command that mends it")
    doctor.set_defaults(run=_doctor)

    model = commands.add_parser("model", help="list, get, export and remove models")
    model_commands.add(model.add_subparsers(required=True, metavar="ACTION"))

    sessions = commands.add_parser("sessions", help="what was proposed in the editor, and what was decided")
    session_commands.add(sessions.add_subparsers(required=True, metavar="ACTION"))

    evaluate = commands.add_parser(
        "eval", help="what a model and the loop are worth: benchmarks, repair tasks, your own history"
    )
    eval_commands.add(evaluate.add_subparsers(required=True, metavar="ACTION"))

    serve = commands.add_parser("serve", help="run the engine: an OpenAI-compatible server on loopback")
    serve.add_argument("--model", default="", metavar="ID")
    serve.add_argument("--port", type=int, default=0, help="0 takes a free one")
    serve.add_argument(
        "--idle", type=float, default=15.0, metavar="MINUTES", help="end after so long without a request"
    )
    serve.add_argument(
        "--context", type=int, default=0, metavar="TOKENS", help="most of prompt and reply together (8192)"
    )
    what = serve.add_mutually_exclusive_group()
    what.add_argument("--stop", action="store_true", help="end the engine that runs for this model")
    what.add_argument(
        "--print-endpoint",
        action="store_true",
        help="print address and token for other programs, as shell exports; starts the engine if none runs",
    )
    serve.set_defaults(run=_serve)

    lsp = commands.add_parser("lsp", help="the language server, on standard input and output")
    lsp.set_defaults(run=_lsp)
    return parser


def _add_request_options(command: argparse.ArgumentParser) -> None:
    how = command.add_mutually_exclusive_group()
    how.add_argument("--diff", action="store_true", help="print the diff (default)")
    how.add_argument("--apply", action="store_true", help="write the file if the proposal is verified")
    command.add_argument("--instruction", default="", metavar="TEXT")
    command.add_argument("--json", action="store_true", help="one JSON object on standard output")
    nothing = {"verified": False, "rounds": [], "receipt": None, "diff": ""}
    command.set_defaults(without_result=nothing)  # so that a failure has the keys of an answer


def _fix(options: argparse.Namespace) -> int:
    from lsp_server.disk import fix_request

    request = fix_request(options.path, options.workspace, line=options.line, instruction=options.instruction)
    return _work(request, options)


def _generate(options: argparse.Namespace) -> int:
    from lsp_server.disk import generate_request

    request = generate_request(
        options.path,
        options.at,
        options.workspace,
        end_line=options.to,
        instruction=options.instruction,
    )
    return _work(request, options)


def _work(request: Request, options: argparse.Namespace) -> int:
    """Work on a request, show it, and write the file where `--apply` asks for it."""
    from rich.console import Console

    from lsp_server.disk import write
    from lsp_server.features.work import propose
    from lsp_server.refine.loop import Cancelled
    from lsp_server.refine.record import proposal_record
    from lsp_server.terminal import RefinementView, show_proposal

    console = Console(stderr=True) if options.json else Console()
    settings = settings_of(options)
    with RefinementView(console) as view:
        try:
            proposal = propose(request, settings, cancel_on_interrupt(), view, view.say)
        except Cancelled:
            raise KeyboardInterrupt from None
    show_proposal(console, proposal)
    refusal = write(proposal) if options.apply else ""
    if options.json:
        print(json.dumps({**proposal_record(proposal), "applied": options.apply and not refusal}))
    if refusal:
        print(f"oci-companion: not applied: {refusal}", file=sys.stderr)
    elif options.apply:
        console.print(f"Written: {proposal.task.document.path}")
    if not proposal.verified:
        return NOT_VERIFIED
    return COULD_NOT_RUN if refusal else VERIFIED


def _demo(options: argparse.Namespace) -> int:
    """Get the default model, show the example's failing test, and repair it."""
    from rich.console import Console

    from lsp_server.models import catalog, store

    console = Console()
    model = store.entry(options.model or catalog.DEFAULT)
    if store.find(model.id) is None:
        console.print(f"[bold]The model[/]: {model.id}, {model.licence}. This is done once.")
        model_commands.pull(console, model.id)
        model_commands.export(console, model.id)
    example = _example()
    console.print(f"[bold]The example[/]: {example.name}, one of whose tests fails.")
    fix = [
        "fix",
        str(example / "tests" / "test_dates.py"),
        "--workspace",
        str(example),
        "--model",
        model.id,
        "--time-limit",
        "600",
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
            return folder / "dates"
    raise UsageError("The bundled example is missing from this installation: install oci-companion again.")


def _serve(options: argparse.Namespace) -> int:
    """Run the engine in this process, or end one that runs."""
    from lsp_server.engine import supervise
    from lsp_server.models import catalog, store

    model = store.entry(options.model or catalog.DEFAULT).id
    if options.stop:
        print("Stopped." if supervise.stop(model) else f"No engine runs for {model}.")
        return 0
    if options.print_endpoint:
        engine = supervise.LocalEngine(
            model, options.idle * 60, notice=lambda text: print(text, file=sys.stderr)
        )
        print(_exports(engine.ensure()))
        return 0
    running = supervise.status(model)
    if running.endpoint:
        print(f"An engine runs for {model} already: {running.endpoint}, process {running.pid}.")
        return 0
    from lsp_server.engine.serve import serve

    def say(running: Running) -> None:
        print(f"Serving {model} at {running.endpoint}. Other programs need its token:", flush=True)
        print(f'  eval "$(oci-companion serve --model {model} --print-endpoint)"', flush=True)

    serve(
        model,
        port=options.port,
        idle_seconds=options.idle * 60,
        context=options.context or supervise.CONTEXT,
        ready=say,
    )
    return 0


def _exports(running: Running) -> str:
    """Address and token of an engine, under the names that the openai SDK, llm and aider read."""
    named = {
        "OPENAI_BASE_URL": running.endpoint,
        "OPENAI_API_BASE": running.endpoint,
        "OPENAI_API_KEY": running.token,
    }
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in named.items())


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


def _mcp(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("mcp") is None:
        required = importlib.metadata.requires("oci-companion") or ()
        pinned = next((each for each in required if each.startswith("mcp==")), "mcp")
        raise UsageError(
            "The MCP SDK is an extra that is not installed. This installs it: "
            + shlex.join([sys.executable, "-m", "pip", "install", pinned.partition(";")[0].strip()])
        )
    from lsp_server.mcp_server import create_server

    workspace = (options.workspace or Path.cwd()).resolve()
    if not workspace.is_dir():
        raise UsageError(f"There is no folder {workspace}.")
    create_server(workspace, settings_of(options)).run("stdio")
    return 0


if __name__ == "__main__":
    sys.exit(main())
