"""Budget: an account at the ledger, and its usage mirrored to status."""
