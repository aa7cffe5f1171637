"""HTTP/1.1, hand-made on asyncio and httptools: strict to clients, pooled to providers, no knowledge of models."""
