"""Text of about a number of tokens: the same for the same seed, on every machine."""

from __future__ import annotations

import random
from bisect import bisect_right
from typing import Final

from pytest_servebench.errors import OptionError
from pytest_servebench.streaming.formats import Tokenizer, token_count

# Short and common, so that tokenizers trained on English text have one token for each.
_ENGLISH: Final = (
    "the of and to in is you that it he was for on are as with his they at be this have from or "
    "one had by word but not what all were we when your can said there use an each which she do "
    "how their if will up other about out many then them these so some her would make like him "
    "into time has look two more write go see number no way could people my than first water been "
    "call who oil its now find long down day did get come made may part over new sound take only "
    "little work know place year live me back give most very after thing our just name good "
    "sentence man think say great where help through much before line right too mean old any same "
    "tell boy follow came want show also around form three small set put end does another well "
    "large must big even such because turn here why ask went men read need land different home us "
    "move try kind hand picture again change off play spell air away animal house point page "
    "letter mother answer found study still learn should world high every near add food between "
    "own below country plant last school father keep tree never start city earth eye light "
    "thought head under story saw left few while along might close something seem next hard open "
    "example begin life always those both paper together got group often run"
)
WORDS: Final = tuple(_ENGLISH.split())
_ROUND: Final = 16  # words that are added at a time, beyond one for each token


class Writer:
    """Writes texts of about a number of tokens.

    Args:
        seed: of the choice of words.
        tokenizer: returns the number of tokens of a text; without one, each word counts as one.
    """

    def __init__(self, seed: int, tokenizer: Tokenizer | None = None) -> None:
        self._seed = seed
        self._tokenizer = tokenizer

    def text(self, key: object, tokens: int) -> str:
        """Return a text of its own for each ``key``.

        With a tokenizer, it has ``tokens`` or, if words have several, slightly fewer; but at least
        one word. A shorter text of the same key is a prefix of a longer one.
        """
        # Only random() of a text's seed is the same in all versions of Python.
        draw = random.Random(f"{self._seed} {key}").random
        words = [WORDS[int(draw() * len(WORDS))] for _ in range(tokens)]
        if self._tokenizer is None:
            return " ".join(words)
        count = self._count(words)
        # A token may be more than a word. One too many: a truncated text may have just as many.
        while count <= tokens:
            words += [WORDS[int(draw() * len(WORDS))] for _ in range(max(tokens // 4, _ROUND))]
            before, count = count, self._count(words)
            if count <= before:
                raise OptionError(
                    f"tokenizer={self._tokenizer!r} counts {count} tokens in {len(words)} words, "
                    f"no more than in fewer words, although {tokens} are wanted: turn its "
                    "truncation off (truncation=False), or ask for fewer tokens."
                )
        most = bisect_right(
            range(1, len(words) + 1), tokens, key=lambda number: self._count(words[:number])
        )
        return " ".join(words[: max(most, 1)])

    def _count(self, words: list[str]) -> int:
        assert self._tokenizer is not None
        where = f"tokenizer={self._tokenizer!r}"
        return token_count(self._tokenizer, " ".join(words), where, OptionError)
