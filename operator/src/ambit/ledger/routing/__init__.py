"""The client's side of a ledger of several writers: which of them each operation goes to."""
