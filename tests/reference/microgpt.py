"""A decoder, its gradients and its optimizer, in plain Python: a scalar at a time.

Reads a file of names, one a line, and makes up new ones: python tests/reference/microgpt.py names.txt
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


class Scalar:
    """A number that knows its sources: what it was computed from, each with this number's slope along it."""

    def __init__(self, value: float, sources: Sequence[tuple[Scalar, float]] = ()) -> None:
        self.value, self.sources, self.gradient = value, sources, 0.0

    def __add__(self, other: Scalar) -> Scalar:
        return Scalar(self.value + other.value, [(self, 1.0), (other, 1.0)])

    def __mul__(self, other: Scalar | float) -> Scalar:
        if isinstance(other, Scalar):
            return Scalar(self.value * other.value, [(self, other.value), (other, self.value)])
        return Scalar(self.value * other, [(self, other)])

    def __pow__(self, exponent: float) -> Scalar:
        return Scalar(self.value**exponent, [(self, exponent * self.value ** (exponent - 1))])

    def exp(self) -> Scalar:
        return Scalar(math.exp(self.value), [(self, math.exp(self.value))])

    def log(self) -> Scalar:
        return Scalar(math.log(self.value), [(self, 1 / self.value)])

    def relu(self) -> Scalar:
        return self * float(self.value > 0)

    def backward(self) -> None:
        """The chain rule: add to the gradient of all that this number depends on how fast this number grows with it."""
        order: list[Scalar] = []  # sources first; backwards, a number has its whole gradient before it hands it on
        met: set[Scalar] = set()

        def visit(scalar: Scalar) -> None:
            if scalar not in met:
                met.add(scalar)
                for source, _ in scalar.sources:
                    visit(source)
                order.append(scalar)

        visit(self)
        self.gradient = 1.0
        for scalar in reversed(order):
            for source, slope in scalar.sources:
                source.gradient += slope * scalar.gradient


Vector = list[Scalar]
Past = list[list[tuple[Vector, Vector]]]  # for each layer the key and the value of each token so far


def dot(xs: Vector, ys: Vector) -> Scalar:
    slopes = [slope for x, y in zip(xs, ys, strict=True) for slope in ((x, y.value), (y, x.value))]
    return Scalar(sum(x.value * y.value for x, y in zip(xs, ys, strict=True)), slopes)


def times(matrix: list[Vector], x: Vector) -> Vector:
    return [dot(row, x) for row in matrix]


def add(x: Vector, y: Vector) -> Vector:
    return [one + other for one, other in zip(x, y, strict=True)]


def softmax(xs: Vector) -> Vector:
    highest = max(x.value for x in xs)
    powers = [(x + Scalar(-highest)).exp() for x in xs]
    share = sum(powers, Scalar(0.0)) ** -1
    return [power * share for power in powers]


@dataclass
class MicroGPT:
    """As last published; the version before had context 8, init_std 0.02, zero_init and squared."""

    vocabulary: int
    context: int = 16
    width: int = 16
    heads: int = 4
    layers: int = 1
    init_std: float = 0.08
    zero_init: bool = False  # what writes to the residual stream starts at zero
    squared: bool = False  # ReLU² instead of ReLU
    rope: bool = False  # queries and keys are turned, instead of a vector added for each position

    def __post_init__(self) -> None:
        width, std, written = self.width, self.init_std, 0.0 if self.zero_init else self.init_std
        self.weights = {name: self.matrix(self.vocabulary, width, std) for name in ("token", "output")}
        if not self.rope:
            self.weights["position"] = self.matrix(self.context, width, std)
        for layer in range(self.layers):
            self.weights |= {f"{name}{layer}": self.matrix(width, width, std) for name in ("query", "key", "value")}
            self.weights[f"mix{layer}"] = self.matrix(width, width, written)
            self.weights[f"up{layer}"] = self.matrix(4 * width, width, std)
            self.weights[f"down{layer}"] = self.matrix(width, 4 * width, written)

    def matrix(self, rows: int, columns: int, std: float) -> list[Vector]:
        return [[Scalar(random.gauss(0.0, std)) for _ in range(columns)] for _ in range(rows)]

    def parameters(self) -> Vector:
        return [scalar for matrix in self.weights.values() for row in matrix for scalar in row]

    def read(self, token: int, past: Past) -> Vector:
        """The logits of what follows `token`, which joins the past."""
        weights, time = self.weights, len(past[0])
        x = weights["token"][token]
        x = self.norm(x if self.rope else add(x, weights["position"][time]))
        for layer, seen in enumerate(past):
            query, key, value = (times(weights[f"{name}{layer}"], self.norm(x)) for name in ("query", "key", "value"))
            seen.append((self.turn(key, time), value))
            x = add(x, times(weights[f"mix{layer}"], self.attend(self.turn(query, time), seen)))
            inner = [scalar.relu() for scalar in times(weights[f"up{layer}"], self.norm(x))]
            x = add(x, times(weights[f"down{layer}"], [u * u for u in inner] if self.squared else inner))
        return times(weights["output"], x)

    def norm(self, x: Vector) -> Vector:
        """x / √(mean(x²) + 0.00001)."""
        scale = (dot(x, x) * (1 / len(x)) + Scalar(1e-5)) ** -0.5
        return [scalar * scale for scalar in x]

    def attend(self, query: Vector, seen: list[tuple[Vector, Vector]]) -> Vector:
        """Each head takes a mean of the values, weighted by how well their keys match its query."""
        size, mixed = len(query) // self.heads, []
        for part in (slice(start, start + size) for start in range(0, len(query), size)):
            match = softmax([dot(query[part], key[part]) * size**-0.5 for key, _ in seen])
            mixed += [dot(match, list(values)) for values in zip(*(value[part] for _, value in seen), strict=True)]
        return mixed

    def turn(self, x: Vector, time: int) -> Vector:
        """RoPE: the values i and i + size/2 of each head turn as a pair, by time · 10000^(-2i/size)."""
        size, turned = len(x) // self.heads, list(x)
        for start in range(0, len(x), size) if self.rope else ():
            for i in range(size // 2):
                angle, a, b = time * 10_000 ** (-2 * i / size), start + i, start + i + size // 2
                turned[a] = x[a] * math.cos(angle) + x[b] * -math.sin(angle)
                turned[b] = x[b] * math.cos(angle) + x[a] * math.sin(angle)
        return turned

    def loss(self, tokens: Sequence[int]) -> Scalar:
        """How surprising each token is after those before it, in nats, on average."""
        past: Past = [[] for _ in range(self.layers)]
        chances = [softmax(self.read(token, past))[following] for token, following in pairwise(tokens)]
        return sum([chance.log() for chance in chances], Scalar(0.0)) * (-1 / len(chances))


class Adam:
    """Kingma & Ba 2014, arXiv 1412.6980, algorithm 1: the means are corrected for having started at zero."""

    def __init__(self, parameters: Vector, beta1: float, beta2: float, eps: float = 1e-8) -> None:
        self.parameters, self.beta1, self.beta2, self.eps, self.steps = parameters, beta1, beta2, eps, 0
        self.mean, self.square = [0.0] * len(parameters), [0.0] * len(parameters)

    def step(self, rate: float) -> None:
        self.steps += 1
        for i, parameter in enumerate(self.parameters):
            self.mean[i] += (1 - self.beta1) * (parameter.gradient - self.mean[i])
            self.square[i] += (1 - self.beta2) * (parameter.gradient**2 - self.square[i])
            mean = self.mean[i] / (1 - self.beta1**self.steps)
            spread = math.sqrt(self.square[i] / (1 - self.beta2**self.steps))
            parameter.value -= rate * mean / (spread + self.eps)
            parameter.gradient = 0.0


def main(path: Path, steps: int = 1000, rate: float = 0.01, temperature: float = 0.5) -> None:
    names = path.read_text(encoding="utf-8").split()
    random.shuffle(names)
    letters = ["", *sorted(set("".join(names)))]  # the empty one stands before and after each name
    network = MicroGPT(len(letters))
    adam = Adam(network.parameters(), 0.85, 0.99)
    for step in range(steps):
        name = [0, *map(letters.index, names[step % len(names)]), 0]
        (loss := network.loss(name[: network.context + 1])).backward()
        adam.step(rate * (1 - step / steps))
        print(f"step {step + 1} of {steps}: loss {loss.value:.3f}")
    for _ in range(20):
        past: Past = [[]]
        token, name = 0, []
        while len(name) < network.context and (token or not name):
            chances = softmax([logit * (1 / temperature) for logit in network.read(token, past)])
            (token,) = random.choices(range(len(letters)), [chance.value for chance in chances])
            name.append(token)
        print("".join(letters[token] for token in name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
