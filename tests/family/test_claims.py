"""Published sizes and counted ones: what is reproduced, and by how much the rest is not."""

from __future__ import annotations

import json

import pytest

from gemma_lab.family.claims import memory_claims, parameter_claims


def test_the_published_parameter_counts() -> None:
    verdicts = {(claim.size, claim.quantity): claim.reproduced for claim in parameter_claims()}
    missed = {key for key, same in verdicts.items() if not same}
    assert missed == {("E4B", "effective"), ("12B", "total")}
    assert {("E2B", "effective"), ("26B-A4B", "total"), ("26B-A4B", "active"), ("31B", "total")} <= set(
        verdicts
    )


def test_what_is_not_reproduced_says_by_how_much() -> None:
    differences = {
        (claim.size, claim.quantity): claim for claim in parameter_claims() if not claim.reproduced
    }
    assert differences["E4B", "effective"].difference == pytest.approx(0.144, abs=5e-4)
    assert differences["E4B", "effective"].percent == pytest.approx(3.2, abs=0.05)
    assert differences["12B", "total"].difference == pytest.approx(0.0097, abs=5e-5)
    assert repr(differences["E4B", "effective"]) == (
        "Claim(E4B effective: published 4.5 B, counted 4.644 B, +3.2 %)"
    )


def test_the_published_weights_are_met_within_limits_that_are_known() -> None:
    claims = memory_claims()
    assert all(abs(claim.percent) < 1.5 for claim in claims if claim.quantity == "BF16")
    assert all(abs(claim.percent) < 5 for claim in claims if claim.quantity == "SFP8")
    assert all(-17 < claim.percent < -5 for claim in claims if claim.quantity == "Q4_0")
    assert all(-8 < claim.percent < 0 for claim in claims if claim.quantity == "W4A16 QAT")


def test_every_claim_has_a_public_source_and_plain_data() -> None:
    for claims in (parameter_claims(), memory_claims()):
        assert all(claim.source.url.startswith("https://") for claim in claims)
        assert len(json.loads(json.dumps(claims.to_dict()))["claims"]) == len(claims)
        assert list(claims)[:2] == list(claims[:2])


def test_the_repr_names_the_largest_difference() -> None:
    assert repr(parameter_claims()) == (
        "Claims(9 published figures, 7 reproduced to their last digit, "
        "largest difference +3.2 % (E4B effective))"
    )


def test_the_table_shows_every_row_and_its_source() -> None:
    text = parameter_claims()._repr_html_()
    assert text.count("<tr") == 1 + len(parameter_claims())
    assert "+3.2 %" in text
    assert "third-party" in text  # the listing of the 31B's files
