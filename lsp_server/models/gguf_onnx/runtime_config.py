"""The `genai_config.json` of a converted GGUF file."""

from __future__ import annotations

from lsp_server.models.exporter import runtime_config

from .architecture import Architecture


def genai_config(shape: Architecture, stop_ids: list[int], beginning: int | None) -> str:
    """What onnxruntime_genai is told of the folder, as JSON.

    Args:
        shape: of the network.
        stop_ids: ids that end a reply.
        beginning: id of the beginning-of-sequence token, if there is one.
    """
    decoder = runtime_config.Decoder(
        layers=shape.layers,
        hidden=shape.hidden,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_size=shape.head_size,
        context=shape.context,
        vocabulary=shape.vocabulary,
    )
    return runtime_config.genai_config(decoder, stop_ids, beginning)
