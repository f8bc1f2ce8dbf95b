"""The choice of the draft width."""

import pytest

from lsp_server.engine.tuning import best


@pytest.mark.parametrize(
    ("seconds", "width"),
    [
        # Memory-bound: a wider pass costs hardly more.
        ({0: 10, 2: 10.5, 4: 11, 7: 12}, 7),
        # Compute-bound: twice the tokens, twice the time.
        ({0: 10, 2: 30, 4: 50, 7: 80}, 0),
        # In between.
        ({0: 10, 2: 16, 4: 20, 7: 33}, 4),
    ],
)
def test_the_width_that_gives_most_tokens_a_second(seconds: dict[int, float], width: int) -> None:
    assert best(seconds) == width
