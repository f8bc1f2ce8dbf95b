"""Other tools' diagnostics as something to fix: the tool is run again to see whether it still complains."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import threading
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from lsp_server.refine.proposal import Verdict, VerdictKind
from lsp_server.refine.source import Region, Source
from lsp_server.refine.task import Complaint
from runner.report import Report
from runner.request import TestRequest
from runner.tool import run_tool

_SILENCERS = re.compile(
    r"#\s*(?:noqa|type:\s*ignore|ruff:|mypy:|pyright:|pylint:|flake8:|nosec)", re.IGNORECASE
)

Read = Callable[[str, PurePosixPath], Iterator["Complaint"]]
"""Takes a tool's output and a file, and gives each complaint about that file."""
_COULD_NOT_START = 126
"""The first exit status by which a shell or a sandbox says that a program did not run, or was killed."""


class NotRunAgain(Exception):
    """The tool cannot be asked whether it still complains; the message says why."""


@dataclass(frozen=True)
class Tool:
    """How a tool is run on one file, and how its output is read."""

    command: tuple[str, ...]
    """With `{file}` for the path relative to the workspace."""
    read: Read


class Asked:
    """A tool that is asked about one file, before and after.

    Args:
        complaint: what it has said.
        path: the file, relative to the workspace.
        request: how programs are run: workspace, texts, interpreter, sandbox and time.
        commands: the user's own, by the name that diagnostics have as their source.
        cancel: ends a run.
    """

    def __init__(
        self,
        complaint: Complaint,
        path: PurePosixPath,
        request: TestRequest,
        commands: Mapping[str, str],
        cancel: threading.Event,
    ) -> None:
        self._complaint, self._path, self._request, self._cancel = complaint, path, request, cancel
        self._before: list[Complaint] = []
        self._refusal = ""
        """Why it cannot be asked, once that is known."""
        try:
            self._tool = find(complaint.tool, request.interpreter, commands)
            self._before = self._run({})
        except NotRunAgain as error:
            self._refusal = str(error)

    @property
    def complains(self) -> bool:
        """Whether the tool says of the file as it is what it is to be fixed for, or cannot be asked."""
        return bool(self._refusal) or any(map(self._is_it, self._before))

    def judge(self, candidate: str, before: str, region: Region, tests: Verdict, report: Report) -> Verdict:
        """Return the verdict of the tests and the tool together.

        Args:
            candidate: the file's new text.
            before: the file's text as it was.
            region: what of it was changed.
            tests: the verdict of the file's tests alone, none of which has to turn.
            report: the run that it judges.
        """
        if tests.kind is VerdictKind.REJECTED:
            return tests
        name = self._complaint.tool
        if self._refusal:
            return replace(tests, kind=VerdictKind.UNTESTED, reason=f"{_kept(report)} {self._refusal}")
        if _silencers(candidate) - _silencers(before):
            return replace(
                tests, kind=VerdictKind.REJECTED, reason=f"It silences {name} with a comment instead."
            )
        try:
            after = self._run({self._path: candidate.encode("utf-8")})
        except NotRunAgain as error:
            return replace(tests, kind=VerdictKind.UNTESTED, reason=f"{_kept(report)} {error}")
        changed = _lines_in(candidate, before, region)
        still = [each for each in after if self._is_it(each) and each.line in changed]
        if still or sum(map(self._is_it, after)) >= sum(map(self._is_it, self._before)):
            said = (still or [self._complaint])[0].text
            return replace(tests, kind=VerdictKind.REJECTED, reason=f"{name} still reports: {said}.")
        if new := Counter(each.text for each in after) - Counter(each.text for each in self._before):
            said = next(iter(new))
            return replace(tests, kind=VerdictKind.REJECTED, reason=f"{name} now reports: {said}.")
        kind = VerdictKind.VERIFIED if report.passed else VerdictKind.UNTESTED
        gone = f"{name} no longer reports {self._complaint.text}."
        return replace(tests, kind=kind, reason=f"{gone} {_kept(report)}")

    def _is_it(self, said: Complaint) -> bool:
        """Whether it is what is to be fixed, at whatever line that is now."""
        asked = self._complaint
        return said.code == asked.code and (not asked.message or _same(said.message, asked.message))

    def _run(self, files: Mapping[PurePosixPath, bytes]) -> list[Complaint]:
        command = [part.replace("{file}", str(self._path)) for part in self._tool.command]
        request = replace(
            self._request,
            files={**self._request.files, **files},
            sandbox=replace(
                self._request.sandbox,
                readable=[*self._request.sandbox.readable, *_around(Path(command[0]))],
            ),
        )
        done = run_tool(request, command, self._cancel)
        if done.status is None:
            raise NotRunAgain(f"{self._complaint.tool} did not end in time.")
        last = (done.error or done.output).strip().rpartition("\n")[2]
        failed = NotRunAgain(
            f"{self._complaint.tool} could not be run again: {last or f'exit status {done.status}'}."
        )
        try:
            found = list(self._tool.read(done.output, self._path))
        except (ValueError, KeyError, TypeError) as error:
            raise failed from error
        # Silence is only worth something if the tool has come to its end, and that is what 0 means.
        own = self._tool.read is _lines
        silent = not (found if own else done.output.strip())
        if not 0 <= done.status < (_COULD_NOT_START if own else 2) or (done.status and silent):
            raise failed
        return found


def find(name: str, interpreter: Path, commands: Mapping[str, str]) -> Tool:
    """Return how a tool is run.

    Args:
        name: of a diagnostic's source, in any case.
        interpreter: beside which the tool is looked for before PATH.
        commands: the user's own.

    Raises:
        NotRunAgain: it is not known, or not installed.
    """
    own = {tool.casefold(): command for tool, command in commands.items()}
    if command := own.get(name.casefold()):
        try:
            known = Tool(tuple(shlex.split(command)), _lines)
        except ValueError as error:
            raise NotRunAgain(f"The setting oci.tools for {name} cannot be read: {error}.") from error
    elif (found := _KNOWN.get(name.casefold())) is not None:
        known = found
    else:
        raise NotRunAgain(f"How to run {name} again is not known: see the setting oci.tools.")
    if not known.command:
        raise NotRunAgain(f"The setting oci.tools has no command for {name}.")
    program = known.command[0]
    beside = interpreter.parent / program
    place = str(beside) if beside.is_file() else shutil.which(program)
    if place is None:
        raise NotRunAgain(f"{program} is installed neither beside {interpreter} nor on PATH.")
    if _environment_of(Path(place)) is None:
        place = str(Path(place).resolve())  # what pipx and uv install is a link to an environment
    return replace(known, command=(place, *known.command[1:]))


def _ruff(output: str, path: PurePosixPath) -> Iterator[Complaint]:
    for each in json.loads(output):
        yield Complaint("ruff", str(each["code"] or ""), str(each["message"]), each["location"]["row"])


def _mypy(output: str, path: PurePosixPath) -> Iterator[Complaint]:
    for line in output.splitlines():
        each = json.loads(line)
        if each["severity"] == "error" and PurePosixPath(each["file"]) == path:
            yield Complaint("mypy", str(each["code"] or ""), str(each["message"]), each["line"])


def _pyright(output: str, path: PurePosixPath) -> Iterator[Complaint]:
    for each in json.loads(output)["generalDiagnostics"]:
        if each["file"].endswith(f"/{path}"):
            line = each["range"]["start"]["line"] + 1
            yield Complaint("pyright", str(each.get("rule", "")), str(each["message"]), line)


def _lines(output: str, path: PurePosixPath) -> Iterator[Complaint]:
    """Any tool that names file and line in front of what it has to say."""
    for line in output.split("\n"):
        found = re.match(rf"(?:.*/)?{re.escape(path.name)}:(\d+)(?::\d+)?:?\s*(.*)", line)
        if found is not None:
            code = re.search(r"\b[A-Z]+\d+\b|\[([\w-]+)\]$", found[2])
            named = (code[1] or code[0]) if code else ""
            yield Complaint("", named, found[2].removeprefix(named).strip(), int(found[1]))


_KNOWN = {
    "ruff": Tool(("ruff", "check", "--output-format=json", "--no-cache", "--no-fix", "{file}"), _ruff),
    "mypy": Tool(("mypy", "--output=json", "--no-error-summary", "--cache-dir=/dev/null", "{file}"), _mypy),
    "pyright": Tool(("pyright", "--outputjson", "{file}"), _pyright),
    "basedpyright": Tool(("basedpyright", "--outputjson", "{file}"), _pyright),
    "pylance": Tool(("pyright", "--outputjson", "{file}"), _pyright),  # which is made of it
}


def _same(message: str, other: str) -> bool:
    """Whether two wordings are of the same complaint: editors shorten them, or say more."""
    one, two = (" ".join(each.replace("`", "").replace('"', "").split()) for each in (message, other))
    return one in two or two in one


def _silencers(text: str) -> Counter[str]:
    """Return the comments that keep tools from complaining; one that says more than before is another."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        comments = [each.string for each in tokens if each.type == tokenize.COMMENT]
    except (tokenize.TokenError, SyntaxError):
        comments = re.findall(r"#[^\n]*", text)
    return Counter(each for each in comments if _SILENCERS.search(each))


def _lines_in(candidate: str, before: str, region: Region) -> range:
    """Return the lines of a candidate that stand where a region was."""
    source = Source(candidate)
    if region.name and (definition := source.find(region.name)) is not None:
        return range(definition.start, definition.end + 1)
    grown = len(source.lines) - len(Source(before).lines)
    return range(region.start, region.end + grown + 1)


def _kept(report: Report) -> str:
    count = len(report.passed)
    if not count:
        return "No test ran."
    return f"{count} test{'s' * (count != 1)} that passed before still {'passes' if count == 1 else 'pass'}."


def _around(program: Path) -> list[Path]:
    """Return what a program needs to be readable: its file, and the environment or npm package that it is part of."""
    homes = [
        _environment_of(program),
        *(each for each in program.parents if each.parent.name == "node_modules"),
    ]
    return [program, *(home for home in homes if home is not None)]


def _environment_of(program: Path) -> Path | None:
    """Return the environment that a program is installed in; one that is the user's home is none to show."""
    home = program.parent.parent
    return home if (home / "pyvenv.cfg").is_file() and not Path.home().is_relative_to(home) else None
