"""The official evaluation's prompts, as literal bytes (OpenCodeInterpreter@9674d8a, evaluation/evaluate)."""

from __future__ import annotations

from lsp_server.engine.protocol import Message
from lsp_server.evaluation import official
from lsp_server.evaluation.dialogue import Dialogue, begin
from lsp_server.evaluation.problems import Problem

PROBLEM = Problem(
    "Tiny/1",
    '\n\ndef add(a, b):\n    """Return {a} + {b}."""\n',
    "add",
    "    return a + b\n",
    b"{}\n",
)
HUMANEVAL = (
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable responses"
    " to user instructions.\n"
    "\n"
    "@@ Instruction\n"
    "Here is the given code to do completion:\n"
    "```python\n"
    'def add(a, b):\n    """Return {a} + {b}."""\n'
    "```\n"
    "Please continue to complete the function with python programming language. You are not allowed to modify the "
    "given code and do the completion only. \n"
    "\n"
    "Please return all completed codes in one code block. \n"
    "This code block should be in the following format:\n"
    "```python\n"
    "# Your codes here\n"
    "```\n"
    "\n"
    "@@ Response"
)
MBPP = (
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable responses"
    " to user instructions.\n"
    "\n"
    "@@ Instruction\n"
    "Here is the given problem and test examples:\n"
    '\n\ndef add(a, b):\n    """Return {a} + {b}."""\n'
    "\n"
    "\n"
    "Please use the python programming language to solve this problem.\n"
    "Please make sure that your code includes the functions from the test samples and that the input and output "
    "formats of these functions match the test samples.\n"
    "\n"
    "Please return all completed codes in one code block. \n"
    "This code block should be in the following format:\n"
    "```python\n"
    "# Your codes here\n"
    "```\n"
    "\n"
    "@@ Response"
)
HUMAN = """\
You are tasked with providing guidance to a programmer who has drafted a code for a programming problem.\x20
Your role is to mimic human-like responses and offer suggestions for modifying the code based on the observed \
execution results.
You should refrain from directly writing code.
Begin by thoroughly examining the existing code and its functionality.
Analyze the @@Execution Result obtained from running the @@Existing Code. Identify any errors, unexpected behavior, \
or deviations from the expected output.
Consider potential edge cases, optimization opportunities, or alternative approaches based on insights from the \
@@Execution Result.
Offer guidance in a clear and understandable manner, explaining the rationale behind each suggestion.
Refrain from providing actual code solutions, but instead focus on conceptual modifications or strategies.
Provide constructive feedback to help the programmer improve their coding skills.
Remember, your role is to simulate human-like guidance and expertise in programming without directly implementing \
solutions.
Please respond in no more than three sentences.

@@Problem
def add(a, b):
    \"\"\"Return {a} + {b}.\"\"\"

@@Existing Code
SOLUTION

@@Execution Result
RESULT

@@Guidance
"""
ORACLE = """\
You are tasked with providing guidance to a programmer who has drafted a code for a programming problem.\x20
Your role is to mimic human-like responses and offer suggestions for modifying the code based on the canonical \
solution and the observed execution results.
You should NOT directly revealing contents of the @@Canonical Solution or mentioning terms such as "canonical \
solution."
You should refrain from directly writing code.
Begin by thoroughly examining the existing code and its functionality.
Compare the @@Existing Code with the @@Canonical Solution provided. Note any discrepancies in logic, approach, or \
implementation.
Analyze the @@Execution Result obtained from running the @@Existing Code. Identify any errors, unexpected behavior, \
or deviations from the expected output.
Consider potential edge cases, optimization opportunities, or alternative approaches based on insights from both the \
@@Canonical Solution and @@Execution Result.
Offer guidance in a clear and understandable manner, explaining the rationale behind each suggestion.
Refrain from providing actual code solutions, but instead focus on conceptual modifications or strategies.
Provide constructive feedback to help the programmer improve their coding skills.
Remember, your role is to simulate human-like guidance and expertise in programming without directly implementing \
solutions.
Please respond in no more than three sentences.

@@Problem
def add(a, b):
    \"\"\"Return {a} + {b}.\"\"\"

@@Existing Code
SOLUTION

@@Execution Result
RESULT

@@Canonical Solution
    return a + b


@@Guidance
"""


def test_first_prompts() -> None:
    assert official.first_prompt("humaneval", PROBLEM) == HUMANEVAL
    assert official.first_prompt("mbpp", PROBLEM) == MBPP


def test_the_authors_questions() -> None:
    system = Message("system", "You are a helpful assistant.")
    assert official.ask_author(PROBLEM, "SOLUTION", "RESULT", oracle=False) == [
        system,
        Message("user", HUMAN),
    ]
    assert official.ask_author(PROBLEM, "SOLUTION", "RESULT", oracle=True) == [
        system,
        Message("user", ORACLE),
    ]


def sent(dialogue: Dialogue) -> str:
    (message,) = dialogue.messages
    assert message.role == "user"
    return message.content


def test_execution_feedback_is_appended_to_the_one_message() -> None:
    dialogue = begin("official", "humaneval", PROBLEM)
    assert sent(dialogue) == HUMANEVAL
    dialogue.replied("FIRST ")
    dialogue.executed("Execution timed out.")
    second = HUMANEVAL + "\nFIRST \n\n@@ Instruction\nExecution result: \nExecution timed out.\n"
    assert sent(dialogue) == second
    dialogue.replied("SECOND")
    dialogue.executed("AGAIN")
    assert sent(dialogue) == second + "\nSECOND\n\n@@ Instruction\nExecution result: \nAGAIN\n"


def test_guidance_has_no_prefix_and_reopens_the_response() -> None:
    dialogue = begin("official", "mbpp", PROBLEM)
    dialogue.replied("FIRST")
    dialogue.guided("Look again.")
    second = MBPP + "\nFIRST\n\n@@ Instruction\nLook again.\n"
    assert sent(dialogue) == second
    dialogue.replied("SECOND")
    dialogue.guided("And again.")
    assert sent(dialogue) == second + "\n\n@@ Response\nSECOND\n\n@@ Instruction\nAnd again.\n"


def test_conversations_are_kept_in_turns() -> None:
    dialogue = begin("official", "humaneval", PROBLEM)
    dialogue.replied("FIRST")
    dialogue.executed("RESULT")
    dialogue.replied("SECOND")
    assert list(dialogue.turns) == [
        Message("user", HUMANEVAL),
        Message("assistant", "FIRST"),
        Message("user", "Execution result: \nRESULT"),
        Message("assistant", "SECOND"),
    ]


def test_the_companions_form_has_turns_of_their_own() -> None:
    dialogue = begin("companion", "humaneval", PROBLEM)
    (question,) = dialogue.messages
    assert "```python\ndef add(a, b):" in question.content
    assert "@@" not in question.content
    dialogue.replied("FIRST")
    dialogue.executed("RESULT")
    assert list(dialogue.messages) == [
        question,
        Message("assistant", "FIRST"),
        Message("user", "Execution result: \nRESULT"),
    ]
