"""ModelRoute: whether the gateway may read its credential, and can."""
