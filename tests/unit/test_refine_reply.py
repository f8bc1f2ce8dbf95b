"""Which code of a reply is taken."""

from __future__ import annotations

import pytest

from lsp_server.refine.reply import NoCode, code_of, is_answered

F = "def f():\n    return 1\n"
G = "def g():\n    return 2\n"


def test_the_last_block_that_defines_the_target() -> None:
    reply = f"First\n```python\ndef f():\n    return 0\n```\nbetter\n```python\n{F}```\nand use it\n```python\nf()\n```\n"
    assert code_of(reply, "f") == F


def test_a_method_may_come_without_its_class() -> None:
    assert code_of(f"```py\n{F}```", "Outer.f") == F


def test_a_block_that_the_token_limit_cut_off() -> None:
    assert code_of(f"```python\n{F}", "f") == F


def test_blocks_in_other_languages_do_not_count() -> None:
    with pytest.raises(NoCode, match="no code block"):
        code_of("```bash\nls\n```", "f")


def test_a_reply_that_is_nothing_but_code() -> None:
    assert code_of(F, "f") == F


def test_a_fence_inside_a_longer_fence() -> None:
    code = 'def f():\n    """\n    ```\n    x\n    ```\n    """\n'
    assert code_of(f"````python\n{code}````\n", "f") == code


def test_prose_is_no_code() -> None:
    with pytest.raises(NoCode, match="no code block"):
        code_of("The function is right as it is.", "f")


def test_code_for_another_function() -> None:
    with pytest.raises(NoCode, match="does not define `f`"):
        code_of(f"```python\n{G}```", "f")


def test_lines_take_the_last_block() -> None:
    assert code_of("```python\na = 1\n```\n```python\nb = 2\n```", "") == "b = 2\n"


def test_a_reply_is_answered_once_the_target_s_block_has_closed() -> None:
    reply = f"Like this:\n```python\n{F}```\n"
    answered = [is_answered(reply[:end], "f") for end in range(len(reply) + 1)]
    assert answered.index(True) == reply.rindex("```") + 3
    assert not is_answered(f"```python\n{G}```\n", "f")
