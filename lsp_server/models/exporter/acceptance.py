"""What an exported folder is compared on, and how near it must come; shared by every exporter."""

from __future__ import annotations

STRUCTURE_TOLERANCE = 5e-4
"""Largest |Δlogit| over the logits' largest magnitude that two fp32 graphs of one network may show (rounding
leaves about 1e-5; a wrong rotary factor, norm or bias leaves more than 0.05)."""

PROMPTS = (
    'def is_prime(n: int) -> bool:\n    """Return whether n is prime."""\n    if n < 2:\n        return False\n'
    "    for d in range(2, int(n ** 0.5) + 1):\n        if n % d == 0:\n            return False\n    return True\n",
    "import json\nfrom pathlib import Path\n\n\nclass Store:\n    def __init__(self, path: Path) -> None:\n"
    "        self.path = path\n        self.items: dict[str, int] = {}\n\n    def load(self) -> None:\n"
    "        if self.path.exists():\n            self.items = json.loads(self.path.read_text())\n\n"
    "    def save(self) -> None:\n        self.path.write_text(json.dumps(self.items, indent=2))\n",
    "The test fails with an AssertionError: expected [1, 2, 3] but the function returned [3, 2, 1]. The reason is "
    "that the list is reversed before it is returned. To fix this, remove the call to `reverse` and return the "
    "list as it was built.\n\n```python\ndef collect(node):\n    out = []\n    while node:\n"
    "        out.append(node.value)\n        node = node.next\n    return out\n```\n",
    'Execution result: \nTraceback (most recent call last):\n  File "test_gcd.py", line 7, in test_gcd\n'
    "    assert gcd(35, 21) == 7\nRecursionError: maximum recursion depth exceeded in comparison\n",
)
"""Fixed texts of the kind the models read and write: code, prose about code, a traceback."""

ACCEPTED = {
    # precision: (least top-1 agreement, largest mean KL in nats)
    "fp32": (0.995, 1e-3),
    "fp16": (0.98, 5e-3),
    "int8": (0.75, 0.2),
    "int4": (0.8, 0.2),
}
"""What a whole folder must reach. Of the 1.5B default, int8 by rows keeps 99.4 % and 0.0005, int4 at block 32 96 % and
0.044; tiny models of random weights, which tests are made with, lose more to the same rounding. A wrong graph agrees on
under a tenth of the tokens."""


class ParityError(Exception):
    """The exported model does not compute what its source computes."""
