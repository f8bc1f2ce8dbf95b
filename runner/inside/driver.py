"""Entry of the process that runs the tests: reads the order from standard input before any user code is imported."""

from __future__ import annotations

import importlib.util
import json
import os
import sys


def main() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    # A name of its own, so that neither the user's modules nor an installed copy of this project can take its place.
    spec = importlib.util.spec_from_file_location(
        "oci_inside", os.path.join(here, "__init__.py"), submodule_search_locations=[here]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["oci_inside"] = package
    spec.loader.exec_module(package)
    from oci_inside.session import run  # type: ignore[import-not-found]

    order = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    os.ftruncate(0, 0)  # nobody reads it again, from whichever process has it
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.path[0] = os.getcwd()  # as `python -m pytest` has it
    run(order)


if __name__ == "__main__":
    main()
