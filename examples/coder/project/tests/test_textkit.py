import unittest

from textkit.lines import indent, number_lines, wrap
from textkit.slugs import slug, unique_slug
from textkit.words import count_words, most_common, split_words


class Words(unittest.TestCase):
    def test_words_lose_punctuation_and_case(self):
        assert split_words("Stop, stop! (Now.)") == ["stop", "stop", "now"]

    def test_counting(self):
        assert count_words("a b a") == {"a": 2, "b": 1}
        assert most_common("c b b a a", 2) == ["a", "b"]


class Lines(unittest.TestCase):
    def test_wrapping_keeps_words_whole(self):
        assert wrap("one two three", 7) == ["one two", "three"]

    def test_indenting_leaves_empty_lines_empty(self):
        assert indent("a\n\nb", "  ") == "  a\n\n  b"

    def test_numbering(self):
        assert number_lines("a\nb") == "1: a\n2: b"


class Slugs(unittest.TestCase):
    def test_a_slug_is_words_and_dashes(self):
        assert slug("Hello, World!") == "hello-world"

    def test_a_taken_slug_gets_a_number(self):
        assert unique_slug("Hello", {"hello", "hello-2"}) == "hello-3"
