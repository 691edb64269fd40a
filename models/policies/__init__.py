"""Policies: `locator` looks at an embedding, `chat` asks a language model."""
