"""Text generation by servers that speak OpenAI's HTTP API.

``generator`` is for servers of others: vLLM, TGI, llama.cpp, Ray Serve. ``engine`` is for the service's own
engine process. Import them from there: each needs another client library.
"""
