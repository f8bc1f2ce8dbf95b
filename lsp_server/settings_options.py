"""The command line's options that are settings: model, rounds, limits, sandbox."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from lsp_server.settings import Settings, parse


class UsageError(Exception):
    """The command line asks for something that cannot be done; the message says what to write instead."""


def at_least(least: int) -> Callable[[str], int]:
    """Return what reads a number of so much or more, for an option's `type`."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"'{text}' is no number from {least} on")
        return int(text)

    return read


def add_jobs_option(command: argparse.ArgumentParser) -> None:
    """Give a command the option that says how many tasks are worked on at once."""
    command.add_argument(
        "--jobs",
        type=at_least(1),
        default=1,
        metavar="N",
        help="tasks at once, where the endpoint gains by it",
    )


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Give a command the options that say who answers."""
    command.add_argument("--model", default="", metavar="ID")
    command.add_argument(
        "--endpoint",
        default="",
        metavar="URL",
        help="an OpenAI-compatible server; its token: OCI_ENDPOINT_TOKEN",
    )


def add_settings_options(command: argparse.ArgumentParser) -> None:
    """Give a command the options that `settings_of` reads."""
    command.add_argument("--rounds", type=int, default=Settings.rounds, metavar="N")
    command.add_argument(
        "--candidates", type=int, default=Settings.candidates, metavar="N", help="replies tried per round"
    )
    command.add_argument("--time-limit", type=float, default=120.0, metavar="SECONDS")
    command.add_argument("--test-timeout", type=float, default=10.0, metavar="SECONDS", help="for one test")
    command.add_argument(
        "--run-timeout", type=float, default=60.0, metavar="SECONDS", help="for all tests once"
    )
    add_model_options(command)
    command.add_argument("--interpreter", default="", metavar="PYTHON", help="the Python that runs the tests")
    command.add_argument("--sandbox", default="auto", choices=["auto", "strict", "off"])
    command.add_argument("--network", action="store_true", help="tests may use the network")
    for may, what in (("readable", "read"), ("writable", "write to")):
        command.add_argument(
            f"--{may}",
            action="append",
            default=[],
            metavar="PATH",
            help=f"outside the workspace, tests may {what} it",
        )


def settings_of(options: argparse.Namespace) -> Settings:
    """Return a command's options as settings, held to the same rules as an editor's.

    Args:
        options: of a command that `add_settings_options` was called for.

    Raises:
        UsageError: one of them has a value that it cannot have.
    """
    settings, problems = parse(
        {
            "model": options.model,
            "endpoint": options.endpoint,
            "endpointToken": os.environ.get("OCI_ENDPOINT_TOKEN", ""),
            "rounds": options.rounds,
            "candidates": options.candidates,
            "timeLimit": options.time_limit,
            "testTimeout": options.test_timeout,
            "runTimeout": options.run_timeout,
            "interpreter": options.interpreter,
            "sandbox": {
                "level": options.sandbox,
                "network": options.network,
                "readable": [str(Path(path).resolve()) for path in options.readable],
                "writable": [str(Path(path).resolve()) for path in options.writable],
            },
        }
    )
    if problems:
        raise UsageError(problems[0])
    return settings
