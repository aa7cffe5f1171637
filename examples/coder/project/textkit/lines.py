def wrap(text, width):
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def indent(text, prefix):
    return "\n".join(prefix + line if line else line for line in text.split("\n"))


def number_lines(text):
    return "\n".join(f"{number}: {line}" for number, line in enumerate(text.split("\n"), start=1))
