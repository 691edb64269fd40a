"""Names as people type them: compared without case, accents, articles and word order of the side.

Nothing is guessed: a word that is not in the catalogue, a slip of the pen among them, makes a name
unknown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

# What Unicode does not take apart (NFKD) though readers do
_LETTERS = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ı": "i"})
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
_WORDS = re.compile(r"[^\W\d_]+|\d+")
_SHORTEST_STEM = 3  # letters; what is left of "Nierenzyste" without "zyste" must be a word


def fold(text: str) -> str:
    """A text as it is compared: lower case, NFC, `_` and `-` as spaces, single spaces."""
    return re.sub(r"[\s_\-]+", " ", unicodedata.normalize("NFC", text)).strip().casefold()


def words_of(text: str) -> tuple[str, ...]:
    """The bare words of a text: lower case, no accents or punctuation, numbers split from letters.

    >>> words_of("Riñón_izquierdo, L1")
    ('rinon', 'izquierdo', 'l', '1')
    """
    bare = text.casefold()
    if not bare.isascii():
        apart = unicodedata.normalize("NFKD", bare.translate(_LETTERS))
        bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return tuple(_WORDS.findall(bare))


def spellings(name: str) -> tuple[str, ...]:
    """A name as it stands, and as it is typed where there are no umlauts ("Speiseroehre")."""
    if name.isascii():
        return (name,)
    plain = unicodedata.normalize("NFC", name.casefold())
    return tuple(dict.fromkeys((name, plain.translate(_UMLAUTS))))


@dataclass(frozen=True)
class Words:
    """Bare words beside a name: of one or both sides, of no meaning, of modalities and places."""

    sides: Mapping[str, str]
    both: frozenset[str]
    fillers: frozenset[str]
    pictures: frozenset[str]
    settings: frozenset[str]

    @classmethod
    def of(cls, table: Mapping[str, Iterable[str]]) -> Words:
        """From the catalogue's [words]."""
        return cls(
            sides={word: side for side in ("left", "right") for word in table[side]},
            both=frozenset(table["both"]),
            fillers=frozenset(table["fillers"]),
            pictures=frozenset(table["pictures"]),
            settings=frozenset(table["settings"]),
        )

    def key(self, words: Iterable[str]) -> str:
        """Words without articles and prepositions, joined.

        All of them where nothing else would be left.
        """
        listed = tuple(words)
        return " ".join(self.meaningful(listed) or listed)

    def meaningful(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Words without articles and prepositions.

        A letter before a number is none of them ("L1", "D 12").
        """
        followers = (*words[1:], "")
        return tuple(
            word
            for word, follower in zip(words, followers, strict=False)
            if word not in self.fillers or follower.isdigit()
        )

    def without_side(self, words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """The one side that is named ("" where none or both are) and the words without it."""
        named = {self.sides[word] for word in words if word in self.sides}
        if len(named) != 1:
            return "", tuple(word for word in words if word not in self.both)
        return named.pop(), tuple(word for word in words if word not in self.sides)

    def readings(self, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        """The words with and without the image: "liver in abdomen ct", "liver in abdomen", …"""
        yield words
        end = len(words)
        while end > 1 and words[end - 1] in self.pictures:
            end -= 1
        if end < len(words):
            yield words[:end]
            while end > 1 and words[end - 1] in self.settings:
                end -= 1
            yield words[:end]


@dataclass(frozen=True)
class Names:
    """What each name stands for: `keys` structures, `places` one place, `findings` one finding.

    `sided` holds names that say something with a side only; all are compared as `Words.key` makes
    them. `side_of` the side that a structure lies on, "" for none; `sides_of` the keys of a place's
    two sides.
    """

    words: Words
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sided: dict[str, tuple[str, ...]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    findings: dict[str, str] = field(default_factory=dict)
    side_of: dict[str, str] = field(default_factory=dict)
    sides_of: dict[str, dict[str, str]] = field(default_factory=dict)

    def keys_of(self, text: str) -> tuple[str, ...] | None:
        """The structures a text names: one, several, or None for what no name says."""
        for reading in self.words.readings(words_of(text)):
            keys = self._structures(reading) or self._finding_at_place(reading)
            if keys:
                return keys
        return None

    def _structures(self, words: tuple[str, ...]) -> tuple[str, ...] | None:
        exact = self.keys.get(self.words.key(words))
        if exact or not words:
            return exact
        side, rest = self.words.without_side(words)
        name = self.words.key(rest)
        named = self.keys.get(name)
        if not side or not rest:
            return named if rest else None
        named = self.sided.get(name, ()) + (named or ())
        return tuple(key for key in named if self.side_of[key] == side) or None

    def _finding_at_place(self, words: tuple[str, ...]) -> tuple[str, ...] | None:
        """A finding and where it is, in any order, also as one German word: "liver_lesion"."""
        side, rest = self.words.without_side(words)
        for finding, at in self._splits(self.words.meaningful(rest)):
            place = self.places.get(" ".join(at))
            if place is None:
                continue
            if side:
                place = self.sides_of.get(place, {}).get(side) or (
                    place if self.side_of.get(place) == side else None
                )
            if place is not None:
                return (f"{place}_{finding}",)
        return None

    def _splits(self, words: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Every finding that some of the words name, longest first, and the other words."""
        for length in range(len(words) - 1, 0, -1):
            for start in range(len(words) - length + 1):
                finding = self.findings.get(" ".join(words[start : start + length]))
                if finding:
                    yield finding, words[:start] + words[start + length :]
        for name, finding in self.findings.items() if len(words) == 1 else ():
            stem = words[0].removesuffix(name)
            if _SHORTEST_STEM <= len(stem) < len(words[0]):
                yield finding, (stem,)
