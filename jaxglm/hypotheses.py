"""Floor 1: linear hypotheses in words, "x1 = 2*x2, C(g)[T.b] = 0", as a matrix equation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_SIGNS = "+-*/()=,"


class Token(NamedTuple):
    """A piece of a hypothesis: `kind` is "name", "number", "end" or the sign itself."""

    kind: str
    value: float
    start: int


def parse_hypotheses(
    text: str | Sequence[str], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """(R, q), R (k, p) and q (k,), of the linear hypotheses R beta = q written in `text`.

    Hypotheses are separated by commas, or given as a sequence of strings. Each equates sums of
    coefficients and numbers: "x1 = x2", "2*(a - b) = c + 1", "a = b = 0" (a = b and b = 0); without
    "=" the expression is equated to 0. `names` are the coefficients in order. A name may contain
    any characters, the longest that fits is meant; quotes or backticks settle doubtful cases.

    >>> R, q = parse_hypotheses("x1 = x2, 2*C(g)[T.b] = 1", ["x1", "x2", "C(g)[T.b]"])
    >>> R.tolist(), q.tolist()
    ([[1.0, -1.0, 0.0], [0.0, 0.0, 2.0]], [0.0, 1.0])
    """
    lines = [text] if isinstance(text, str) else list(text)
    rows = [row for line in lines for row in _Parser(line, list(names)).hypotheses()]
    if not rows:
        raise ValueError('hypotheses: none given; allowed is text such as "x1 = x2, x3 = 0".')
    stacked = np.array(rows)
    return stacked[:, :-1], 0.0 - stacked[:, -1]


class _Parser:
    """Recursive descent; the value of an expression is its p coefficients and its constant."""

    def __init__(self, text: str, names: list[str]) -> None:
        self.text, self.names = text, names
        self.tokens = iter(_tokenise(text, names))
        self.next = next(self.tokens)

    def hypotheses(self) -> list[np.ndarray]:
        rows = []
        while self.next.kind != "end":
            rows += self._chain()
            if self.next.kind != "end":
                self._take(",")
        return rows

    def _chain(self) -> list[np.ndarray]:
        start = self.next
        sides = [self._sum()]
        while self.next.kind == "=":
            self._take("=")
            sides.append(self._sum())
        if len(sides) == 1:
            sides.append(np.zeros_like(sides[0]))
        rows = [left - right for left, right in zip(sides[:-1], sides[1:], strict=True)]
        if not all(np.any(row[:-1]) for row in rows):
            raise _error(self.text, start.start, "no coefficient is left", "a linear equation")
        return rows

    def _sum(self) -> np.ndarray:
        total = self._product()
        while self.next.kind in ("+", "-"):
            sign = 1.0 if self._take(self.next.kind).kind == "+" else -1.0
            total = total + sign * self._product()
        return total

    def _product(self) -> np.ndarray:
        value = self._factor()
        while self.next.kind in ("*", "/"):
            sign = self._take(self.next.kind)
            other = self._factor()
            if sign.kind == "*" and not np.any(value[:-1]):
                value = value[-1] * other
            elif np.any(other[:-1]) or (sign.kind == "/" and other[-1] == 0):
                raise _error(self.text, sign.start, f"{sign.kind!r} by no number", "linear sums")
            else:
                value = value * other[-1] if sign.kind == "*" else value / other[-1]
        return value

    def _factor(self) -> np.ndarray:
        token = self.next
        if token.kind in ("+", "-"):
            self._take(token.kind)
            return self._factor() if token.kind == "+" else -self._factor()
        if token.kind == "(":
            self._take("(")
            value = self._sum()
            self._take(")")
            return value
        if token.kind not in ("name", "number"):
            raise _error(self.text, token.start, _found(token), "a coefficient, a number or '('")
        self._take(token.kind)
        value = np.zeros(len(self.names) + 1)
        if token.kind == "name":
            value[int(token.value)] = 1.0
        else:
            value[-1] = token.value
        return value

    def _take(self, kind: str) -> Token:
        token = self.next
        if token.kind != kind:
            raise _error(self.text, token.start, _found(token), repr(kind))
        self.next = next(self.tokens)
        return token


def _tokenise(text: str, names: list[str]) -> list[Token]:
    order = sorted(range(len(names)), key=lambda i: -len(names[i]))
    tokens, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token, at = _next_token(text, at, names, order)
        tokens.append(token)
    # Twice: taking the last token looks one further.
    return [*tokens, Token("end", 0.0, at), Token("end", 0.0, at)]


def _next_token(text: str, at: int, names: list[str], order: list[int]) -> tuple[Token, int]:
    if text[at] in "`'\"" and (close := text.find(text[at], at + 1)) > 0:
        name = text[at + 1 : close]
        if name in names:
            return Token("name", names.index(name), at), close + 1
    for i in order:
        if names[i] and text.startswith(names[i], at) and _stands_alone(text, at, names[i]):
            return Token("name", i, at), at + len(names[i])
    if number := _NUMBER.match(text, at):
        return Token("number", float(number.group()), at), number.end()
    if text[at] in _SIGNS:
        return Token(text[at], 0.0, at), at + 1
    raise _error(text, at, "no known name", f"names among {', '.join(names)}")


def _stands_alone(text: str, at: int, name: str) -> bool:
    """Whether `name` at this place is no part of a longer word, nor a bare number."""
    end = at + len(name)
    continues = end < len(text) and bool(re.match(r"\w\w", name[-1] + text[end]))
    return not continues and _NUMBER.fullmatch(name) is None


def _found(token: Token) -> str:
    if token.kind == "end":
        return "the end"
    return f"a {token.kind}" if token.kind.isalpha() else repr(token.kind)


def _error(text: str, at: int, got: str, allowed: str) -> ValueError:
    return ValueError(f"hypotheses={text!r}: {got} at {text[at:]!r}; allowed here: {allowed}.")
