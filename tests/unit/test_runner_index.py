"""What a workspace's files import of each other, and that it stays so as they change."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.history import reader
from runner.index import Index


def index_of(folder: Path, files: Mapping[str, str]) -> Index:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(dedent(text))
    return Index(folder)


@pytest.mark.parametrize(
    ("text", "imported"),
    [
        ("import pkg.a", True),
        ("from pkg import a", True),
        ("from pkg import (\n    b,  # of course\n    a,\n)", True),
        ("import os, \\\n    pkg.a as x", True),
        ("if True: import pkg.a", True),
        ("def test():\n    from pkg.a import f", True),
        ("from pkg import b", True),  # which imports it
        ("import importlib\nimportlib.import_module('pkg.a')", True),
        ("from unittest import mock\n@mock.patch('pkg.a.f')\ndef test(): pass", True),
        ("from ..pkg import a", True),
        ("from pkg import (\n    c,  # (of course)\n    a,\n)", True),
        ("\ufeffimport pkg.a", True),
        ("import importlib\nimportlib.import_module('alone')", True),
        ("pytest_plugins = ['alone']", True),
        ("import pkg.c", False),
        ("import a", False),
        ("pkg = a", False),
    ],
)
@pytest.mark.parametrize("source", ["", "src/"])
def test_imports_are_followed(tmp_path: Path, text: str, imported: bool, source: str) -> None:
    if source and ".." in text:
        pytest.skip("a relative import stays within its own tree")
    files = {
        f"{source}pkg/__init__.py": "",
        f"{source}pkg/a.py": "def f(): pass",
        f"{source}pkg/b.py": "from . import a",
        f"{source}pkg/c.py": "",
        f"{source}alone.py": "import pkg.a",
        "tests/test_it.py": text,
    }
    state = index_of(tmp_path, files).state()
    found = PurePosixPath("tests/test_it.py") in state.importers([PurePosixPath(f"{source}pkg/a.py")])
    assert found == imported


@pytest.mark.parametrize(
    "text",
    [
        "from" + " " * 20_000,
        "from pkg import (" + "# (" * 5000,
        "import " + "\\\n" * 5000,
        "from a import (\n" * 20_000,
    ],
)
def test_odd_texts_take_no_time(tmp_path: Path, text: str) -> None:
    began = time.process_time()
    index_of(tmp_path, {"a.py": text}).state()
    assert time.process_time() - began < 5, "it is looked through more than once"


def test_what_is_no_regular_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "zero.py").symlink_to("/dev/zero")
    (tmp_path / "large.py").write_bytes(b"#" * (5 << 20))
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    assert not Index(tmp_path).state().files
    with pytest.raises(OSError):
        reader(tmp_path)(PurePosixPath("pipe.py"))


def test_only_what_has_changed_is_read_again(tmp_path: Path) -> None:
    index = index_of(
        tmp_path, {"a.py": "import b", "b.py": "", ".venv/c.py": "", "env2/pyvenv.cfg": "", "env2/d.py": ""}
    )
    first = index.state()
    assert set(map(str, first.files)) == {"a.py", "b.py"}
    (tmp_path / "b.py").write_text("import c")
    second = index.state()
    assert second.files[PurePosixPath("a.py")] is first.files[PurePosixPath("a.py")]
    assert second.files[PurePosixPath("b.py")] is not first.files[PurePosixPath("b.py")]
    buffered = index.state({PurePosixPath("a.py"): b"import z"})
    assert buffered.files[PurePosixPath("a.py")].imports == {(0, "z")}
    assert index.state().files[PurePosixPath("a.py")].imports == {(0, "b")}


PATHS = (
    "a.py",
    "__init__.py",
    "p/__init__.py",
    "p/a.py",
    "p/q/b.py",
    "tests/test_a.py",
    "p/test_b.py",
    "conftest.py",
)
IMPORTS = (
    "",
    "import a",
    "import p.a",
    "from p import a",
    "from . import a",
    "from ..a import f",
    "from p.q import b",
)
CHANGES = st.lists(
    st.tuples(st.sampled_from(PATHS), st.one_of(st.none(), st.sampled_from(IMPORTS))), max_size=8
)


@given(st.lists(CHANGES, min_size=2, max_size=4))
def test_keeping_up_leads_to_the_graph_of_a_fresh_look(steps: list[list[tuple[str, str | None]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = Index(folder)
        for step in steps:
            for path, text in step:
                if text is None:
                    (folder / path).unlink(missing_ok=True)
                else:
                    index_of(folder, {path: text})
            kept, fresh = index.state(), Index(folder).state()
            for each in fresh.files:
                assert kept.imported(each) == fresh.imported(each)
                assert kept.importers([each]) == fresh.importers([each])
                assert kept.test_files(each) == fresh.test_files(each)
