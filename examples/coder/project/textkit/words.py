def split_words(text):
    return [word.strip(".,;:!?\"'()").lower() for word in text.split() if word.strip(".,;:!?\"'()")]


def count_words(text):
    counts = {}
    for word in split_words(text):
        counts[word] = counts.get(word, 0) + 1
    return counts


def most_common(text, number):
    counts = count_words(text)
    return sorted(counts, key=lambda word: (-counts[word], word))[:number]
