"""The extension knows the server's custom messages as they are."""

from extension.generate_messages import TARGET, generate


def test_the_extensions_types_are_those_of_the_server() -> None:
    assert TARGET.read_text(encoding="utf-8") == generate(), "run python -m extension.generate_messages"
