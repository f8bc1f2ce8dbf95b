"""Whether products of bytes are exact here is found by multiplying, and is what the processor says of itself."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from lsp_server.models import byte_products, machine


def test_exact_products_go_with_the_processors_instructions() -> None:
    # Not by the name of the processor, and not by a skip: on others than x86 exact products are all there is to see.
    exact = byte_products.exact()
    if platform.machine() == "x86_64" and Path("/proc/cpuinfo").is_file():
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        assert exact == bool(re.search(r"avx512_vnni|avx_vnni|amx_int8", flags))
    assert machine.multiplies_bytes() == exact
