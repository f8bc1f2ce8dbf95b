"""The fixed texts that an editor's user reads, in the language that the client has translations for, else in English.

The English text is the key, with `{0}`, `{1}` for what is filled in, as in the extension's own `vscode.l10n`. What is
raised or told by the layers below, and what goes to logs and to the model, is English everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"\{([0-9]+)\}")
_bundle: Mapping[str, str] = {}


def use(bundle: Mapping[str, str]) -> None:
    """Take the client's translations, in place of those from before.

    Args:
        bundle: translations by English text.
    """
    global _bundle  # a process has one client
    _bundle = bundle


def text(message: str, *values: object) -> str:
    """Return a text in the client's language.

    Args:
        message: in English; a literal, for `tests/vscode/strings.py` gathers them for translators.
        values: take the places of `{0}`, `{1}`; placeholders that there is no value for stay as they are.
    """
    given = {str(index): str(value) for index, value in enumerate(values)}
    # An empty translation is one that nobody has made yet.
    return _PLACEHOLDER.sub(lambda found: given.get(found[1], found[0]), _bundle.get(message) or message)
