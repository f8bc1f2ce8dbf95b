"""The refinement loop: baseline, target, then rounds of reply, candidate, report and verdict."""

from __future__ import annotations

import ast
import difflib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from lsp_server.engine.protocol import Engine, Message, Sampling
from lsp_server.refine import prompt
from lsp_server.refine.budget import Budget
from lsp_server.refine.complaint import Asked
from lsp_server.refine.discover import is_test_code, left_alone, tests_for
from lsp_server.refine.events import (
    AskedAgain,
    BaselineDone,
    BaselineStarted,
    Listener,
    ReplyJudged,
    ReplyText,
    RoundDone,
    RoundStarted,
    TargetFound,
    TestDone,
    TestsStarted,
)
from lsp_server.refine.feedback import WORDING, Wording
from lsp_server.refine.judge import confirm, harness_reach, judge
from lsp_server.refine.locate import (
    locate_complaint,
    locate_fix,
    locate_generate,
    matching,
    region_to_generate,
)
from lsp_server.refine.proposal import FeedbackRequest, Proposal, Receipt, Round, Verdict, VerdictKind
from lsp_server.refine.reply import NoCode, code_of, is_answered
from lsp_server.refine.source import Region, Source
from lsp_server.refine.splice import Spliced, splice
from lsp_server.refine.task import ComplaintRequest, Document, FixRequest, Request, Task, TaskError
from runner.index import is_test_file
from runner.report import Outcome, Report, Stop
from runner.request import Limits, Sandboxing, TestRequest, Trace
from runner.run import run_tests
from runner.warm import WarmProcesses

REPEATS = 2
"""The loop ends when so many rounds have given nothing but the same code as before."""
SAMPLED = Sampling(temperature=0.8, top_p=0.95)
PROVEN = (VerdictKind.VERIFIED, VerdictKind.UNSANDBOXED)
DONE = (*PROVEN, VerdictKind.UNTESTED)
"""Verdicts after which there is nothing left to try."""
TRACED_TEST_SECONDS = 3.0
"""A traced run only has to show where a test goes, so one that hangs is cut short. Imports have the same limit, and
get more where they took long before."""


@dataclass(frozen=True)
class Strategy:
    """How a failure is worked on; other ways than these are for evaluations that compare them."""

    wording: Wording = WORDING
    """How it is put to the model."""
    localise: bool = True
    """Whether a repair is one of the function that was found; else its whole file is written anew, and the model not
    told where in it the bug is."""
    restart: bool = False
    """Whether the conversation is begun anew, with a sampled reply, after a failure that was there before."""


STRATEGY = Strategy()


@dataclass(frozen=True)
class Options:
    """How a request is worked on."""

    interpreter: Path
    rounds: int = 3
    candidates: int = 1
    """Replies tried per round; the first is greedy, the others are sampled."""
    time_limit: float = 120.0
    """Seconds for the whole request: no reply is asked for after it, and after twice as long one is cut."""
    test_args: Sequence[str] = ()
    import_folders: Sequence[PurePosixPath] = ()
    """Of the workspace, as `TestRequest` has them."""
    limits: Limits = field(default_factory=Limits)
    sandbox: Sandboxing = field(default_factory=Sandboxing)
    tools: Mapping[str, str] = field(default_factory=dict)
    """Commands that run tools again, by the name that their diagnostics have."""
    strategy: Strategy = STRATEGY
    warm: WarmProcesses | None = None
    """Processes that runs of candidates are forked from; the baseline and what confirms a verdict never are."""


class Cancelled(Exception):
    """The user has stopped the request."""


class NothingToFix(Exception):
    """Every test that was asked about passes already."""


def refine(
    request: Request, engine: Engine, options: Options, cancel: threading.Event, listener: Listener
) -> Proposal:
    """Work on a request until a candidate is verified or the options say stop; blocks for as long as that takes.

    Args:
        request: what is asked.
        engine: where replies come from.
        options: rounds, time, interpreter, sandbox.
        cancel: stops decoding at the next token and kills the tests.
        listener: told of every step, from the calling thread.

    Raises:
        TaskError: the request names nothing that can be worked on.
        NothingToFix: no wanted test fails.
        Cancelled: `cancel` was set.
        EngineError, RunnerError: the model or the tests cannot be run; the message says what mends it.
    """
    work = _Refinement(request, engine, options, cancel, listener)
    task, baseline = work.prepare(request)
    listener(TargetFound(task))
    budget = Budget(engine.prompt_tokens, lambda messages: engine.count(messages, cancel))
    first = prompt.first_turn(task, baseline, budget, options.strategy.wording)
    conversation = _Conversation(first, budget, prompt.same_code(task), options.strategy)
    return work.rounds(task, baseline, conversation)


def refine_further(
    request: FeedbackRequest,
    engine: Engine,
    options: Options,
    cancel: threading.Event,
    listener: Listener,
) -> Proposal:
    """Go on with a proposal's conversation in the direction that the user says; the tests still decide.

    Args:
        request: the proposal, the user's words, and the texts as they are now.
        engine: as `refine` has it, and all further ones.
        options: as many rounds again.
        cancel: as `refine` has it.
        listener: as `refine` has it.

    Returns:
        A proposal of its own: the best of the new rounds, with the earlier ones in front of them.

    Raises:
        TaskError: there is nothing to go on with, or the place was changed meanwhile.
        NothingToFix: the tests that failed pass now.
        Cancelled, EngineError, RunnerError: as `refine` has it.
    """
    earlier = request.proposal
    if (done := earlier.best) is None or not request.feedback.strip():
        raise TaskError("Say in a sentence what should be different about the proposal.")
    work = _Refinement(request, engine, options, cancel, listener)
    task, baseline = work.prepare_again(request)
    listener(TargetFound(task))
    budget = Budget(engine.prompt_tokens, lambda messages: engine.count(messages, cancel))
    words = prompt.after_words(task, done, request.feedback.strip())
    first = prompt.next_turn(done.asked, done.reply, words, done.asked[:1], budget)
    conversation = _Conversation(
        first, budget, prompt.same_code_despite(request.feedback.strip()), options.strategy
    )
    conversation.tried |= {_identity(each.candidate) for each in earlier.rounds if each.candidate is not None}
    return work.rounds(task, baseline, conversation, earlier.rounds)


class _Conversation:
    """The messages so far, and the code that was already tried in them."""

    def __init__(self, first: list[Message], budget: Budget, same_code: str, strategy: Strategy) -> None:
        """Take the messages that stay whatever follows, how long all may be, what is said to the same code, and how."""
        self.first = first
        self.budget = budget
        self.same_code = same_code
        self.strategy = strategy
        self.messages = first
        self.tried: set[str] = set()
        self.repeats = 0
        self.told: set[str] = set()

    def follow(self, done: Round, task: Task) -> None:
        """Append a round's reply and what came of it, or begin anew if that was there before and a restart is wanted."""
        if done.feedback:
            if self.strategy.restart and done.feedback in self.told:
                self.messages = self.first
            elif done.report is None:
                self.messages = prompt.ask_again(self.first, task, done.feedback, self.strategy.wording)
            else:
                self.messages = prompt.next_turn(
                    done.asked, done.reply, done.feedback, self.first, self.budget
                )
            self.told.add(done.feedback)


class _Refinement:
    """One request being worked on."""

    def __init__(
        self,
        request: Request | FeedbackRequest,
        engine: Engine,
        options: Options,
        cancel: threading.Event,
        listener: Listener,
    ) -> None:
        self.snapshot = request.snapshot
        self.engine = engine
        self.options = options
        self.cancel = cancel
        self.listener = listener
        self.started = time.monotonic()
        self.seed = 0
        self.asked: Asked | None = None
        """The tool that has complained, if one has."""
        self.importing = 0.0
        """Seconds of the baseline that were none of its tests'."""

    def prepare(self, request: Request) -> tuple[Task, Report]:
        """Run the baseline, find the target, and return the task."""
        changes_others = isinstance(request, FixRequest) and is_test_file(request.path)
        if not changes_others and (why := left_alone(request.snapshot, request.path)):
            raise TaskError(f"{request.path} is left alone: {why}.")
        document = request.snapshot.document(request.path)
        if isinstance(request, ComplaintRequest):
            return self._prepare_complaint(request)
        if not isinstance(request, FixRequest):
            # Before any test runs: is there something to write at all?
            region_to_generate(Source(document.text), request)
        tests = _tests(request)
        baseline, traced = self._baseline(request, tests)
        if isinstance(request, FixRequest):
            task = locate_fix(request, tests, baseline, traced)
            if not self.options.strategy.localise:
                task = replace(task, region=Source(task.document.text).whole)
        else:
            task = locate_generate(request, tests, baseline, traced)
        others: list[str] = []
        if tests and task.document.path != request.path:  # else its tests are those that were run
            others = [t for t in tests_for(request.snapshot, task.document.path) if t not in tests]
        if others:
            # The target's own tests have a say too: what passes there must go on passing.
            task = replace(task, tests=(*tests, *others))
            baseline = self._run(task.tests, forked=False)
            self._must_end(baseline)
            self.listener(BaselineDone(baseline))
        return task, baseline

    def _prepare_complaint(self, request: ComplaintRequest) -> tuple[Task, Report]:
        """Run the tests of the file as it is, and the tool that has complained of it."""
        tests = tests_for(request.snapshot, request.path)
        if is_test_code(request.path, tests):
            raise TaskError(f"{request.path} belongs to the tests, which are not changed.")
        baseline = self._as_it_is(tests, request.path)
        task = locate_complaint(request, tests)
        self._ask(task)
        return task, baseline

    def _ask(self, task: Task) -> None:
        """Let the tool that has complained say what it says of the file as it is."""
        if task.complaint is None:
            return
        how = TestRequest(
            self.snapshot.workspace,
            (),
            self.options.interpreter,
            files=self.snapshot.overlay(),
            import_folders=self.options.import_folders,
            limits=self.options.limits,
            sandbox=self.options.sandbox,
        )
        self.asked = Asked(task.complaint, task.document.path, how, self.options.tools, self.cancel)
        self._check_cancelled()
        if not self.asked.complains:
            raise NothingToFix(f"{task.complaint.tool} does not report {task.complaint.text}.")

    def prepare_again(self, request: FeedbackRequest) -> tuple[Task, Report]:
        """Run the baseline of a proposal's task as the texts are now, and return the task."""
        task = request.proposal.task
        document = request.snapshot.document(task.document.path)
        region = _moved(task, document)
        baseline = self._as_it_is(task.tests, document.path)
        if task.wanted and not (task.wanted.ids & baseline.failed or baseline.collection_errors):
            raise NothingToFix("The tests that failed pass now, without the proposal.")
        task = replace(
            task,
            snapshot=request.snapshot,
            document=document,
            region=region,
            wanted=replace(task.wanted, ids=task.wanted.ids - baseline.passed),
        )
        self._ask(task)
        return task, baseline

    def _as_it_is(self, tests: tuple[str, ...], path: PurePosixPath) -> Report:
        """Run the tests, or the doctests of a file that has none, on the texts as they are."""
        self.listener(BaselineStarted(tests))
        arguments, doctests = _to_run(tests, path)
        baseline = self._run(arguments, doctests=doctests, forked=False)
        self.importing = baseline.seconds - sum(result.seconds for result in baseline.results.values())
        self.listener(BaselineDone(baseline))
        self._must_end(baseline)
        return baseline

    def _baseline(self, request: Request, tests: tuple[str, ...]) -> tuple[Report, Report]:
        """Run the tests on the file as it is, then once more with the lines that they execute."""
        baseline = self._as_it_is(tests, request.path)
        if isinstance(request, FixRequest):
            if not tests and not baseline.failed and not baseline.collection_errors:
                raise TaskError(
                    f"No test was found for {request.path}: none is named after it and none imports it. "
                    "Write one, or name it: PATH::TEST."
                )
            self._must_fail(request, baseline)
        arguments, doctests = _to_run(tests, request.path)
        return baseline, self._run(arguments, doctests=doctests, trace="lines", forked=False)

    def _must_end(self, baseline: Report) -> None:
        """Refuse tests that take longer than a run may: nothing about a candidate could be proven by them."""
        if baseline.stop is Stop.WALL_CLOCK:
            raise TaskError(
                f"The tests as they are take longer than {self.options.limits.wall_seconds:g} s: name a single test, "
                "or allow more (--run-timeout, oci.runTimeout)."
            )

    def rounds(
        self, task: Task, baseline: Report, conversation: _Conversation, earlier: Sequence[Round] = ()
    ) -> Proposal:
        """Go through the rounds, and return the best of them as a proposal."""
        rounds: list[Round] = []
        while not self._finished(rounds, conversation):
            number = len(earlier) + len(rounds) + 1
            self.listener(RoundStarted(number, len(earlier) + self.options.rounds))
            rounds.append(self._round(task, baseline, conversation, number))
            self.listener(RoundDone(rounds[-1]))
            conversation.repeats += rounds[-1].repeated
            conversation.follow(rounds[-1], task)
        return self._propose(task, baseline, rounds, earlier)

    def _finished(self, rounds: Sequence[Round], conversation: _Conversation) -> bool:
        """Say whether the loop has come to its end."""
        if not rounds:
            return False
        return (
            rounds[-1].verdict.kind in DONE
            or len(rounds) >= self.options.rounds
            or conversation.repeats >= REPEATS
            or self._is_late()
        )

    def _is_late(self) -> bool:
        return time.monotonic() - self.started >= self.options.time_limit

    def _round(self, task: Task, baseline: Report, conversation: _Conversation, number: int) -> Round:
        """Ask for replies until one is verified or the round's candidates are spent; return the best of them."""
        attempts: list[Round] = []
        anew = bool(conversation.told) and conversation.messages is conversation.first
        for index in range(self.options.candidates):
            if index:
                self.listener(ReplyJudged(attempts[-1].verdict, index + 1, self.options.candidates))
            sampling = replace(SAMPLED, seed=self._next_seed()) if index or anew else Sampling()
            attempt = self._attempt(task, baseline, conversation, number, sampling)
            attempts.append(attempt)
            if attempt.verdict.kind in DONE or self._is_late():
                break
        best = max(attempts, key=_merit)
        if best is not attempts[-1]:
            self.listener(ReplyJudged(attempts[-1].verdict, 0, len(attempts)))
        return replace(best, seconds=sum(each.seconds for each in attempts))

    def _propose(
        self, task: Task, baseline: Report, rounds: Sequence[Round], earlier: Sequence[Round]
    ) -> Proposal:
        """Return the best round as a proposal with its receipt."""
        best = max(rounds, key=_merit)
        report = best.report or baseline
        showable = best.candidate is not None and best.report is not None
        notes = []
        if not task.tests:
            notes.append("no test file was found: only import and doctests were checked")
        if best.additions:
            notes.append(f"also adds {', '.join(best.additions)}")
        others = (baseline.failed & report.failed) - task.wanted.ids
        if showable and others:
            notes.append(f"{len(others)} other tests failed before and still do, such as {min(others)}")
        receipt = Receipt(
            verdict=best.verdict,
            tests_before=(len(baseline.passed), len(baseline.results)),
            tests_after=(len(report.passed), len(report.results)),
            rounds=len(earlier) + len(rounds),
            seconds=time.monotonic() - self.started,
            isolation=report.isolation,
            model=self.engine.model,
            changed_lines=best.changed_lines,
            executed_lines=best.executed_lines,
            notes=tuple(notes),
        )
        new_text = best.candidate if showable else None
        return Proposal(task, baseline, (*earlier, *rounds), new_text, receipt)

    def _attempt(
        self, task: Task, baseline: Report, conversation: _Conversation, number: int, sampling: Sampling
    ) -> Round:
        """One reply, and one more if it repeats an earlier candidate: told so, and sampled."""
        started = time.monotonic()
        done = self._answered(task, baseline, conversation, conversation.messages, number, sampling)
        if done.repeated:
            self.listener(AskedAgain())
            messages = prompt.ask_again(
                conversation.first, task, conversation.same_code, self.options.strategy.wording
            )
            sampling = replace(SAMPLED, seed=self._next_seed())
            done = self._answered(task, baseline, conversation, messages, number, sampling)
        return replace(done, seconds=time.monotonic() - started)

    def _answered(
        self,
        task: Task,
        baseline: Report,
        conversation: _Conversation,
        messages: Sequence[Message],
        number: int,
        sampling: Sampling,
    ) -> Round:
        """Ask for a reply and try its code, unless that is the file's own or was tried before."""
        reply = self._reply(messages, sampling, task)
        try:
            spliced = splice(Source(task.document.text), task.region, code_of(reply, task.region.name))
        except NoCode as error:
            return self._refused(number, reply, None, str(error), messages)
        identity = _identity(spliced.text)
        if identity in conversation.tried or identity == _identity(task.document.text):
            verdict = Verdict(
                VerdictKind.REJECTED, "The reply has the same code as before, so it was not run again."
            )
            told = conversation.same_code
            return Round(number, reply, spliced.text, None, verdict, told, tuple(messages), repeated=True)
        conversation.tried.add(identity)
        reach = harness_reach(task.document.text, spliced.text)
        if reach:
            reason = f"The candidate reaches for the test harness: {reach}, which the file did not before."
            return self._refused(number, reply, spliced.text, reason, messages)
        return self._tried(task, baseline, number, reply, spliced, messages)

    def _tried(
        self,
        task: Task,
        baseline: Report,
        number: int,
        reply: str,
        spliced: Spliced,
        messages: Sequence[Message],
    ) -> Round:
        """Run a candidate's tests, judge it, and confirm what looks verified by a second run."""
        overlay = {task.document.path: spliced.text.encode("utf-8")}
        expected = frozenset(baseline.passed | task.wanted.ids)
        self.listener(TestsStarted(len(expected)))
        limits = replace(self.options.limits, hangs=1)  # one hang is enough to reject a candidate
        tests, doctests = _to_run(task.tests, task.document.path)
        report = self._run(tests, overlay, expected, limits=limits, doctests=doctests)
        own = f".{task.region.name}"
        checks = frozenset(i for i in report.results if not task.tests and i.endswith(own))
        verdict = judge(baseline, report, task.wanted, checks)
        if verdict.broken and report.warm:
            # What only a fork breaks is nothing that the candidate broke.
            report = self._run(tests, overlay, expected, limits=limits, doctests=doctests, forked=False)
            verdict = judge(baseline, report, task.wanted, checks)
        if self.asked is not None:
            verdict = self.asked.judge(spliced.text, task.document.text, task.region, verdict, report)
            self._check_cancelled()
        changed = _changed_lines(task.document.text, spliced.text)
        executed: frozenset[int] = frozenset()
        if verdict.kind is VerdictKind.VERIFIED and report.isolation == "off":
            verdict = replace(verdict, kind=VerdictKind.UNSANDBOXED)
        if verdict.kind in PROVEN:
            # In a process of its own, whatever the first run was forked from.
            traced = self._run(tests, overlay, expected, trace="lines", forked=False)
            executed = frozenset().union(
                *(r.executed.get(task.document.path, frozenset()) for r in traced.results.values())
            )
            again = traced
            if (
                any(r.outcome is Outcome.TIMEOUT for r in traced.results.values())
                or traced.stop is not Stop.FINISHED
            ):
                again = self._run(
                    tests, overlay, expected, forked=False
                )  # tracing alone may have been too slow
            verdict = confirm(verdict, report, again)
            imported = frozenset().union(
                *(each.executed.get(task.document.path, frozenset()) for each in traced.shared.values())
            )
            unseen = changed and not changed & (executed | imported)
            if self.asked is not None and verdict.kind in PROVEN and unseen:
                reason = f"{verdict.reason} No test runs what was changed."
                verdict = replace(verdict, kind=VerdictKind.UNTESTED, reason=reason)
        feedback = ""
        if verdict.kind not in DONE:
            by_tool = self.asked is not None and not verdict.broken and not report.collection_errors
            feedback = (
                prompt.after_complaint(task, verdict.reason)
                if by_tool
                else prompt.after_failure(task, report, self.options.strategy.wording)
            )
        return Round(
            number=number,
            reply=reply,
            candidate=spliced.text,
            report=report,
            verdict=verdict,
            feedback=feedback,
            asked=tuple(messages),
            changed_lines=len(changed),
            executed_lines=len(changed & executed),
            additions=tuple(f"`{each}`" for each in (*spliced.imports, *spliced.helpers)),
        )

    def _refused(
        self, number: int, reply: str, candidate: str | None, reason: str, messages: Sequence[Message]
    ) -> Round:
        """The round of a reply that is not run, with the reason why."""
        verdict = Verdict(VerdictKind.REJECTED, reason)
        told = f"Your last answer was not run. {reason}"
        return Round(number, reply, candidate, None, verdict, told, tuple(messages))

    def _reply(self, messages: Sequence[Message], sampling: Sampling, task: Task) -> str:
        """Stream a reply until it ends, or until the code that is wanted stands in it."""
        sampling = replace(sampling, max_tokens=prompt.reply_tokens(task))
        reply = ""
        for piece in self.engine.stream(messages, sampling, self.cancel):
            reply += piece
            self.listener(ReplyText(piece))
            out_of_time = time.monotonic() - self.started > 2 * self.options.time_limit
            if out_of_time or ("`" in piece and is_answered(reply, task.region.name)):
                break
        self._check_cancelled()
        return reply

    def _run(
        self,
        tests: Sequence[str],
        overlay: dict[PurePosixPath, bytes] | None = None,
        expected: frozenset[str] = frozenset(),
        *,
        trace: Trace = "no",
        limits: Limits | None = None,
        doctests: Sequence[PurePosixPath] = (),
        forked: bool = True,
    ) -> Report:
        limits = limits or self.options.limits
        if trace != "no":
            enough = max(TRACED_TEST_SECONDS, 3 * self.importing)
            limits = replace(limits, test_seconds=min(limits.test_seconds, enough))
        report = run_tests(
            TestRequest(
                workspace=self.snapshot.workspace,
                tests=tests,
                interpreter=self.options.interpreter,
                files={**self.snapshot.overlay(), **(overlay or {})},
                expected=expected,
                trace=trace,
                doctest_modules=doctests,
                test_args=self.options.test_args,
                import_folders=self.options.import_folders,
                limits=limits,
                sandbox=self.options.sandbox,
            ),
            self.cancel,
            lambda result: None if trace != "no" else self.listener(TestDone(result)),
            self.options.warm,
            fork=forked,
        )
        self._check_cancelled()
        return report

    def _must_fail(self, request: FixRequest, baseline: Report) -> None:
        """Refuse a request whose tests pass, do not exist, or could not be run."""
        named = matching(baseline.results, request.test) if request.test else frozenset(baseline.results)
        if named & baseline.failed or (baseline.collection_errors and not named):
            return
        if named:
            raise NothingToFix(
                f"{request.test or request.path}: {len(named)} tests pass or are skipped, none fails."
            )
        if request.test and baseline.results:
            raise TaskError(
                f"There is no test {request.test}. Known: {', '.join(list(baseline.results)[:5])}."
            )
        if baseline.collection_errors:
            return
        why = baseline.stop_detail or baseline.output_tail.strip()
        raise TaskError(f"No test ran for {request.test or request.path}. {why}".strip())

    def _check_cancelled(self) -> None:
        if self.cancel.is_set():
            raise Cancelled

    def _next_seed(self) -> int:
        self.seed += 1
        return self.seed


def _tests(request: Request) -> tuple[str, ...]:
    if isinstance(request, FixRequest) and request.test:
        return (request.test.partition("::")[0],)
    return tests_for(request.snapshot, request.path)


def _to_run(tests: tuple[str, ...], path: PurePosixPath) -> tuple[tuple[str, ...], tuple[PurePosixPath, ...]]:
    """Return pytest's arguments, and whose doctests are run: those of the file itself, where no tests go with it."""
    return (tests, ()) if tests else ((str(path),), (path,))


def _moved(task: Task, document: Document) -> Region:
    """Return where a task's region is in a text that may have changed around it."""
    region = task.region
    if document.text == task.document.text:
        return region
    sought = Source(task.document.text).lines[region.start - 1 : region.end]
    lines = Source(document.text).lines
    found = [at for at in range(len(lines)) if lines[at : at + len(sought)] == sought]
    if not sought or len(found) != 1:
        raise TaskError(f"{document.path} was changed in the same place meanwhile: ask anew.")
    return replace(region, start=found[0] + 1, end=found[0] + len(sought))


_RANK = {
    VerdictKind.VERIFIED: 3,
    VerdictKind.UNSANDBOXED: 3,
    VerdictKind.UNTESTED: 2,
    VerdictKind.PARTIAL: 1,
    VerdictKind.REJECTED: 0,
}


def _merit(done: Round) -> tuple[int, int, int]:
    """Order rounds from worst to best: by verdict, then by what was fixed less what was broken, then the earlier."""
    gain = len(done.verdict.fixed) - 2 * len(done.verdict.broken) if done.report else -10_000
    return _RANK[done.verdict.kind], gain, -done.number


def _identity(text: str) -> str:
    """Return what two texts have in common if they differ in comments and layout only."""
    try:
        return ast.dump(ast.parse(text))
    except (SyntaxError, ValueError):
        return text


def _changed_lines(before: str, after: str) -> frozenset[int]:
    """Return the lines (from 1) of code in `after` that `before` does not have; comments and blanks do not count."""
    old, new = Source(before).lines, Source(after).lines
    changed: set[int] = set()
    for tag, _, _, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag in ("replace", "insert"):
            changed.update(range(start + 1, end + 1))
    try:
        statements = {
            node.lineno
            for node in ast.walk(ast.parse(after))
            if isinstance(node, ast.stmt)
            and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            and not isinstance(
                node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
            )
        }
    except (SyntaxError, ValueError):
        return frozenset(changed)
    return frozenset(changed & statements)
