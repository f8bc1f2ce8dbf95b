"""Texts in the client's language, and the file that translators have them from."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lsp_server.features import l10n
from lsp_server.features.outcomes import shown
from runner.report import Outcome
from tests.vscode.strings import ROOT, STRINGS, NotLiteral, server_texts, texts_of


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Leave no translations behind."""
    yield
    l10n.use({})


def test_without_translations_it_is_english() -> None:
    assert l10n.text("{0} of {1} pass", 1, 2) == "1 of 2 pass"
    l10n.use({"other": "andere", "{0} of {1} pass": ""})
    assert l10n.text("{0} of {1} pass", 1, 2) == "1 of 2 pass"


def test_a_translation_places_the_values() -> None:
    l10n.use({"{0} of {1} pass": "von {1} laufen {0}"})
    assert l10n.text("{0} of {1} pass", 1, 2) == "von 2 laufen 1"
    assert l10n.text("{0} of {1} pass", "{1}", "{0}") == "von {0} laufen {1}", "values are no templates"


@pytest.mark.parametrize(
    ("translation", "expected"),
    [
        ("{", "{"),
        ("{}", "{}"),
        ("{x!r:>9}", "{x!r:>9}"),
        ("{0", "{0"),
        ("{1}{-1}{٠}", "{1}{-1}{٠}"),
        (f"{{{'9' * 5000}}}", f"{{{'9' * 5000}}}"),
        ("none", "none"),
        (r"\1 {0} \g<0>", r"\1 a \g<0>"),
    ],
)
def test_a_broken_translation_is_shown_as_far_as_it_goes(translation: str, expected: str) -> None:
    l10n.use({"Working: {0}": translation})
    assert l10n.text("Working: {0}", "a") == expected


def test_every_outcome_has_a_word() -> None:
    assert [shown(outcome) for outcome in Outcome] == [outcome.value for outcome in Outcome]


@pytest.mark.parametrize(
    "code",
    [
        "l10n.text(f'{a}')",
        "l10n.text(A)",
        "l10n.text()",
        "a = l10n.text",
        "from lsp_server.features.l10n import text",
    ],
)
def test_only_literals_can_be_gathered(code: str) -> None:
    with pytest.raises(NotLiteral, match=r"^a\.py:1: "):
        texts_of(code, "a.py")


def test_texts_are_gathered_as_they_come() -> None:
    code = "l10n.text('b {0}', l10n.text('a'))\nl10n.text('c' 'd')\nother.text(a)\ntext(b)\n"
    assert texts_of(code, "a.py") == ["b {0}", "a", "cd"]


def test_translators_have_the_servers_texts_and_no_older_ones() -> None:
    """Of the extension's own only the latter can be told without node."""
    given = json.loads(STRINGS.read_text(encoding="utf-8"))
    server = server_texts()
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "extension" / "src").rglob("*.ts"))
    extension = {key for key in given if json.dumps(key, ensure_ascii=False) in sources}
    again = "`npm run strings` mends it"
    assert set(given) == extension | set(server), again
    assert [key for key in given if key in server and key not in extension] == [
        key for key in server if key not in extension
    ], again
