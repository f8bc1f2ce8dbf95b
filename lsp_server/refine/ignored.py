"""Which folders of a workspace hold nothing that anybody edits: environments, what is built, what git ignores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

from runner.index import IGNORED_FOLDERS

GITIGNORE = ".gitignore"


def git_folder(folder: Path) -> Path | None:
    """Return git's own folder for a working tree that holds a folder; None if there is none.

    Args:
        folder: absolute.
    """
    for above in (folder, *folder.parents):
        found = above / ".git"
        if found.is_dir():
            return found
        try:  # of a further working tree
            name = found.read_text(encoding="utf-8").partition("gitdir: ")[2].strip()
        except (OSError, ValueError):
            continue
        return above / name if name else None
    return None


class Ignored:
    """What is ignored below a folder; rules are read as they are met, and once.

    Args:
        root: absolute; rules of the working tree around it count as well.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._rules: dict[Path, GitIgnoreSpec | None] = {}
        git = git_folder(root)
        self._top = next((each for each in (root, *root.parents) if (each / ".git").exists()), root)
        self._own = _rules(git / "info" / "exclude") if git is not None else None

    def __call__(self, folder: Path) -> bool:
        """Whether a folder is ignored, whose parents are not.

        Args:
            folder: absolute, below the root.
        """
        name = folder.name
        if name in IGNORED_FOLDERS or name.startswith("."):
            return True
        if os.path.exists(folder / "pyvenv.cfg"):  # noqa: PTH110 - pathlib's raises where it may not look
            return True
        for above, rules in self._rules_above(folder):
            found = rules.check_file(f"{folder.relative_to(above).as_posix()}/").include
            if found is not None:
                return found  # the nearest rule decides
        return False

    def _rules_above(self, folder: Path) -> Iterator[tuple[Path, GitIgnoreSpec]]:
        for above in folder.parents:
            if above not in self._rules:
                self._rules[above] = _rules(above / GITIGNORE)
            if (rules := self._rules[above]) is not None:
                yield above, rules
            if above == self._top:
                break
        if self._own is not None:
            yield self._top, self._own


def _rules(file: Path) -> GitIgnoreSpec | None:
    try:
        return GitIgnoreSpec.from_lines(file.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError):
        return None
