"""The user's settings, namespace `oci.*`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class SettingsError(ValueError):
    """A setting has a value that it cannot have."""


@dataclass(frozen=True)
class SandboxSettings:
    """`oci.sandbox.*`"""

    level: Literal["auto", "strict", "off"] = "auto"
    """`auto` runs tests in the best isolation that works here (bubblewrap, else Landlock); `strict` in bubblewrap only;
    `off` runs them unprotected."""
    network: bool = False
    """Whether tests may use the network."""
    readable: tuple[str, ...] = ()
    """Files and folders outside the workspace that tests may read, such as shared test data."""
    writable: tuple[str, ...] = ()
    """Folders outside the workspace that tests may write to."""


@dataclass(frozen=True)
class EngineSettings:
    """`oci.engine.*`"""

    idleUnload: float = 15.0
    """Minutes without a request after which the engine gives its memory back."""


@dataclass(frozen=True)
class Settings:
    """Every setting with its default."""

    model: str = ""
    """Catalog id of the model; empty: the default for this machine."""
    endpoint: str = ""
    """URL of an OpenAI-compatible server to use instead of our own, such as `http://127.0.0.1:8000/v1`."""
    endpointToken: str = ""
    """Bearer token for that server."""
    rounds: int = 3
    """Refinement rounds at most."""
    candidates: int = 3
    """Replies tried per round, the first greedy; docs/evaluation.md has what that is worth."""
    timeLimit: float = 120.0
    """Seconds for one request."""
    onSave: Literal["off", "test", "refine"] = "test"
    """`test` runs the tests that a saved file may concern, and shows what fails; `refine` also works on a repair in the
    background, so that it is ready when it is asked for; `off` runs nothing unasked."""
    interpreter: str = ""
    """Python that runs the tests; empty: `.venv`, `VIRTUAL_ENV`, then PATH."""
    testArgs: tuple[str, ...] = ()
    """Further arguments for pytest."""
    testTimeout: float = 10.0
    """Seconds that one test may take."""
    runTimeout: float = 60.0
    """Seconds that one run of the tests may take."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """Commands that run other tools on a file, `{file}`, by the name that their diagnostics have: with these a repair of
    what they report is checked. Ruff, mypy and pyright are known."""
    collectSessions: bool = False
    """Whether what was asked, answered and decided is written down on this machine, with secrets and paths taken out, in
    the form that OpenCodeInterpreter was trained on. `oci-companion sessions export` and `purge` give and delete it."""
    sandbox: SandboxSettings = SandboxSettings()
    engine: EngineSettings = EngineSettings()
    logLevel: Literal["error", "warning", "info", "debug"] = "info"
    """How much the log tells."""


def parse(values: Mapping[str, Any] | None) -> tuple[Settings, list[str]]:
    """Read settings as a client sends them, nested or with dotted names.

    Args:
        values: the `oci` section; unknown names are ignored.

    Returns:
        The settings, where a wrong value has become its default, and a sentence for each wrong value.
    """
    problems: list[str] = []
    settings = _read(Settings, _nest(values or {}), "oci", problems)
    return settings, problems


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in values.items():
        head, _, rest = name.removeprefix("oci.").partition(".")
        value = {rest: value} if rest else value
        if isinstance(value, Mapping):
            value = {**nested.get(head, {}), **_nest(value)}
        nested[head] = value
    return nested


def _read(kind: type[T], values: Mapping[str, Any], prefix: str, problems: list[str]) -> T:
    hints = get_type_hints(kind)
    read: dict[str, Any] = {}
    for each in fields(kind):  # type: ignore[arg-type]
        value = values.get(each.name)
        if value is None:
            continue
        name = f"{prefix}.{each.name}"
        hint = hints[each.name]
        if isinstance(hint, type) and issubclass(hint, SandboxSettings | EngineSettings):
            if isinstance(value, Mapping):
                read[each.name] = _read(hint, value, name, problems)
            else:
                problems.append(f"{name} is not a group of settings; its defaults are used.")
            continue
        try:
            read[each.name] = _value(hint, value)
        except SettingsError as error:
            default = each.default if each.default is not MISSING else {}
            problems.append(f"{name} {error}; its default ({default!r}) is used.")
    return kind(**read)


def _value(hint: Any, value: Any) -> Any:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise SettingsError(f"is {value!r}, not one of {', '.join(map(str, get_args(hint)))}")
        return value
    if get_origin(hint) is Mapping:
        pairs = value.items() if isinstance(value, Mapping) else [(0, 0)]
        if not all(isinstance(part, str) for pair in pairs for part in pair):
            raise SettingsError("is not an object of strings")
        return dict(value)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise SettingsError("is not a list of strings")
        return tuple(value)
    if hint is bool:
        if not isinstance(value, bool):
            raise SettingsError(f"is {value!r}, not true or false")
        return value
    if hint in (int, float):
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise SettingsError(f"is {value!r}, not a number above 0")
        return hint(value)
    if not isinstance(value, str):
        raise SettingsError(f"is {value!r}, not a string")
    return value
