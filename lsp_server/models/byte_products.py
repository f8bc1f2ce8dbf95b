"""Whether the runtime sums products of bytes exactly on this processor, which a model at int8 needs.

Without an instruction for it (VNNI on x86, dot products on ARM), sums of two products are cut off at 16 bits, and a
model at int8 would be slower than one at int4, too.

    python -m lsp_server.models.byte_products      (ends with status 0 if it does)
"""

from __future__ import annotations

import os
import sys

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SIZE = 64


def exact() -> bool:
    """Multiply the largest bytes there are, and see."""
    # Not above: which runtime a process has is decided before any is loaded (`engine.runtime`).
    import onnxruntime  # type: ignore[import-untyped]

    operator = helper.make_node(
        "MatMulInteger", ["activations", "weights", "middle"], ["out"], name="product"
    )
    graph = helper.make_graph(
        [operator],
        "product",
        [helper.make_tensor_value_info("activations", TensorProto.UINT8, [SIZE, SIZE])],
        [helper.make_tensor_value_info("out", TensorProto.INT32, [SIZE, SIZE])],
        [
            numpy_helper.from_array(np.full((SIZE, SIZE), 127, dtype=np.int8), "weights"),
            numpy_helper.from_array(np.array(128, dtype=np.uint8), "middle"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    out = session.run(None, {"activations": np.full((SIZE, SIZE), 255, dtype=np.uint8)})[0]
    return bool((out == (255 - 128) * 127 * SIZE).all())


if __name__ == "__main__":
    sys.exit(0 if exact() else 1)
