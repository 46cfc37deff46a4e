"""What an enemy or a bad disk does to a good file: bytes and, where a format is text, words."""

import random
from collections.abc import Callable

Spoil = Callable[[bytes, random.Random], bytes]

LENGTHS = (
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x01",
    b"\x80\x00\x00\x00",
)
"""What length fields and sizes are overwritten with."""
WORDS = (
    "../../outside.png",
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "..\\..\\outside.png",
    "\\\\server\\share\\a.png",
    "apple/./../../../x.png",
    "a\x00b.png",
    "\ufeff",
    "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace"),
    "\\ud800",
    "x" * 5000,
    "9" * 5000,
    "-1",
    "1e999",
    "NaN",
    "null",
    "true",
    "[" * 3000,
    '{"a":' * 3000,
    "[[a]]\n",
    '"' * 7,
    "'",
    ",,,,",
    "\r",
    "\n\n",
    "=",
    "__import__('os').system('touch pwned')",
    "!!python/object/apply:os.system ['touch pwned']",
)
"""What is written into texts."""


def flip_bits(content: bytes, chance: random.Random) -> bytes:
    """Flip up to 16 bits."""
    spoilt = bytearray(content)
    for _ in range(chance.randint(1, 16)):
        place = chance.randrange(len(spoilt))
        spoilt[place] ^= 1 << chance.randrange(8)
    return bytes(spoilt)


def flip_bits_of_header(content: bytes, chance: random.Random) -> bytes:
    """Flip bits where formats say what they are and how large."""
    return flip_bits(content[:64], chance) + content[64:]


def cut(content: bytes, chance: random.Random) -> bytes:
    """Cut off the end."""
    return content[: chance.randrange(len(content))]


def stuff_lengths(content: bytes, chance: random.Random) -> bytes:
    """Overwrite 4 bytes, several times, by lengths that cannot be."""
    spoilt = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(min(len(spoilt), chance.choice((40, 200, len(spoilt)))))
        spoilt[place : place + 4] = chance.choice(LENGTHS)
    return bytes(spoilt)


def repeat(content: bytes, chance: random.Random) -> bytes:
    """Write a part several times."""
    start = chance.randrange(len(content))
    part = content[start : start + chance.randint(1, 200)]
    return content[:start] + part * chance.randint(2, 50) + content[start:]


def drop(content: bytes, chance: random.Random) -> bytes:
    """Leave out a part."""
    start = chance.randrange(len(content))
    return content[:start] + content[start + chance.randint(1, 100) :]


def noise(content: bytes, chance: random.Random) -> bytes:
    """Overwrite a part with noise."""
    start = chance.randrange(len(content))
    part = chance.randbytes(chance.randint(1, 100))
    return content[:start] + part + content[start + len(part) :]


def swap_halves(content: bytes, chance: random.Random) -> bytes:
    """Put the end first."""
    middle = chance.randrange(len(content))
    return content[middle:] + content[:middle]


def exchange(content: bytes, chance: random.Random) -> bytes:
    """Take something else altogether."""
    return chance.choice(
        (b"", b"\x00" * 100, chance.randbytes(300), b"PK\x03\x04" + chance.randbytes(100), b"\x1f\x8b" + content, b"<svg/>")
    )


def insert_word(content: bytes, chance: random.Random) -> bytes:
    """Write an evil word between two others."""
    text = content.decode("utf-8", "replace")
    place = chance.choice([0, len(text), *(number for number, letter in enumerate(text) if not letter.isalnum())])
    return (text[:place] + chance.choice(WORDS) + text[place:]).encode("utf-8", "replace")


def exchange_word(content: bytes, chance: random.Random) -> bytes:
    """Write an evil word in place of another."""
    words = content.decode("utf-8", "replace").split('"')
    words[chance.randrange(len(words))] = chance.choice(WORDS)
    return '"'.join(words).encode("utf-8", "replace")


def exchange_number(content: bytes, chance: random.Random) -> bytes:
    """Write an evil number in place of another."""
    text = content.decode("utf-8", "replace")
    digits = [number for number, letter in enumerate(text) if letter.isdigit()]
    if not digits:
        return insert_word(content, chance)
    start = end = chance.choice(digits)
    while end < len(text) and text[end].isdigit():
        end += 1
    return (
        text[:start] + chance.choice(("0", "-1", "999999999", "1" * 400, "1e400", "nan", '"x"', "[]", "{}", "null")) + text[end:]
    ).encode()


BYTES: tuple[Spoil, ...] = (flip_bits, flip_bits_of_header, cut, stuff_lengths, repeat, drop, noise, swap_halves, exchange)
TEXT: tuple[Spoil, ...] = (
    insert_word,
    insert_word,
    exchange_word,
    exchange_number,
    exchange_number,
    repeat,
    drop,
    cut,
    flip_bits,
    exchange,
)


def spoil(content: bytes, ways: tuple[Spoil, ...], chance: random.Random) -> bytes:
    """Spoil a file in one to three ways."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        if content:
            content = chance.choice(ways)(content, chance)
    return content
