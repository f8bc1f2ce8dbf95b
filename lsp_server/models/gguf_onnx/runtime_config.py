"""The `genai_config.json` of a folder: what onnxruntime_genai has to know of the graph."""

from __future__ import annotations

import json

from .architecture import Architecture


def genai_config(shape: Architecture, stop_ids: list[int], beginning: int | None) -> str:
    """What onnxruntime_genai is told of the folder, as JSON.

    Args:
        shape: of the network.
        stop_ids: ids that end a reply.
        beginning: id of the beginning-of-sequence token, if there is one.
    """
    caches = {
        f"{side}_{part}_names": f"{name}.%d.{part.removesuffix('s')}"
        for side, name in (("past", "past_key_values"), ("present", "present"))
        for part in ("key", "value")
    }
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": shape.head_size,
        "hidden_size": shape.hidden,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            **{name: value for name, value in caches.items() if name.startswith("past")},
        },
        "outputs": {
            "logits": "logits",
            **{name: value for name, value in caches.items() if name.startswith("present")},
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
    search = {"max_length": shape.context, "past_present_share_buffer": True, "do_sample": False}
    return json.dumps({"model": model, "search": search}, indent=2)
