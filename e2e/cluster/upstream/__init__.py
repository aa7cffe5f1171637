"""The upstream programs of the embedded cluster: what each is built from, built once and cached by content."""
