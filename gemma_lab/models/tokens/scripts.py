"""Script (writing system) and direction of a text."""

from __future__ import annotations

import unicodedata
from functools import cache

import regex

#: ISO 15924 codes of the scripts of Unicode 17 (Scripts.txt), the frequent ones first. Those that the
#: installed `regex` does not support are left out.
_CODES = """
    Latn Cyrl Grek Arab Hebr Deva Beng Taml Telu Thai Hani Hira Kana Hang Geor Armn Ethi Khmr Mymr Laoo Sinh
    Gujr Guru Knda Mlym Orya Tibt Mong Thaa Syrc Nkoo Cher Cans Bopo Tfng Yiii Adlm Aghb Ahom Armi Avst Bali
    Bamu Bass Batk Berf Bhks Brah Brai Bugi Buhd Cakm Cari Cham Chrs Copt Cpmn Cprt Diak Dogr Dsrt Dupl Egyp
    Elba Elym Gara Glag Gong Gonm Goth Gran Gukh Hano Hatr Hluw Hmng Hmnp Hung Ital Java Kali Kawi Khar Khoj
    Kits Krai Kthi Lana Lepc Limb Lina Linb Lisu Lyci Lydi Mahj Maka Mand Mani Marc Medf Mend Merc Mero Modi
    Mroo Mtei Mult Nagm Nand Narb Nbat Newa Nshu Ogam Olck Onao Orkh Osge Osma Ougr Palm Pauc Perm Phag Phli
    Phlp Phnx Plrd Prti Rjng Rohg Runr Samr Sarb Saur Sgnw Shaw Shrd Sidd Sidt Sind Sogd Sogo Sora Soyo Sund
    Sunu Sylo Tagb Takr Tale Talu Tang Tavt Tayo Tglg Tirh Tnsa Todr Tols Toto Tutg Ugar Vaii Vith Wara Wcho
    Xpeo Xsux Yezi Zanb
""".split()  # noqa: SIM905
COMMON = "Zyyy"
"""Code of digits, punctuation, spaces and most emoji: common to all scripts."""

DIRECTIONS = ("ltr", "rtl", "neutral")
"""Directions of a text."""


def script(text: str) -> str:
    r"""Return the ISO 15924 code of the first character that is specific to a script, else ``"Zyyy"``.

    Source: the Script property (Unicode Standard Annex 24) through ``\p{Script=…}`` of `regex`. Inherited
    characters, such as accents, have the script of their base character.
    """
    for character in text:
        code = _script(character)
        if code != COMMON:
            return code
    return COMMON


def direction(text: str) -> str:
    """Return ``"rtl"`` or ``"ltr"`` by the first strong character, ``"neutral"`` if there is none.

    Source: rules P2 and P3 of the bidirectional algorithm (Unicode Standard Annex 9). Digits are weak.
    """
    for character in text:
        kind = unicodedata.bidirectional(character)
        if kind == "L":
            return "ltr"
        if kind in ("R", "AL"):
            return "rtl"
    return "neutral"


@cache
def _script(character: str) -> str:
    if character.isascii():
        return "Latn" if character.isalpha() else COMMON
    found = _pattern().match(character)
    return str(found.lastgroup) if found else COMMON


@cache
def _pattern() -> regex.Pattern[str]:
    known = [rf"(?P<{code}>\p{{Script={code}}})" for code in _CODES if _known(code)]
    return regex.compile("|".join(known))


def _known(code: str) -> bool:
    try:
        regex.compile(rf"\p{{Script={code}}}")
    except regex.error:  # newer than the installed Unicode data
        return False
    return True
