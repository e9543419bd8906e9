"""The tree and its heads against RFC 6962's own definition, and against each other."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing import chain
from signing.chain import ChainError, Frontier

BODIES = st.lists(st.binary(max_size=20), max_size=600)


def tree_hash(leaves):
    """MTH of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + tree_hash(leaves[:split]) + tree_hash(leaves[split:])).digest()


@pytest.mark.clause("21 CFR 11.10(a)")
@given(BODIES)
def test_the_frontier_gives_the_root_of_rfc_6962(bodies):
    frontier = Frontier()
    for count, body in enumerate(bodies):
        assert frontier.size == count
        frontier.append(chain.leaf(body))
    assert frontier.root() == tree_hash(bodies)


def test_the_known_roots_of_certificate_transparency():
    """The reference vectors that RFC 6962 implementations share (certificate-transparency, merkletree tests)."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    roots = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    frontier = Frontier()
    for count, text in enumerate(inputs, start=1):
        frontier.append(chain.leaf(bytes.fromhex(text)))
        assert frontier.root().hex() == roots.get(count, frontier.root().hex())


@given(st.integers(0, 5000))
def test_complete_subtrees_cover_all_leaves_once(size):
    found = chain.complete_subtrees(size)
    spans = [(position << level, (position + 1) << level) for level, position in found]
    assert [begin for begin, _ in spans] == [0, *[end for _, end in spans]][: len(spans)]
    assert (spans[-1][1] if spans else 0) == size
    assert [level for level, _ in found] == sorted({level for level, _ in found}, reverse=True)


@given(st.integers(1, 1200))
def test_tiles_and_frontier_agree(size):
    leaves = [chain.leaf(b"%d" % number) for number in range(size)]
    frontier, tiles = Frontier(), []
    for hashed in leaves:
        tiles += frontier.append(hashed)
    assert tiles == [(8, n, chain.subtree(leaves[n << 8 : (n + 1) << 8])) for n in range(size >> 8)]
    for (level, position), (stored, root) in zip(chain.complete_subtrees(size), frontier.roots, strict=True):
        assert (level, root) == (stored, chain.subtree(leaves[position << level : (position + 1) << level]))


@given(st.integers(0, 2**40), st.binary(min_size=32, max_size=32), st.lists(st.binary(min_size=1, max_size=80)))
def test_a_note_says_what_was_written(size, root, signatures):
    name = chain.origin("line 3/ä", 7)
    assert name == "linewarden/line-3--/00000007"
    text = chain.head_text(name, size, root)
    witness = ("witness.example", b"wwww", b"other")
    written = chain.note(text, [*((name, b"abcd", made) for made in signatures), witness])
    if not signatures:
        assert chain.parse_note(written).signatures == ()
        return
    said = chain.parse_note(written)
    assert (said.origin, said.size, said.root, said.text) == (name, size, root, text)
    assert said.signatures == tuple((b"abcd", made) for made in signatures)


@pytest.mark.clause("21 CFR 11.10(a)")
@given(st.text(max_size=200))
def test_no_text_that_is_no_note_gets_through_as_an_error_of_another_kind(text):
    try:
        said = chain.parse_note(text)
    except ChainError:
        return
    assert chain.head_text(said.origin, said.size, said.root) == said.text


@pytest.mark.parametrize("size", ["07", "-1", "٧", "1_0", ""])
def test_a_size_has_one_form(size):
    with pytest.raises(ChainError):
        chain.parse_note(f"o\n{size}\n{'A' * 43}=\n\n\N{EM DASH} o YWJjZA==\n")
