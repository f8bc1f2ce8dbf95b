"""What a workspace's Python files import of each other, and which of their functions have changed."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import stat
import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

IGNORED_FOLDERS = frozenset(
    {"__pycache__", "node_modules", "site-packages", "build", "dist", "venv", "env", ".venv", ".tox", ".nox"}
)
MOST_FILES = 20_000
"""Python files looked at in a workspace; past that, only the first ones count."""
MODULE = ""
"""The part of a file that is none of its functions: what runs when it is imported."""
_PARTS_KEPT = 4096
_MOST_BYTES = 4 << 20
"""Of a file that is read: nobody edits a larger one by hand."""
CONFIGURATION = frozenset(
    {
        "conftest.py",
        "__init__.py",
        "pytest.toml",
        ".pytest.toml",
        "pytest.ini",
        ".pytest.ini",
        "pyproject.toml",
        "tox.ini",
        "setup.cfg",
    }
)
"""Names of what pytest reads before it collects."""

_IMPORT = re.compile(
    r"(?:^|[;:]) ?(?:"
    r"from ?(?P<dots>(?:\. ?)*)(?P<module>[\w.]*) ?\bimport\b ?(?P<names>\([^()]*\)|[^\n;]*)"
    r"|import (?P<modules>[^\n;]+))",
    re.MULTILINE,
)
_BLANKS, _COMMENT = re.compile(r"[ \t\f]+"), re.compile(r"#[^\n]*")
_BY_CALL = re.compile(r"""(?:import_module|__import__|importorskip)\( ?["']([A-Za-z_]\w*)""")
_PLUGINS = re.compile(r"""^pytest_plugins\b[^=\n]*=([^\])\n]*)""", re.MULTILINE)
_DOTTED = re.compile(r"""["']([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)["']""")
_NAME = re.compile(r"[A-Za-z_][\w.]*")

_Function = ast.FunctionDef | ast.AsyncFunctionDef
Imported = tuple[int, str]
"""Leading dots, and a dotted name."""


def is_test_file(path: PurePosixPath) -> bool:
    """Whether pytest's default naming makes it a test file, or it configures tests."""
    return path.suffix == ".py" and (
        path.name.startswith("test_") or path.stem.endswith("_test") or path.name == "conftest.py"
    )


def holds_tests(path: PurePosixPath) -> bool:
    """Whether pytest's default naming makes it a file that tests are collected from."""
    return is_test_file(path) and path.name != "conftest.py"


def configures(path: PurePosixPath) -> bool:
    """Whether pytest reads a file of that name before it collects tests below its folder."""
    return path.name in CONFIGURATION


def source_files(workspace: Path) -> Iterator[PurePosixPath]:
    """Return the Python files and pytest's configuration below a folder, relative to it.

    Environments, and what is built or hidden, are left out.
    """
    looked_at = 0
    for folder, folders, names in os.walk(workspace):
        folders[:] = sorted(
            f
            for f in folders
            if f not in IGNORED_FOLDERS
            and not f.startswith(".")
            and not os.path.exists(os.path.join(folder, f, "pyvenv.cfg"))  # noqa: PTH110, PTH118
        )
        relative = Path(folder).relative_to(workspace).as_posix()
        for name in sorted(names):
            if name.endswith(".py") or name in CONFIGURATION:
                looked_at += 1
                yield PurePosixPath(relative, name)
        if looked_at > MOST_FILES:
            return


@dataclass(frozen=True)
class Parts:
    """A text's functions, and the rest of it, each known by a digest that comments and layout leave alone."""

    digests: Mapping[str, bytes]
    """By qualified name of each outermost function (a method is one); `MODULE` for the rest."""
    spans: tuple[tuple[int, int, str], ...]
    """First and last line (from 1) of each function's body, and its name."""
    cached: frozenset[str]
    """Functions that a decorator keeps the results of, and those of the same text that they name: a test may rely on
    one and yet not execute it, for an earlier test has."""

    def at(self, lines: Collection[int]) -> frozenset[str]:
        """Return the functions in whose bodies lines are; `MODULE` where a line is in none."""
        found = set()
        for line in lines:
            found.add(next((name for first, last, name in self.spans if first <= line <= last), MODULE))
        return frozenset(found)


@lru_cache(maxsize=_PARTS_KEPT)
def parts_of(text: str) -> Parts | None:
    """Return the parts of a text; None if it is not Python of this interpreter's version."""
    try:
        return _parts_of(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):
        return None


def _parts_of(tree: ast.Module) -> Parts:
    functions: list[tuple[str, _Function]] = list(_functions(tree, ""))
    digests: dict[str, bytes] = {}
    spans: list[tuple[int, int, str]] = []
    names: dict[str, set[str]] = {}
    for name, node in functions:
        spans.append((node.body[0].lineno, node.end_lineno or node.body[-1].lineno, name))
        body = "".join(map(ast.dump, node.body))
        digests[name] = _digest(digests.get(name, b"").hex() + body)
        names.setdefault(name, set()).update(_names(node))
    cached = {name for name, node in functions if any("cache" in _last(each) for each in node.decorator_list)}
    waiting = [*cached]
    while waiting:
        used = names[waiting.pop()]
        named = {name for name in names if name.rpartition(".")[2] in used} - cached
        cached |= named
        waiting += named
    for _, node in functions:
        node.body = []  # what is left is the module's own
    digests[MODULE] = _digest(ast.dump(tree))
    return Parts(digests, tuple(spans), frozenset(cached))


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, _Function]]:
    """Return the outermost functions; their decorators and defaults run with the module, their bodies do not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _Function):
            yield prefix + node.name, node
        else:
            within = f"{prefix}{node.name}." if isinstance(node, ast.ClassDef) else prefix
            yield from _functions(node, within)


def _names(node: ast.AST) -> Iterator[str]:
    """Return the names and attributes that occur in a function."""
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            yield each.id
        elif isinstance(each, ast.Attribute):
            yield each.attr


def _last(decorator: ast.expr) -> str:
    """Return the last name of a decorator, as in `functools.lru_cache(maxsize=8)`."""
    if isinstance(decorator, ast.Call):
        decorator = decorator.func
    return decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", "")


@dataclass(frozen=True)
class IndexedFile:
    """One file at one moment."""

    mark: object
    """What tells whether it has changed on disk."""
    digest: bytes
    """Of its text."""
    imports: frozenset[Imported]


class State:
    """A workspace's Python files at one moment.

    Args:
        files: by path relative to the workspace.
        before: an earlier moment, whose graph is kept where it still holds.
    """

    def __init__(self, files: Mapping[PurePosixPath, IndexedFile], before: State | None = None) -> None:
        self.files = files
        self._graph: _Graph = _Graph(files) if before is None else before._graph.followed_by(files)

    def importers(self, paths: Collection[PurePosixPath]) -> dict[PurePosixPath, int]:
        """Return the files that import some, directly or not, with the number of imports between; 0 for themselves."""
        return _reach(paths, self._graph.importers)

    def imported(self, path: PurePosixPath) -> frozenset[PurePosixPath]:
        """Return the files that are executed when one is imported, or its tests are run, itself among them."""
        return self._graph.imported(path)

    def test_files(self, path: PurePosixPath) -> list[PurePosixPath]:
        """Return the test files that go with a file: those named after it, then those that import it, nearest first.

        Args:
            path: a source file, or a test file, which then goes with itself.
        """
        if holds_tests(path):
            return [path]
        stem = path.parent.name if path.stem == "__init__" else path.stem
        named = (f"test_{stem}", f"{stem}_test")
        steps = {each: count for each, count in self.importers([path]).items() if holds_tests(each)}
        steps |= {each: 0 for each in self.files if holds_tests(each) and each.stem in named}
        return sorted(steps, key=lambda each: (steps[each], each))


class _Graph:
    """Which of some files import which.

    Where these lie that an import statement means is not known (src layouts, settings of `sys.path`, namespace
    packages), so a name stands for all files that it may mean.

    Args:
        files: by path relative to the workspace.
    """

    def __init__(self, files: Mapping[PurePosixPath, IndexedFile]) -> None:
        self._files = files
        self._imported: dict[PurePosixPath, frozenset[PurePosixPath]] = {}

    def followed_by(self, files: Mapping[PurePosixPath, IndexedFile]) -> _Graph:
        """Return the graph of other files; as long as no file comes or goes, what changed imports lead to is new."""
        if files.keys() != self._files.keys() or "imports" not in self.__dict__:
            return _Graph(files)
        changed = [path for path, file in files.items() if file.imports != self._files[path].imports]
        if not changed:
            return self
        graph = _Graph(files)
        graph._names, graph._modules = self._names, self._modules
        graph.imports = self.imports | {path: graph._imports_of(path) for path in changed}
        return graph

    def imported(self, path: PurePosixPath) -> frozenset[PurePosixPath]:
        """Return what a file imports, directly or not, and itself."""
        if path not in self._imported:
            self._imported[path] = frozenset(_reach([path], self.imports))
        return self._imported[path]

    @cached_property
    def imports(self) -> dict[PurePosixPath, frozenset[PurePosixPath]]:
        """What each file imports directly."""
        return {path: self._imports_of(path) for path in self._files}

    @cached_property
    def importers(self) -> dict[PurePosixPath, set[PurePosixPath]]:
        """By what each file is imported directly."""
        found: dict[PurePosixPath, set[PurePosixPath]] = {}
        for path, imports in self.imports.items():
            for each in imports:
                found.setdefault(each, set()).add(path)
        return found

    @cached_property
    def _names(self) -> dict[str, PurePosixPath]:
        """Files by their paths as text: making paths is what takes the time in a large workspace."""
        return {str(path): path for path in self._files}

    @cached_property
    def _modules(self) -> dict[str, list[PurePosixPath]]:
        """Files by each name that they may be imported under.

        The shortest has the packages that hold the file; any folders above may stand in front of it.
        """
        found: dict[str, list[PurePosixPath]] = {}
        for path in self._files:
            if path.suffix != ".py":
                continue
            parts = list(path.with_suffix("").parts)
            shortest = len(parts) - 1
            while shortest and "/".join((*parts[:shortest], "__init__.py")) in self._names:
                shortest -= 1
            if parts[-1] == "__init__":
                parts.pop()
                shortest = min(shortest, len(parts) - 1)
            for start in range(shortest, -1, -1):
                found.setdefault(".".join(parts[start:]), []).append(path)
        return found

    def _imports_of(self, path: PurePosixPath) -> frozenset[PurePosixPath]:
        return frozenset(self._named_in(path)) - {path}

    def _named_in(self, path: PurePosixPath) -> Iterator[PurePosixPath]:
        folders = list(path.parts[:-1])
        around = ["/".join((*folders[:depth], "")) for depth in range(len(folders), -1, -1)]
        for folder in around:
            if (package := self._names.get(f"{folder}__init__.py")) is None:
                break
            yield package
        if holds_tests(path):
            yield from self._existing(folder + name for folder in around for name in CONFIGURATION)
        for dots, name in self._files[path].imports:
            if dots:
                if dots <= len(around):
                    yield from self._below(around[dots - 1], name)
                continue
            parts = name.split(".")
            yield from self._below(around[0], parts[0])  # where the folder itself is on the import path
            for end in range(1, len(parts) + 1):
                yield from self._modules.get(".".join(parts[:end]), ())

    def _below(self, folder: str, name: str) -> Iterator[PurePosixPath]:
        """Return the modules and packages on the way from a folder to a dotted name."""
        for part in name.split(".") if name else ():
            yield from self._existing((f"{folder}{part}.py", f"{folder}{part}/__init__.py"))
            folder = f"{folder}{part}/"

    def _existing(self, names: Iterable[str]) -> Iterator[PurePosixPath]:
        return (path for name in names if (path := self._names.get(name)) is not None)


class Index:
    """Keeps up with a workspace's Python files; reads those that have changed, and no others.

    Args:
        workspace: absolute.
    """

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._files: dict[PurePosixPath, IndexedFile] = {}
        self._latest: State | None = None

    def state(self, buffers: Mapping[PurePosixPath, bytes] | None = None) -> State:
        """Return the files as they are now.

        Args:
            buffers: contents that stand in front of those on disk.
        """
        buffers = buffers or {}
        with self._lock:
            found: dict[PurePosixPath, IndexedFile] = {}
            for path in source_files(self.workspace):
                if (file := self._current(path)) is not None:
                    found[path] = file
            self._files = dict(found)
        for path, content in buffers.items():
            if path.suffix == ".py" or configures(path):
                found[path] = _indexed(None, content)
        with self._lock:
            if self._latest is None or self._latest.files != found:
                self._latest = State(found, self._latest)
            return self._latest  # where nothing has changed, with its graph

    def _current(self, path: PurePosixPath) -> IndexedFile | None:
        try:
            found = (self.workspace / path).stat()
            if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
                return None
            mark = (found.st_ino, found.st_size, found.st_mtime_ns)
            known = self._files.get(path)
            if known is not None and known.mark == mark:
                return known
            return _indexed(mark, (self.workspace / path).read_bytes())
        except OSError:
            return None


def digest_of(content: bytes) -> bytes:
    """Return what tells a file's content from another."""
    return hashlib.blake2b(content, digest_size=16).digest()


def _digest(text: str) -> bytes:
    return digest_of(text.encode("utf-8", "surrogatepass"))


def _indexed(mark: object, content: bytes) -> IndexedFile:
    text = content.decode("utf-8-sig", "replace")
    return IndexedFile(mark, digest_of(content), frozenset(_imports_in(text)))


def _imports_in(text: str) -> Iterator[Imported]:
    """Return what a text may import; text within strings that looks so counts as well, and hurts nobody."""
    joined = text.replace("\\\n", " ").replace("\\\r\n", " ")
    # First, so that no run of blanks, and no bracket in a comment, is met by the patterns.
    joined = _BLANKS.sub(" ", _COMMENT.sub("", joined))
    for match in _IMPORT.finditer(joined):
        if match["modules"] is not None:
            for each in match["modules"].split(","):
                if (name := _NAME.match(each.strip())) is not None:
                    yield 0, name[0]
            continue
        dots, module = match["dots"].count("."), match["module"]
        yield dots, module
        for each in match["names"].strip("() \r\n").split(","):
            if (name := _NAME.match(each.strip())) is not None:
                yield dots, f"{module}.{name[0]}" if module else name[0]
    # `import_module`, `pytest_plugins`, `mock.patch`
    yield from ((0, name) for name in (*_DOTTED.findall(text), *_BY_CALL.findall(joined)))
    for plugins in _PLUGINS.findall(joined):
        yield from ((0, name) for name in re.findall(r"\w+", plugins))


def _reach(
    starts: Collection[PurePosixPath], edges: Mapping[PurePosixPath, Collection[PurePosixPath]]
) -> dict[PurePosixPath, int]:
    steps = dict.fromkeys(starts, 0)
    waiting = deque(starts)
    while waiting:
        path = waiting.popleft()
        for each in edges.get(path, ()):
            if each not in steps:
                steps[each] = steps[path] + 1
                waiting.append(each)
    return steps
