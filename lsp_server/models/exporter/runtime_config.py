"""The `genai_config.json` of a folder: what onnxruntime_genai has to know of a graph that its builder did not make."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """The shape of a decoder's graph."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    context: int
    vocabulary: int
    position_ids: bool = False
    """Positions are an input; otherwise the graph counts them itself."""
    shared_cache: bool = True
    """New keys and values are written into the buffer of the old ones (GroupQueryAttention); otherwise the graph
    returns a longer one each time."""


def genai_config(shape: Decoder, stop_ids: Sequence[int], beginning: int | None) -> str:
    """What onnxruntime_genai is told of the folder, as JSON.

    Args:
        shape: of the graph, `model.onnx`.
        stop_ids: ids that end a reply.
        beginning: id of the beginning-of-sequence token, if there is one.
    """
    inputs = ["input_ids", "attention_mask", *(["position_ids"] if shape.position_ids else [])]
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": shape.head_size,
        "hidden_size": shape.hidden,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "inputs": {
            **{name: name for name in inputs},
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }
    model = {
        # The runtime knows types by name and treats these decoders alike; it refuses names it does not know.
        "type": "llama",
        "bos_token_id": stop_ids[0] if beginning is None else beginning,
        "eos_token_id": stop_ids,
        "pad_token_id": stop_ids[0],
        "context_length": shape.context,
        "vocab_size": shape.vocabulary,
        "decoder": decoder,
    }
    search = {
        "max_length": shape.context,
        "past_present_share_buffer": shape.shared_cache,
        "do_sample": False,
    }
    return json.dumps({"model": model, "search": search}, indent=2)
