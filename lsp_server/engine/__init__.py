"""The model behind an OpenAI-compatible endpoint: messages in, text out."""
