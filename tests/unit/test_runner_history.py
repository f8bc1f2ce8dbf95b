"""Which tests an edit concerns, by what earlier runs of the real runner have told."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from runner.history import History, Selection, reader
from runner.index import Index
from runner.report import Report
from runner.warm import WarmProcesses
from tests.unit.runner_project import Project

FILES = {
    "shop/__init__.py": "",
    "shop/price.py": """
        import json
        from pathlib import Path

        RATE = 2

        def table():
            return json.loads((Path(__file__).parent.parent / "rates.json").read_text())

        def net(x):
            return x * RATE

        def gross(x):
            return net(x) + 1

        def registered(function):
            return function
    """,
    "shop/cart.py": """
        from shop.price import gross

        class Cart:
            def __init__(self):
                self.items = []

            def add(self, x):
                self.items.append(x)

            def total(self):
                return sum(map(gross, self.items))
    """,
    "shop/other.py": "def alone():\n    return 1\n",
    "rates.json": "{}",
    "tests/conftest.py": """
        import pytest
        from shop.cart import Cart

        @pytest.fixture(scope="module")
        def shared():
            cart = Cart()
            cart.add(1)
            return cart
    """,
    "tests/test_price.py": """
        from shop import price
        from shop.price import registered

        def test_net():
            assert price.net(2) == 4

        def test_table():
            assert price.table() == {}

        @registered
        def test_nothing():
            pass
    """,
    "tests/test_cart.py": """
        from shop.cart import Cart

        def test_total():
            cart = Cart()
            cart.add(1)
            assert cart.total() == 3

        def test_empty(shared):
            assert shared.items

        def test_still_empty(shared):
            pass
    """,
    "tests/test_alone.py": """
        import subprocess, sys
        from shop.other import alone

        def test_alone():
            assert alone() == 1

        def test_spawn():
            subprocess.check_call([sys.executable, "-c", ""])
    """,
}
ALL = {
    "test_price.py": {"test_net", "test_table", "test_nothing"},
    "test_cart.py": {"test_total", "test_empty", "test_still_empty"},
    "test_alone.py": {"test_alone", "test_spawn"},
}


class Shop:
    """A project with its history; each run is a real one."""

    def __init__(self, folder: Path) -> None:
        self.project = Project(folder, FILES)
        self.index = Index(self.project.root)
        self.history = History()
        self.read = reader(self.project.root)

    def run(self, *tests: str, trace: str = "functions", **request: Any) -> Report:
        state = self.index.state()
        report = self.project.run(*tests, trace=trace, **request)
        self.history.note(report, tests, state, self.read)
        return report

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.project.root / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def stale(self) -> set[str]:
        return {test.rpartition("::")[2] for test in self.history.stale(self.index.state(), self.read)}

    def select(self, *changed: str, seconds: float = float("inf")) -> Selection:
        paths = [PurePosixPath(path) for path in changed]
        return self.history.select(paths, self.index.state(), self.read, seconds)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.run("tests")
    assert made.stale() == set()
    return made


CART = {"test_total", "test_empty", "test_still_empty"}
PRICE = {"test_net", "test_table", "test_nothing"}


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("shop/price.py", "x * RATE", "RATE * x", {"test_net", "test_total"}),
        ("shop/price.py", "net(x) + 1", "1 + net(x)", {"test_total"}),
        # Only the first test that wants the shared cart executes this, but both have it.
        ("shop/cart.py", "self.items.append(x)", "self.items += [x]", CART),
        ("shop/price.py", "RATE = 2", "RATE = 3", PRICE | CART | {"test_alone"}),  # the conftest imports it
        # It runs while test_price.py is imported; which of the run's tests that may matter to is not known.
        ("shop/price.py", "return function", "return (lambda: 0)", PRICE | CART | {"test_alone"}),
        ("shop/price.py", "x * RATE", "x * RATE  # a comment", set()),
        ("shop/other.py", "return 1", "return 2", {"test_alone"}),
        ("rates.json", "{}", '{"a": 1}', {"test_table"}),
        ("tests/test_price.py", "net(2) == 4", "net(3) == 6", {"test_net"}),
        ("tests/conftest.py", "cart.add(1)", "cart.add(2)", PRICE | CART | {"test_alone"}),
        ("shop/price.py", "x * RATE", "x * (", PRICE | CART | {"test_alone"}),
    ],
)
def test_what_an_edit_concerns(shop: Shop, path: str, old: str, new: str, expected: set[str]) -> None:
    shop.edit(path, old, new)
    spawned = {"test_spawn"} if path.endswith(".py") and old + "  #" not in new else set()
    stale = shop.stale()
    assert stale - {"test_spawn"} == expected
    assert spawned <= stale


def test_forks_tell_as_much_as_processes_of_their_own(tmp_path: Path) -> None:
    warm = WarmProcesses()
    shop = Shop(tmp_path)
    shop.run("tests", warm=warm)
    warm.settle()
    assert shop.run("tests", warm=warm).warm
    assert shop.stale() == set()
    shop.edit("shop/price.py", "net(x) + 1", "1 + net(x)")
    assert shop.stale() == {"test_total", "test_spawn"}
    warm.close()
    # The conftest imports what this is in, and no fork has seen it do that.
    shop.edit("shop/cart.py", "self.items = []", "self.items = list()")
    assert shop.stale() == CART | {"test_spawn"}
    fork = replace(shop.run("tests"), warm=True)
    shop.edit("shop/price.py", "return function", "return (lambda: 0)")
    shop.history.note(fork, ["tests"], shop.index.state(), shop.read)
    shop.edit("shop/price.py", "1 + net(x)", "net(x) + 1")
    assert shop.stale() == PRICE | CART | {"test_alone", "test_spawn"}, "what the conftests load has changed"


def test_without_a_trace_anything_that_is_imported_counts(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.run("tests", trace="no")
    assert shop.stale() == set()
    shop.edit("shop/price.py", "net(x) + 1", "1 + net(x)")
    assert shop.stale() == PRICE | CART | {"test_alone", "test_spawn"}  # the conftest imports it


def test_a_new_conftest_concerns_the_tests_below_it(shop: Shop) -> None:
    (shop.project.root / "conftest.py").write_text("")
    assert shop.stale() == set().union(*ALL.values())


def test_single_tests_are_selected_and_whole_files_where_all_of_their_tests_are_concerned(shop: Shop) -> None:
    shop.edit("shop/price.py", "net(x) + 1", "1 + net(x)")
    chosen = shop.select("shop/price.py")
    assert set(chosen.tests) == {"tests/test_cart.py::test_total", "tests/test_alone.py::test_spawn"}
    shop.edit("shop/price.py", "RATE = 2", "RATE = 1 + 1")
    chosen = shop.select("shop/price.py")
    assert set(chosen.tests) == {"tests/test_cart.py", "tests/test_price.py", "tests/test_alone.py"}


def test_files_that_were_never_run_are_selected_if_they_go_with_the_edited_one(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.run("tests/test_alone.py")
    assert shop.select("shop/cart.py").tests == ("tests/test_cart.py", "tests/test_price.py")
    assert shop.select("shop/cart.py", "tests/test_alone.py").tests[-1] != "tests/test_alone.py"


def test_failing_tests_come_first_then_the_shortest(shop: Shop) -> None:
    shop.edit("tests/test_alone.py", "alone() == 1", "alone() == 2")
    shop.edit("tests/test_cart.py", "total() == 3", "total() == 4")
    shop.run("tests")
    shop.edit("shop/price.py", "RATE = 2", "RATE = 1 + 1")
    chosen = shop.select("shop/price.py")
    assert set(chosen.tests[:2]) == {"tests/test_cart.py", "tests/test_alone.py"}
    assert set(chosen.first) == {"tests/test_cart.py::test_total", "tests/test_alone.py::test_alone"}
    budget = shop.select("shop/price.py", seconds=1e-9)
    assert budget.tests == chosen.tests[:1]
    assert budget.left_out == chosen.tests[1:]


def test_the_first_ones_run_first(shop: Shop) -> None:
    wanted = ("tests/test_price.py::test_nothing", "tests/test_cart.py::test_still_empty")
    report = shop.run("tests", trace="no", first=wanted)
    assert tuple(report.results)[:2] == wanted
    assert len(report.results) == 8


def test_tests_that_are_no_more_are_forgotten(shop: Shop) -> None:
    shop.edit("tests/test_price.py", "def test_net", "def test_net_price")
    shop.run("tests/test_price.py")
    assert {i.rpartition("::")[2] for i in shop.history.of_file(PurePosixPath("tests/test_price.py"))} == {
        "test_net_price", "test_table", "test_nothing"
    }  # fmt: skip
    shop.edit("tests/test_price.py", "def test_table(", "def test_table)")
    shop.run("tests")
    assert not shop.history.of_file(PurePosixPath("tests/test_price.py"))
    assert shop.history.of_file(PurePosixPath("tests/test_cart.py"))


def test_which_tests_cover_a_function(shop: Shop) -> None:
    covering = shop.history.covering(PurePosixPath("shop/price.py"))
    assert {test.rpartition("::")[2] for test in covering["gross"]} == {"test_total"}
    assert {test.rpartition("::")[2] for test in covering["net"]} == {"test_total", "test_net"}


def test_what_one_shared_fixture_asks_another_for_concerns_all_that_have_it(shop: Shop) -> None:
    test = """
        import pytest
        from shop.late import early, late

        @pytest.fixture(scope="module")
        def inner():
            return 1

        @pytest.fixture(scope="module")
        def outer(request):
            early()
            request.getfixturevalue("inner")
            return late()

        def test_first(outer):
            pass

        def test_second(outer):
            pass

        def test_without():
            pass
    """
    shop.project.write("shop/late.py", "def early():\n    return 1\n\ndef late():\n    return 1\n")
    shop.project.write("tests/test_late.py", test)
    shop.run("tests/test_late.py")
    for name in ("early", "late"):
        shop.edit("shop/late.py", f"def {name}():\n    return 1", f"def {name}():\n    return 2")
        assert {"test_first", "test_second"} <= shop.stale()
        shop.run("tests/test_late.py")
        assert shop.stale() == set()


def test_without_pytest_an_edit_concerns_what_executes_it(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bare = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    test = """
        import unittest
        from shop import price
        from shop.cart import Cart

        class TestCart(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.cart = Cart()
                cls.cart.add(1)

            def test_total(self):
                self.assertEqual(self.cart.total(), 3)

            def test_same(self):
                self.assertTrue(self.cart)

        def test_net():
            assert price.net(1) == 2
    """
    shop = Shop(tmp_path)
    shop.project.write("tests/test_suite.py", test)
    shop.run("tests/test_suite.py", interpreter=bare / "bin" / "python", test_args=())
    assert shop.stale() == set()
    shop.edit("shop/price.py", "return net(x) + 1", "return 1 + net(x)")
    assert shop.stale() == {"test_total"}
    shop.edit("shop/cart.py", "self.items.append(x)", "self.items += [x]")
    assert {"test_total", "test_same"} <= shop.stale()


def test_what_is_cached_concerns_the_tests_that_found_it_there(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    code = """
        from functools import lru_cache

        def slow(x):
            return x

        @lru_cache
        def quick(x):
            return slow(x)

        def use(x):
            return quick(x)

        def other(x):
            return x
    """
    test = """
        from shop.kept import other, use

        def test_first():
            assert use(1) == 1

        def test_second():
            assert use(1) == 1
    """
    shop.project.write("shop/kept.py", code)
    shop.project.write("tests/test_kept.py", test)
    shop.run("tests/test_kept.py")
    shop.edit("shop/kept.py", "def other(x):\n    return x", "def other(x):\n    return -x")
    assert shop.stale() == set()
    shop.edit("shop/kept.py", "def slow(x):\n    return x", "def slow(x):\n    return -x")
    assert shop.stale() == {"test_first", "test_second"}


def test_what_hooks_execute_concerns_all(shop: Shop) -> None:
    shop.project.write("shop/set_up.py", "def set_up():\n    return 1\n")
    shop.project.write(
        "conftest.py", "from shop.set_up import set_up\n\ndef pytest_configure(config):\n    set_up()\n"
    )
    shop.run("tests")
    shop.edit("shop/set_up.py", "return 1", "return 2")
    assert shop.stale() == set().union(*ALL.values())


def test_processes_that_are_started_otherwise_count_too(shop: Shop) -> None:
    test = """
        import multiprocessing
        from shop.other import alone

        def test_pool():
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                assert pool.apply(alone) == 1
    """
    shop.project.write("tests/test_pool.py", test)
    shop.run("tests/test_pool.py")
    shop.edit("shop/other.py", "return 1", "return 2")
    assert "test_pool" in shop.stale()
