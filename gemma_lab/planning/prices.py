"""Prices of hosted models and of rented hardware, each with its date. No torch."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from functools import cache

from ..checks import short_repr, whole_number
from ..errors import LabError, MissingExtra
from .facts import normalized, number, read_rows, unknown


class PriceEnded(LabError):
    """All prices of a hosted model have ended by the day asked for."""


@dataclass(frozen=True)
class HostedPrice:
    """What a provider takes for a model.

    Attributes
    ----------
    model, provider
        Names.
    usd_per_m_in, usd_per_m_out
        US dollars for a million tokens of prompts and of answers.
    prompt_above
        Tokens of a prompt from which on this price holds; 0 for the base price.
    valid_from, valid_until
        Dates, ISO and perhaps only a year; ``valid_until`` is ``""`` if no end is announced.
    condition
        What else to know.
    checked
        When the price was read, ISO.
    source
        Where.
    """

    model: str
    provider: str
    usd_per_m_in: float
    usd_per_m_out: float
    prompt_above: int
    valid_from: str
    valid_until: str
    condition: str
    checked: str
    source: str
    reference: str = ""

    @property
    def label(self) -> str:
        """Model and provider."""
        return f"{self.model} ({self.provider})"

    def ended_before(self, date: str) -> bool:
        """Return whether the price has ended before a day, ISO."""
        return bool(self.valid_until) and self.valid_until < date

    def valid_on(self, date: str) -> bool:
        """Return whether the price holds on a day, ISO."""
        return self.valid_from <= date and not self.ended_before(date)

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """Return US dollars of a number of tokens."""
        return (tokens_in * self.usd_per_m_in + tokens_out * self.usd_per_m_out) / 1e6


@dataclass(frozen=True)
class RentalPrice:
    """What an hour of hardware costs.

    Attributes
    ----------
    hardware
        Name, with the number of devices.
    usd_per_hour
        US dollars.
    market, date, source
        Who asks it, when, and where it was read.
    """

    hardware: str
    usd_per_hour: float
    market: str
    date: str
    source: str


def hosted_prices(*, on: str | None = None, live: bool = False) -> tuple[HostedPrice, ...]:
    """Return the prices of hosted models.

    Parameters
    ----------
    on
        Only those that hold on this day, ISO. Default: today. ``""`` returns all, past ones too.
    live
        Take the prices of the big providers from the installed package ``genai-prices``, whose data may be
        newer than what ships here. The package is not asked to use the network.

    Raises
    ------
    MissingExtra
        With `live`, if ``genai-prices`` is not installed.
    """
    day = on if on == "" else _day(on)
    rows = tuple(row for row in _shipped() if not day or row.valid_on(day))
    return tuple(_current(row) for row in rows) if live else rows


def hosted_price(name: str, *, provider: str = "", on: str | None = None, prompt: int = 0) -> HostedPrice:
    """Return the price of one hosted model; the cheapest provider's if several host it and none is named.

    Parameters
    ----------
    name
        E.g. ``"claude-haiku-5.5"``, ``"gemma-4-31B"``.
    provider
        Whose price.
    on
        Day, ISO. Default: today.
    prompt
        Tokens of a prompt: long ones cost more with some providers.

    Raises
    ------
    PriceEnded
        If all prices of the model have ended by that day.
    LabError
        If no such price is known.
    """
    if not isinstance(name, str):
        raise LabError(f"A hosted model is a name, not {short_repr(name)}.", hint='E.g. "claude-haiku-5.5".')
    if not isinstance(provider, str):
        raise LabError(f"A provider is a name, not {short_repr(provider)}.", hint='E.g. "DeepInfra".')
    prompt = whole_number("prompt", prompt, minimum=0)
    rows = hosted_prices(on=_day(on))
    found = [row for row in rows if normalized(row.model) == normalized(name)]
    if provider:
        found = [row for row in found if normalized(row.provider) == normalized(provider)]
    paid = [row for row in found if row.usd_per_m_out > 0] or found
    usable = [row for row in paid if row.prompt_above <= prompt]
    if not usable:
        named = [row for row in hosted_prices(on="") if normalized(row.model) == normalized(name)]
        ended = [row for row in named if row.ended_before(_day(on))]
        if ended and not found:
            last = max(ended, key=lambda row: row.valid_until)
            raise PriceEnded(
                f"The price of {last.label} ended on {last.valid_until}.",
                hint="Name another model, or give on= an earlier day.",
            )
        if provider and named:
            raise unknown("provider of this model", provider, dict.fromkeys(row.provider for row in named))
        raise unknown("hosted model", name, dict.fromkeys(row.model for row in rows))
    longest = max(row.prompt_above for row in usable)
    return min((row for row in usable if row.prompt_above == longest), key=lambda row: row.usd_per_m_out)


@cache
def rental_prices() -> tuple[RentalPrice, ...]:
    """Return the shipped prices of rented hardware."""
    return tuple(
        RentalPrice(row["hardware"], float(row["usd_per_hour"]), row["market"], row["date"], row["source"])
        for row in read_rows("rental_prices.csv")
    )


def rental_price(hardware: str) -> RentalPrice | None:
    """Return the newest shipped price of an hour of some hardware, or None.

    Raises
    ------
    LabError
        If `hardware` is not a name.
    """
    if not isinstance(hardware, str):
        raise LabError(f"Hardware is a name here, not {short_repr(hardware)}.", hint='E.g. "RTX 3090".')
    found = [row for row in rental_prices() if normalized(row.hardware) == normalized(hardware)]
    return max(found, key=lambda row: (row.date, row.usd_per_hour), default=None)


@cache
def _shipped() -> tuple[HostedPrice, ...]:
    return tuple(
        HostedPrice(
            model=row["model"],
            provider=row["provider"],
            usd_per_m_in=float(row["usd_per_m_in"]),
            usd_per_m_out=float(row["usd_per_m_out"]),
            prompt_above=int(number(row["prompt_above"]) or 0),
            valid_from=row["valid_from"],
            valid_until=row["valid_until"],
            condition=row["condition"],
            checked=row["checked"],
            source=row["source"],
            reference=row["genai_prices_ref"],
        )
        for row in read_rows("hosted_prices.csv")
    )


def _day(on: str | None) -> str:
    """Return a day as ISO text; None is today."""
    if on is None:
        return dt.datetime.now(tz=dt.UTC).date().isoformat()
    try:
        return dt.date.fromisoformat(on).isoformat()
    except (TypeError, ValueError) as error:
        raise LabError(f"on is an ISO date, not {short_repr(on)}.", hint='E.g. "2026-11-29".') from error


def _current(row: HostedPrice) -> HostedPrice:
    """Return a price as the installed ``genai-prices`` has it, or the shipped one if it has none."""
    if not row.reference:
        return row
    try:
        import genai_prices
    except ImportError as error:
        raise MissingExtra(
            "Current prices need the package genai-prices, which is not installed.",
            hint='pip install "gemma_lab[prices]", or leave out live=True for the shipped prices.',
        ) from error
    provider, model = row.reference.split(":")
    usage = genai_prices.Usage(input_tokens=1000, output_tokens=1000)  # short: the base price
    try:
        price = genai_prices.calc_price(usage, model_ref=model, provider_id=provider)
    except LookupError:  # a model that this release of the package does not know
        return row
    return replace(
        row,
        usd_per_m_in=float(price.input_price) * 1000,
        usd_per_m_out=float(price.output_price) * 1000,
        source="genai-prices, as installed",
        checked="",
    )
