"""The page about runs: what it says, and that texts of models and tasks stay texts."""

from __future__ import annotations

import argparse
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsp_server import comparison_commands
from lsp_server.evaluation import plot
from lsp_server.evaluation.outcome import Attempt, TaskOutcome
from lsp_server.evaluation.report import report, verdict
from lsp_server.evaluation.run_folder import EvaluationError, RunFolder
from lsp_server.evaluation.summary import Rate

HOSTILE = (
    "<script>alert(1)</script>",
    "</svg></desc></pre></style><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" \' {{ runs }} {% raw %} &lt;b&gt;',
    "\x00\x1b[31m\u202e\ud800\u2028",
)
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """A page's elements and text, with a check that every element is closed where it should be."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag in {"td", "th", "small", "desc"}:
            self.text += " "

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def rows(self) -> str:
        """Text with one space where there was any white space."""
        return " ".join(self.text.split())


def task(name: str, passed: bool, *tokens: int, reason: str = "assert 1 == 2", **more: Any) -> TaskOutcome:
    attempts = tuple(
        Attempt(
            number,
            passed and number == len(tokens),
            10,
            count,
            1.0,
            "" if passed else f"{reason} in {number}",
        )
        for number, count in enumerate(tokens, 1)
    )
    return TaskOutcome(name, attempts, passed, seconds=3.0, **more)


def make(path: Path, *outcomes: TaskOutcome, **manifest: Any) -> RunFolder:
    run = RunFolder.begin(path, {"kind": "bench", "data": "sha256:1", "model": "small", **manifest})
    for outcome in outcomes:
        run.add(outcome)
    return run


@pytest.fixture
def one(tmp_path: Path) -> RunFolder:
    return make(
        tmp_path / "one",
        task("t1", True, 40, passed_plus=True),
        task("t2", True, 40, 60, passed_plus=False),
        task("t3", False, 40, 60, passed_plus=False),
        task("t4", False, error="it has no tests"),
        command=["oci-companion", "eval", "bench"],
    )


def test_the_headline_has_every_measure(one: RunFolder) -> None:
    text = Page(report([one])).rows()
    for said in (
        "Tasks passed 50.0 % 15.0 – 85.0 %",
        "Passed, of all tasks 2 of 4",
        "more inputs for the same tasks 25.0 % 4.6 – 69.9 %",
        "Passed by round 1 25.0 % 4.6 – 69.9 %",
        "Passed by round 2 50.0 % 15.0 – 85.0 %",
        "must be 0 none checked",
        "count as not passed 1",
        "Seconds for a task, median 3.0 3.0 – 3.0",
        "the model wrote 100 70 – 100",
        "Tokens for all tasks 240",
    ):
        assert said in text
    assert "Compared with" not in text


def test_each_task_has_its_verdict_and_why(one: RunFolder) -> None:
    text = Page(report([one])).rows()
    for said in (
        "t1 ✓ passed 1 40 3.0",
        "t2 ◐ base tests only 2 100 3.0 fails the larger tests",
        "t3 ✗ not passed 2 100 3.0 assert 1 == 2 in 2",
        "t4 – not tried 0 0 3.0 it has no tests",
    ):
        assert said in text


def test_what_is_needed_to_reproduce_it_is_there(one: RunFolder) -> None:
    text = Page(report([one])).rows()
    assert '"command": [ "oci-companion", "eval", "bench" ]' in text
    assert "All settings of one (run.json)" in text


def test_later_runs_are_compared_with_the_first(one: RunFolder, tmp_path: Path) -> None:
    better = make(
        tmp_path / "better",
        *(task(name, True, 20) for name in ("t1", "t2", "t3", "t4")),
        model="large",
    )
    alike = make(tmp_path / "alike", task("t3", False, 20), task("t5", True, 20))
    text = Page(report([one, better, alike])).rows()
    assert "Compared with one" in text
    assert "better 4 tasks +50.0 −10.2 to +85.0 0.500 2 0 × 0.20 × 1.00" in text
    assert "alike 1 task +0.0" in text
    assert "Only better passed: t3, t4." in text
    assert "Only one passed: none." in text
    assert "model small large small" in text
    assert "different tasks" not in text


def test_runs_of_other_data_are_not_compared(one: RunFolder, tmp_path: Path) -> None:
    text = Page(report([one, make(tmp_path / "other", task("t1", False, 5), data="sha256:2")])).rows()
    assert "These runs are of different tasks." in text
    assert "Compared with" not in text


def test_a_wrong_claim_stands_on_top(tmp_path: Path) -> None:
    run = make(tmp_path / "run", task("t1", True, 5, outside=False), task("t2", True, 5, outside=True))
    text = Page(report([run])).rows()
    assert "run said of 1 task that the code passes, and it does not" in text
    assert "must be 0 1 of 2" in text
    assert "t1 ‼ said to pass, does not 1 5 3.0 its tests fail outside of our code" in text


@pytest.mark.parametrize("hostile", HOSTILE)
def test_texts_of_models_and_tasks_stay_texts(hostile: str, tmp_path: Path) -> None:
    folders = [
        make(
            # A folder's name holds neither a slash nor a surrogate.
            tmp_path / (hostile.replace("/", "").replace("\x00", "").replace("\ud800", "") + str(number)),
            task(hostile, False, 5, reason=hostile),
            task(hostile + "2", bool(number), 5, outside=False),
            task(hostile + "3", False, error=hostile),
            note=[hostile, number],
            **{hostile: {hostile: number}},
        )
        for number in range(2)
    ]
    html = report(folders)
    page = Page(html)
    html.encode("utf-8")
    assert {tag for tag, _ in page.elements} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "section", "div", "h1", "h2", "h3", "p"),
        *(
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "small",
            "span",
            "strong",
            "details",
            "summary",
            "pre",
        ),
        *("figure", "figcaption", "ul", "li", "svg", "g", "path", "text", "desc"),
    }
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    shown = re.sub("[\x00-\x1f]", lambda char: chr(0x2400 + ord(char[0])), hostile)
    shown = re.sub("[\u202e\ud800\u2028]", "\ufffd", shown)
    assert f"✗ not passed 1 5 3.0 {shown} in 1" in page.rows()
    assert all(char.isprintable() or char == "\n" for char in html)


def test_the_page_needs_nothing_but_itself(one: RunFolder) -> None:
    page = Page(report([one]))
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object", "use"}
    assert not any(
        name in {"src", "href", "xlink:href"} for _, attributes in page.elements for name in attributes
    )
    assert "url(" not in report([one]) and "@import" not in report([one])
    policy = [each["content"] for tag, each in page.elements if tag == "meta" and "http-equiv" in each]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_plots_have_names_units_and_words(one: RunFolder) -> None:
    page = Page(report([one]))
    ids = {attributes.get("id") for _, attributes in page.elements}
    plots = [
        attributes for tag, attributes in page.elements if tag == "svg" and attributes.get("role") == "img"
    ]
    assert len(plots) == 2
    for each in plots:
        assert {each["aria-labelledby"], each["aria-describedby"]} <= ids
    text = page.rows()
    assert "one: 25.0% after round 1 (4.6% to 69.9%), 50.0% after round 2 (15.0% to 85.0%)." in text
    assert "one: 50.0% passed, half of those within 40 tokens, all within 100." in text
    assert "rounds completed" in text and "tokens written for the task (logarithmic scale)" in text


def test_every_reference_leads_to_one_element(one: RunFolder, tmp_path: Path) -> None:
    page = Page(report([one, make(tmp_path / "other", task("t1", True, 5), model="large")]))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name, ids[0]) in ids


def test_a_run_in_which_nothing_happened_has_a_page(tmp_path: Path) -> None:
    text = Page(report([make(tmp_path / "empty")])).rows()
    assert "0 of 0" in text and "What rounds and tokens buy" not in text
    untried = Page(report([make(tmp_path / "untried", task("t1", False, error="no model"))])).rows()
    assert "What rounds and tokens buy" not in untried


def test_a_run_in_which_nothing_passed_has_no_curve(tmp_path: Path) -> None:
    text = Page(report([make(tmp_path / "failed", task("t1", False, 5))])).rows()
    assert "Tasks passed by round" in text and "Tasks passed by tokens spent" not in text


def test_a_long_reason_is_cut(tmp_path: Path) -> None:
    html = report([make(tmp_path / "run", task("t1", False, 5, reason="x" * 5000))])
    assert "x" * 600 + " …" in html and "x" * 601 not in html


def test_the_command_writes_the_page(
    one: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    comparison_commands.add_report(parser.add_subparsers())
    file = tmp_path / "report.html"
    options = parser.parse_args(["report", str(one.path), "--output", str(file)])
    assert options.run(options) == 0
    assert file.read_text(encoding="utf-8") == report([one])
    assert str(file) in capsys.readouterr().out
    options = parser.parse_args(["report", str(one.path), "--output", str(tmp_path / "none" / "report.html")])
    with pytest.raises(EvaluationError, match=r"report\.html cannot be written: No such file"):
        options.run(options)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (TaskOutcome("t", (), True), "passed"),
        (TaskOutcome("t", (), True, passed_plus=True), "passed"),
        (TaskOutcome("t", (), True, passed_plus=False), "base tests only"),
        (TaskOutcome("t", (), False, passed_plus=False), "not passed"),
        (TaskOutcome("t", (), False, error="x"), "not tried"),
        (TaskOutcome("t", (), True, outside=False), "said to pass, does not"),
        (TaskOutcome("t", (), True, outside=True), "passed"),
    ],
)
def test_verdicts(outcome: TaskOutcome, words: str) -> None:
    assert verdict(outcome).words == words


def test_steps_go_up_when_a_round_is_over() -> None:
    drawn = plot.by_round([[Rate(0, 4), Rate(4, 4)]])
    assert drawn is not None
    (line,) = drawn.lines
    first, second = (tick.at for tick in drawn.x_ticks)
    assert line.path == f"M{first:g} {plot.BOTTOM}H{second:g}V{plot.TOP}"
    assert (line.bars[0].low, line.bars[1].high) == (plot.BOTTOM, plot.TOP)
    assert [tick.label for tick in drawn.x_ticks] == ["1", "2"]


def test_a_curve_goes_up_at_what_a_task_cost() -> None:
    drawn = plot.by_tokens([[task("t1", True, 10), task("t2", True, 100), task("t3", False, 900)]])
    assert drawn is not None
    assert [tick.label for tick in drawn.x_ticks] == ["10", "20", "50", "100", "200", "500", "1,000"]
    ten, hundred, thousand = (tick.at for tick in drawn.x_ticks if tick.label in {"10", "100", "1,000"})
    assert (ten, thousand) == (plot.LEFT, plot.RIGHT)
    assert hundred == pytest.approx((ten + thousand) / 2, abs=0.1)
    heights = [float(height) for height in re.findall(r"V([\d.]+)", drawn.lines[0].path)]
    third = (plot.BOTTOM - plot.TOP) / 3
    assert heights == pytest.approx(
        [plot.BOTTOM - third, plot.BOTTOM - 2 * third, plot.BOTTOM - 2 * third], abs=0.1
    )


def test_a_task_that_cost_nothing_is_at_the_curves_beginning() -> None:
    drawn = plot.by_tokens([[task("t1", True), task("t2", True, 10)]])
    assert drawn is not None
    assert drawn.lines[0].path.startswith(f"M{plot.LEFT} {plot.BOTTOM}H{plot.LEFT}V")
    assert plot.by_tokens([[task("t1", True)]]) is None


@given(
    st.lists(st.lists(st.tuples(st.booleans(), st.integers(0, 10**7)), max_size=12), min_size=1, max_size=9)
)
def test_whatever_came_of_tasks_is_drawn_between_the_axes(runs: list[list[tuple[bool, int]]]) -> None:
    outcomes = [[task(str(n), *each) for n, each in enumerate(run)] for run in runs]
    drawn = plot.by_tokens(outcomes)
    if drawn is None:
        return
    assert 1 <= len(drawn.x_ticks) <= 9
    for line in drawn.lines:
        for x in re.findall(r"[MH]([\d.]+)", line.path):
            assert plot.LEFT <= float(x) <= plot.RIGHT
        for y in re.findall(r"V([\d.]+)", line.path):
            assert plot.TOP <= float(y) <= plot.BOTTOM


def test_the_marks_of_the_first_runs_differ() -> None:
    assert len({plot.mark(run, 0, 0) for run in range(4)}) == 4
