"""Prompts of OpenCodeInterpreter's own evaluation, byte for byte.

Source: evaluation/evaluate/multi_turn of github.com/OpenCodeInterpreter/OpenCodeInterpreter@9674d8a. The whole
conversation is one user message that grows: what the model replied and what came of it are appended to it.
"""

from __future__ import annotations

from lsp_server.engine.protocol import Message
from lsp_server.evaluation.problems import Dataset, Problem

REPLY_TOKENS = 1024
"""`max_new_tokens`."""
ROUNDS = 2
"""`MAX_TRY`."""
EXECUTION = "Execution result: \n"

_HEAD = (
    "You are an exceptionally intelligent coding assistant that consistently delivers accurate and reliable "
    "responses to user instructions.\n\n@@ Instruction\n"
)
_TAIL = (
    "Please return all completed codes in one code block. \n"
    "This code block should be in the following format:\n"
    "```python\n# Your codes here\n```\n\n@@ Response"
)
_RESPONSE = "@@ Response"
_ROLE = (
    "You are tasked with providing guidance to a programmer who has drafted a code for a programming problem. \n"
    "Your role is to mimic human-like responses and offer suggestions for modifying the code based on the "
)
_HUMAN = (
    f"{_ROLE}observed execution results.\n"
    "You should refrain from directly writing code.\n"
    "Begin by thoroughly examining the existing code and its functionality.\n"
    "Analyze the @@Execution Result obtained from running the @@Existing Code. Identify any errors, unexpected "
    "behavior, or deviations from the expected output.\n"
    "Consider potential edge cases, optimization opportunities, or alternative approaches based on insights from "
    "the @@Execution Result.\n"
)
_ORACLE = (
    f"{_ROLE}canonical solution and the observed execution results.\n"
    "You should NOT directly revealing contents of the @@Canonical Solution or mentioning terms such as "
    '"canonical solution."\n'
    "You should refrain from directly writing code.\n"
    "Begin by thoroughly examining the existing code and its functionality.\n"
    "Compare the @@Existing Code with the @@Canonical Solution provided. Note any discrepancies in logic, approach, "
    "or implementation.\n"
    "Analyze the @@Execution Result obtained from running the @@Existing Code. Identify any errors, unexpected "
    "behavior, or deviations from the expected output.\n"
    "Consider potential edge cases, optimization opportunities, or alternative approaches based on insights from "
    "both the @@Canonical Solution and @@Execution Result.\n"
)
_GUIDE = (
    "Offer guidance in a clear and understandable manner, explaining the rationale behind each suggestion.\n"
    "Refrain from providing actual code solutions, but instead focus on conceptual modifications or strategies.\n"
    "Provide constructive feedback to help the programmer improve their coding skills.\n"
    "Remember, your role is to simulate human-like guidance and expertise in programming without directly "
    "implementing solutions.\n"
    "Please respond in no more than three sentences.\n\n"
)


def first_prompt(dataset: Dataset, problem: Problem) -> str:
    """Return the prompt of the first round."""
    if dataset == "humaneval":
        middle = (
            "Here is the given code to do completion:\n"
            f"```python\n{problem.prompt.strip()}\n```\n"
            "Please continue to complete the function with python programming language. You are not allowed to "
            "modify the given code and do the completion only. \n\n"
        )
    else:
        middle = (
            f"Here is the given problem and test examples:\n{problem.prompt}\n\n"
            "Please use the python programming language to solve this problem.\n"
            "Please make sure that your code includes the functions from the test samples and that the input and "
            "output formats of these functions match the test samples.\n\n"
        )
    return _HEAD + middle + _TAIL


def after_execution(prompt: str, reply: str, result: str) -> str:
    """Return the prompt of the round after one whose solution failed.

    Args:
        prompt: of that round.
        reply: the model's, as it is.
        result: what the check said of it.
    """
    return f"{prompt}\n{reply}\n\n@@ Instruction\n{EXECUTION}{result}\n"


def after_guidance(prompt: str, reply: str, guidance: str) -> str:
    """Return the prompt of the round after one that somebody has commented on.

    Args:
        prompt: of that round.
        reply: the model's, as it is.
        guidance: the comment.
    """
    response = "" if prompt.endswith(_RESPONSE) else f"\n\n{_RESPONSE}"
    return f"{prompt}{response}\n{reply}\n\n@@ Instruction\n{guidance}\n"


def ask_author(problem: Problem, solution: str, result: str, *, oracle: bool) -> list[Message]:
    """Return what the author of human-like feedback is asked.

    Args:
        problem: what was to be solved.
        solution: the sanitized code.
        result: what the check said of it.
        oracle: the author sees the canonical solution, too.
    """
    text = (
        f"{_ORACLE if oracle else _HUMAN}{_GUIDE}@@Problem\n{problem.prompt.strip()}\n\n@@Existing Code\n{solution}"
        f"\n\n@@Execution Result\n{result}\n\n"
    )
    if oracle:
        text += f"@@Canonical Solution\n{problem.canonical_solution}\n\n"
    return [Message("system", "You are a helpful assistant."), Message("user", f"{text}@@Guidance\n")]
