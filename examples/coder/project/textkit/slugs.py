def slug(title):
    kept = [character if character.isalnum() else " " for character in title.lower()]
    return "-".join("".join(kept).split())


def unique_slug(title, taken):
    base = slug(title)
    candidate, number = base, 2
    while candidate in taken:
        candidate, number = f"{base}-{number}", number + 1
    return candidate
