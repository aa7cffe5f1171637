"""How OpenAI counts what a call used, under whatever names a format gives the counts. Pure."""

from ambit.gateway.models.wire_format import TokenUsage


def token_usage(
    prompt: int, completion: int, total: int | None, read: int | None, written: int | None
) -> TokenUsage | None:
    """What was read from the cache, or written to it, stands inside `prompt`.

    None where the numbers contradict each other: what is not understood is charged by the hold.
    """
    read, written = read or 0, written or 0
    output = completion
    if total is not None:  # some servers count hidden reasoning in the total alone
        output = max(output, total - prompt)
    plain = prompt - read - written
    if min(completion, read, written, plain) < 0:
        return None
    return TokenUsage(plain, read, written, output)
