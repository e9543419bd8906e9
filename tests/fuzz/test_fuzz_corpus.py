"""The fuzzers' corpus and seeded mutations of it, without atheris: what once broke a parser never does again."""

import random
from pathlib import Path

import pytest
from fuzz_targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
MUTATIONS = 400


def kept(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))] + list(TARGETS[name].seeds)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One to four of: flip a bit, cut, double, drop, insert, swap in a boundary value."""
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found) + 1)
        match chance.randrange(6):
            case 0 if at < len(found):
                found[at] ^= 1 << chance.randrange(8)
            case 1:
                del found[at:]
            case 2:
                found[at:at] = found[at : at + chance.randint(1, 32)]
            case 3:
                del found[at : at + chance.randint(1, 8)]
            case 4:
                found[at:at] = chance.randbytes(chance.randint(1, 8))
            case _:
                found[at : at + 2] = chance.choice((b"\x00\x00", b"\xff\xff", b"\x7f\xff", b"\x80\x00", b"\x00\x01"))
    return bytes(found)


@pytest.mark.parametrize("name", TARGETS)
def test_the_kept_corpus(name: str) -> None:
    for data in kept(name):
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_seeded_mutations(name: str, seed: int) -> None:
    chance, inputs = random.Random(f"{seed} {name}"), kept(name)
    for _ in range(MUTATIONS):
        data = mutated(chance.choice(inputs), chance)
        try:
            TARGETS[name].run(data)
        except Exception as error:
            raise AssertionError(f"target {name}, input {data.hex()}") from error


def test_every_folder_of_the_corpus_has_its_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)
