"""The model itself behind OpenAI's HTTP API: chat, completions, embeddings, models.

The fields beyond OpenAI's own are named as in vLLM.
"""
