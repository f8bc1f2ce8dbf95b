"""Splicing: the target changes, every other byte of the file stays."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsp_server.refine.reply import NoCode
from lsp_server.refine.source import Region, Source
from lsp_server.refine.splice import splice

NAMES = st.sampled_from(["alpha", "beta", "gamma_1", "Δelta", "naïve"])
FILLER = st.sampled_from(
    [
        "# a comment é 😀\n",
        "x = 1;  y = [1,\n  2]\n",
        "\n",
        "'''text\n    that spans\n'''\n",
        "try:\n\timport os\nexcept ImportError:\n\tos = None\n",
        "def other(a, b=2):\n    # inner 😀\n    return a\n",
        "\x0c\n",
        "class Other:\n  x: int = 3\n  def m(self): return 1\n",
        "if x:\n        z = 1\n",
        "s = 'a\\\n b'\n",
    ]
)
DECORATORS = st.sampled_from(["", "@staticmethod\n", "@dec(1,\n     2)\n@property\n"])
BODIES = st.sampled_from(
    [
        "return 1\n",
        '"""Doc 😀\n\nmore\n"""\nreturn 2\n',
        "...\n",
        "def inner():\n    return 3\nreturn inner\n",
        "text = '''a\n  b\n'''\nreturn text  # end\n",
        "if 1:\n    pass\nelse:\n    return 5\n",
    ]
)


def indented(text: str, indent: str) -> str:
    """Indent lines that do not lie inside a string (the bodies' strings never start a line with code)."""
    inside = False
    lines = []
    for line in text.splitlines(keepends=True):
        lines.append(line if inside or not line.strip() else indent + line)
        if line.count("'''") % 2:
            inside = not inside
    return "".join(lines)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, str, str]:
    """Return a file's text, the qualified name of a function in it, and the text of just that function."""
    unit = draw(st.sampled_from(["    ", "\t", "  "]))
    name = draw(NAMES)
    header = draw(st.sampled_from([f"def {name}(a, b):\n", f"async def {name}(\n    a,\n):\n"]))
    function = draw(DECORATORS) + header + indented(draw(BODIES), unit)
    qualified = name
    for outer in draw(st.lists(st.sampled_from(["Outer", "Middle", "Last"]), max_size=2, unique=True)):
        function = f"class {outer}:\n{unit}# of {outer}\n" + indented(function, unit)
        qualified = f"{outer}.{qualified}"
    before = "".join(draw(st.lists(FILLER, max_size=4)))
    after = "".join(draw(st.lists(FILLER, max_size=4)))
    text = before + function + after
    if draw(st.booleans()):
        text = text.rstrip("\n")
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    if draw(st.booleans()):
        text = "\ufeff" + text
    return text.replace("\n", newline), qualified, newline


@settings(max_examples=400)
@given(files(), BODIES)
def test_everything_outside_the_target_is_byte_identical(file: tuple[str, str, str], body: str) -> None:
    text, name, newline = file
    source = Source(text)
    target = source.find(name)
    assert target is not None
    code = f"def {name.rpartition('.')[2]}(a, b):\n" + indented(body, "    ")

    result = splice(source, target.region, code)

    lines = source.lines
    before, after = "".join(lines[: target.start - 1]), "".join(lines[target.end :])
    assert result.text.startswith(before)
    assert result.text.endswith(after)
    middle = result.text[len(before) : len(result.text) - len(after)]
    assert middle == "".join(Source(result.text).lines[result.region.start - 1 : result.region.end])
    if newline == "\r\n":
        assert "\n" not in middle.replace("\r\n", "")
    assert result.text.endswith(("\n", "\r")) == text.endswith(("\n", "\r"))
    spliced = Source(result.text).find(name)
    assert spliced is not None
    assert (spliced.start, spliced.end) == (result.region.start, result.region.end)


@settings(max_examples=200)
@given(files(), BODIES)
def test_the_new_function_is_the_reply_s(file: tuple[str, str, str], body: str) -> None:
    text, name, _ = file
    source = Source(text)
    target = source.find(name)
    assert target is not None
    last = name.rpartition(".")[2]
    code = f"def {last}(a, b):\n" + indented(body, "    ")

    result = splice(source, target.region, code)

    try:
        tree = ast.parse(result.text.lstrip("\ufeff"))
    except SyntaxError:
        ast_of_original_fails(text)
        return
    found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == last]
    expected = ast.parse(code).body[0]
    assert isinstance(expected, ast.FunctionDef)
    dumps = {ast.dump(ast.Module(strip_docstring(f.body), [])) for f in found}
    assert ast.dump(ast.Module(strip_docstring(expected.body), [])) in dumps


def ast_of_original_fails(text: str) -> None:
    """A candidate may only be broken where the file was broken before."""
    with pytest.raises(SyntaxError):
        ast.parse(text.lstrip("\ufeff"))


def strip_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    """A docstring follows its function's indentation, so its text may differ in white space."""
    first = body[0]
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return body[1:]
    return body


def spliced(text: str, name: str, code: str) -> str:
    source = Source(text)
    target = source.find(name)
    assert target is not None
    return splice(source, target.region, code).text


def test_decorators_that_the_reply_leaves_out_stay() -> None:
    text = "class A:\n    @staticmethod\n    def f(x):\n        return x\n"
    assert spliced(text, "A.f", "def f(x):\n    return x + 1\n") == text.replace("return x", "return x + 1")


def test_decorators_that_the_reply_brings_replace_the_old_ones() -> None:
    text = "class A:\n    @property\n    def f(self):\n        return 1\n"
    assert "@property" not in spliced(
        text, "A.f", "class A:\n    @cached\n    def f(self):\n        return 1\n"
    )


def test_tabs_are_kept() -> None:
    text = "class A:\n\tdef f(self):\n\t\treturn 1\n"
    code = "def f(self):\n    if self:\n        return 2\n"
    assert spliced(text, "A.f", code) == "class A:\n\tdef f(self):\n\t\tif self:\n\t\t\treturn 2\n"


def test_needed_imports_go_below_the_file_s_own() -> None:
    text = '"""Doc."""\nimport os\n\ndef f():\n    return os.sep\n'
    code = "import os\nimport math\nimport json\n\ndef f():\n    return math.pi\n"
    assert spliced(text, "f", code) == '"""Doc."""\nimport os\nimport math\n\ndef f():\n    return math.pi\n'


def test_new_functions_that_the_target_calls_come_with_it() -> None:
    text = "X = 1\n\n# about f\ndef f():\n    return X\n"
    code = "LIMIT = 3\n\ndef g():\n    return LIMIT\n\ndef unused():\n    pass\n\ndef f():\n    return g()\n"
    result = spliced(text, "f", code)
    assert (
        result
        == "X = 1\n\nLIMIT = 3\n\n\ndef g():\n    return LIMIT\n\n\n# about f\ndef f():\n    return g()\n"
    )


def test_strings_inside_the_new_code_keep_their_content() -> None:
    text = "class A:\n    def f(self):\n        return 1\n"
    code = 'def f(self):\n    return """a\n b\nc"""\n'
    namespace: dict[str, type] = {}
    exec(spliced(text, "A.f", code), namespace)
    assert namespace["A"]().f() == "a\n b\nc"


def test_code_for_another_function_is_refused() -> None:
    source = Source("def f():\n    return 1\n")
    with pytest.raises(NoCode, match="does not define `f`"):
        splice(source, Region(1, 2, "f"), "def g():\n    return 1\n")


def test_insertion_below_a_comment() -> None:
    source = Source("import os\n# add two numbers\nprint(1)")
    result = splice(source, Region(3, 2), "import os\nimport re\n\ndef add(a, b):\n    return re, a + b\n")
    assert result.text == (
        "import os\nimport re\n# add two numbers\ndef add(a, b):\n    return re, a + b\n\nprint(1)"
    )


def test_lines_of_a_selection_are_replaced() -> None:
    source = Source("a = 1\nb = 2\nc = 3\n")
    assert splice(source, Region(2, 2), "b = 20\n").text == "a = 1\nb = 20\nc = 3\n"


def test_a_selection_of_several_functions_is_replaced_by_theirs() -> None:
    text = "import math\n\ndef a():\n    return 1\n\ndef b():\n    return 2\n\ndef c():\n    return math.pi\n"
    reply = "import math\nimport re\n\ndef a():\n    return re.A\n\ndef b():\n    return 3\n\ndef c():\n    return 0\n"
    result = splice(Source(text), Region(3, 7), reply)
    assert result.text == text.replace("math\n", "math\nimport re\n", 1).replace("1", "re.A").replace(
        "2", "3"
    )
    assert result.imports == ("import re",)


def test_a_whole_file_is_replaced_by_a_reply_with_all_that_it_has() -> None:
    text = '"""What it is for."""\n\nimport math\n\n\ndef a():\n    return math.pi\n'
    reply = text.replace("import math", "import math\nfrom re import *").replace("math.pi", "A")
    assert splice(Source(text), Source(text).whole, reply).text == reply


def test_a_whole_file_that_does_not_parse_keeps_the_reply_s_imports() -> None:
    text = (
        "from __future__ import annotations\nfrom .a import b\nimport math\n\ndef f(x)\n    return math.pi\n"
    )
    reply = text.replace("f(x)", "f(x):")
    assert splice(Source(text), Source(text).whole, reply).text == reply


def test_a_whole_file_without_imports_gets_them_where_the_reply_has_them() -> None:
    text = '#!/usr/bin/env python\n"""What it is for."""\n\ndef f():\n    return 1\n'
    reply = text.replace("\n\ndef", "\nfrom __future__ import annotations\nimport re\n\ndef").replace(
        "1", "re.A"
    )
    assert splice(Source(text), Source(text).whole, reply).text == reply


def test_a_local_import_stays_where_it_is_replaced() -> None:
    text = "def f(:\n    from .late import g\n    return g\n"
    result = splice(Source(text), Region(2, 3), "from .late import g, h\nreturn h\n")
    assert result.text == "def f(:\n    from .late import g, h\n    return h\n"


def test_imports_in_the_middle_of_a_file_are_none_of_the_future() -> None:
    text = "import re\n\nA = 1\nimport math\nB = math.pi\n"
    result = splice(
        Source(text), Region(4, 5), "from __future__ import annotations\nimport math\nB = math.e\n"
    )
    assert result.text == text.replace("pi", "e")


def test_a_file_with_a_syntax_error_elsewhere_is_spliced_all_the_same() -> None:
    text = "def broken(:\n    pass\n\ndef f():\n    return 1\n"
    assert spliced(text, "f", "def f():\n    return 2\n") == text.replace("return 1", "return 2")


ACCESSORS = """\
class C:
    @property
    def x(self):
        return 1

    @x.setter
    def x(self, value):
        self.y = value
"""


def test_a_getter_is_not_its_setter() -> None:
    source = Source(ACCESSORS)
    getter = source.definitions[1]
    alone = splice(source, getter.region, "def x(self):\n    return 2\n").text
    whole = splice(source, getter.region, ACCESSORS.replace("return 1", "return 2")).text
    assert alone == whole == ACCESSORS.replace("return 1", "return 2")


def test_a_byte_order_mark_stays_in_front() -> None:
    text = "\ufeffdef f():\n    return 1\n"
    source = Source(text)
    code = "import re\n\ndef f():\n    return re\n"
    assert splice(source, Region(1, 2, "f"), code).text == "\ufeffimport re\ndef f():\n    return re\n"


def test_what_is_added_goes_below_the_shebang_and_above_its_use() -> None:
    text = "#!/usr/bin/env python\n# licence\ndef f():\n    return 1\n"
    code = "import re\n\nPAT = re.compile('x')\n\ndef f():\n    return PAT\n"
    result = spliced(text, "f", code)
    assert result.startswith("#!/usr/bin/env python\nimport re\n")
    compile(result, "m", "exec")
    exec(result, {})
