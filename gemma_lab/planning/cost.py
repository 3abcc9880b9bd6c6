"""What tokens cost on owned and on rented hardware, against hosted models. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from ..checks import real_number, short_repr
from ..display import Displayed
from ..errors import LabError
from .facts import unknown
from .prices import HostedPrice, PriceEnded, hosted_price, rental_price

if TYPE_CHECKING:
    from .devices import Hardware
    from .estimates import Estimate

HOURS_A_YEAR = 8760.0


@dataclass(frozen=True)
class Ownership:
    """What it costs to own and run the hardware.

    Attributes
    ----------
    price_usd
        Of the hardware; a computer around a card counts, too, if it is bought for this.
    power_w
        While it works.
    idle_w
        While it waits.
    usd_per_kwh
        Price of electricity.
    years
        Until the hardware is worth nothing.
    load
        Share of those years' hours in which it works.
    """

    price_usd: float
    power_w: float
    idle_w: float = 20.0
    usd_per_kwh: float = 0.25
    years: float = 3.0
    load: float = 0.2

    def __post_init__(self) -> None:
        for name in ("price_usd", "power_w", "idle_w", "usd_per_kwh"):
            real_number(name, getattr(self, name), minimum=0, maximum=1e9)
        real_number("years", self.years, minimum=0.01, maximum=100)
        real_number("load", self.load, minimum=1e-4, maximum=1, hint="load=0.2 is a fifth of all hours.")

    @property
    def usd_per_working_hour(self) -> float:
        """Price and electricity of all hours, over the working ones."""
        hours = HOURS_A_YEAR * self.years
        idle = self.idle_w / 1000 * self.usd_per_kwh * (1 - self.load) / self.load
        return self.price_usd / (hours * self.load) + self.power_w / 1000 * self.usd_per_kwh + idle

    @property
    def usd_per_year(self) -> float:
        """What a year costs at this load."""
        return self.usd_per_working_hour * HOURS_A_YEAR * self.load

    def formula(self) -> str:
        """Return the formula of a working hour with its numbers."""
        return (
            f"{self.price_usd:,.0f} USD ÷ ({self.years:g} years × 8,760 h × load {self.load:g})"
            f" + {self.power_w:g} W × {self.usd_per_kwh:g} USD/kWh"
            f" + {self.idle_w:g} W idle × {self.usd_per_kwh:g} × (1 − {self.load:g}) ÷ {self.load:g}"
            f" = {self.usd_per_working_hour:.3f} USD an hour"
        )


@dataclass(frozen=True)
class TokenCost:
    """US dollars of a million tokens.

    Attributes
    ----------
    label
        What makes them.
    usd_per_m_in, usd_per_m_out
        Of prompts and of answers; `usd_per_m_in` is None if the speed of prompts is not known.
    low_out, high_out
        The 80 % interval that the speed's interval makes.
    formula, source
        How it was computed and where the figures come from.
    valid_until
        End of a price, ISO, or ``""``.
    """

    label: str
    usd_per_m_in: float | None
    usd_per_m_out: float
    low_out: float
    high_out: float
    formula: str
    source: str
    valid_until: str = ""

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """Return US dollars of a number of tokens; prompts of unknown price count as 0."""
        return (tokens_in * (self.usd_per_m_in or 0.0) + tokens_out * self.usd_per_m_out) / 1e6


class Costs(Displayed, Sequence[TokenCost]):
    """The rows of `Plan.cost`: owned, rented, hosted.

    Attributes
    ----------
    notes
        Which hosted models have no row because their prices have ended.
    """

    def __init__(self, rows: Iterable[TokenCost], notes: Iterable[str] = ()) -> None:
        self._rows = tuple(rows)
        self.notes = tuple(notes)

    @overload
    def __getitem__(self, index: int) -> TokenCost: ...
    @overload
    def __getitem__(self, index: slice) -> Costs: ...
    def __getitem__(self, index: int | slice) -> TokenCost | Costs:
        found = self._rows[index]
        return found if isinstance(found, TokenCost) else Costs(found, self.notes)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[TokenCost]:
        return iter(self._rows)

    def __repr__(self) -> str:
        rows = ", ".join(f"{row.label} {row.usd_per_m_out:.2f}" for row in self)
        return f"Costs(US dollars for a million tokens of answers: {rows})"


def ownership_of(
    hardware: Hardware, owned: Ownership | Mapping[str, float] | None = None
) -> Ownership | None:
    """Return what owning some hardware costs; None if its price or power is not known.

    Parameters
    ----------
    hardware
        Whose price and power are the defaults, times the number of its devices.
    owned
        An `Ownership`, or fields of it to change.

    Raises
    ------
    LabError
        If `owned` is neither, or has a field that there is not.
    """
    if isinstance(owned, Ownership):
        return owned
    if owned is not None and not isinstance(owned, Mapping):
        raise LabError(
            f"owned is an Ownership or a mapping, not {short_repr(owned)}.",
            hint='E.g. {"price_usd": 1500}.',
        )
    fields = dict(owned or {})
    wrong = [name for name in fields if name not in Ownership.__dataclass_fields__]
    if wrong:
        raise unknown("field of ownership", wrong[0], Ownership.__dataclass_fields__)
    of_one = {"price_usd": hardware.price_usd, "power_w": hardware.power_w}
    defaults = {name: None if value is None else value * hardware.devices for name, value in of_one.items()}
    values = {**defaults, **fields}
    if values["price_usd"] is None or values["power_w"] is None:
        return None
    return Ownership(**values)  # type: ignore[arg-type]


def token_costs(
    hardware: Hardware,
    *,
    answer: Estimate,
    prompt: Estimate | None,
    owned: Ownership | None,
    usd_per_hour: float | None,
    hosted: Iterable[str],
    on: str | None,
    prompt_tokens: int,
) -> Costs:
    """Return US dollars of a million tokens on owned and on rented hardware, and of hosted models.

    Parameters
    ----------
    answer, prompt
        Tokens a second of all sequences, and of prompts; `prompt` is None if unknown.
    owned
        What owning the hardware costs; None leaves that row out.
    usd_per_hour
        Of rented hardware. None: the newest shipped price, if there is one.
    hosted, on, prompt_tokens
        Names of hosted models, the day of their prices, and the tokens of a prompt, as for `hosted_price`.
    """
    value, low, high = answer.value, answer.low, answer.high
    rows = []
    if owned is not None:
        rows.append(
            hourly_cost(
                f"owned {hardware.label}, load {owned.load:.0%}",
                owned.usd_per_working_hour,
                prompt=prompt.value if prompt else None,
                answer=(value, low, high),
                formula=owned.formula(),
                source=hardware.source,
            )
        )
    rent = _rent(hardware, usd_per_hour)
    if rent is not None:
        usd, where, source = rent
        rows.append(
            hourly_cost(
                f"rented {hardware.label} ({where})",
                usd,
                prompt=prompt.value if prompt else None,
                answer=(value, low, high),
                formula=f"{usd:g} USD an hour, fully used",
                source=source,
            )
        )
    notes = []
    for name in hosted:
        try:
            rows.append(hosted_cost(hosted_price(name, on=on, prompt=prompt_tokens)))
        except PriceEnded as ended:
            notes.append(ended.what)
    return Costs(rows, notes)


def _rent(hardware: Hardware, usd_per_hour: float | None) -> tuple[float, str, str] | None:
    """Return US dollars of an hour, where they hold, and their source; None if no price is known."""
    if usd_per_hour is not None:
        return real_number("usd_per_hour", usd_per_hour, minimum=0, maximum=1e6), "given", "given"
    rent = rental_price(hardware.label)
    return None if rent is None else (rent.usd_per_hour, f"{rent.market}, {rent.date}", rent.source)


def hourly_cost(
    label: str,
    usd_per_hour: float,
    *,
    prompt: float | None,
    answer: tuple[float, float, float],
    formula: str,
    source: str,
) -> TokenCost:
    """Return the cost of tokens on hardware with a price per hour.

    Parameters
    ----------
    label
        What it is.
    usd_per_hour
        Of a working hour.
    prompt
        Tokens of prompts a second; None if unknown.
    answer
        Tokens of answers a second of all sequences: predicted, low and high.
    formula, source
        Of the hour's cost.
    """

    def million(rate: float) -> float:
        return usd_per_hour / (rate * 3600) * 1e6

    value, low, high = answer
    return TokenCost(
        label=label,
        usd_per_m_in=None if not prompt else million(prompt),
        usd_per_m_out=million(value),
        low_out=million(high),
        high_out=million(low),
        formula=f"{formula}; ÷ ({value:,.1f} tokens/s × 3,600) × 10⁶",
        source=source,
    )


def hosted_cost(price: HostedPrice) -> TokenCost:
    """Return a hosted model's price as a cost."""
    until = f", until {price.valid_until}" if price.valid_until else ""
    note = f"; {price.condition}" if price.condition else ""
    return TokenCost(
        label=price.label,
        usd_per_m_in=price.usd_per_m_in,
        usd_per_m_out=price.usd_per_m_out,
        low_out=price.usd_per_m_out,
        high_out=price.usd_per_m_out,
        formula=f"list price, read {price.checked or 'now'}{until}{note}",
        source=price.source,
        valid_until=price.valid_until,
    )


def monthly_cost(
    tokens_out: float, *, ratio_in: float, owned: Ownership, prompt: float | None, answer: float
) -> float | None:
    """Return US dollars of a month on owned hardware for a number of tokens of answers.

    The hardware's price is spread over its years whether it works or not; electricity follows the hours.

    Parameters
    ----------
    tokens_out
        Tokens of answers in the month.
    ratio_in
        Tokens of prompts for each token of an answer.
    owned
        Price, power and years; its load is not used.
    prompt, answer
        Tokens a second.

    Returns
    -------
    float or None
        None if the month has too few hours for the tokens.
    """
    tokens_out = real_number("tokens_out", tokens_out, minimum=0, maximum=1e18)
    _check_rates(ratio_in, prompt, answer)
    seconds = tokens_out / answer + (tokens_out * ratio_in / prompt if prompt else 0.0)
    month = HOURS_A_YEAR / 12
    hours = seconds / 3600
    if hours > month:
        return None
    electricity = (owned.power_w * hours + owned.idle_w * (month - hours)) / 1000 * owned.usd_per_kwh
    return owned.price_usd / (owned.years * 12) + electricity


def break_even_tokens(
    price: HostedPrice, *, ratio_in: float, owned: Ownership, prompt: float | None, answer: float
) -> float | None:
    """Return the tokens of answers a month from which on owned hardware costs less than a hosted model.

    Parameters
    ----------
    price
        Of the hosted model, from `hosted_price`.
    ratio_in
        Tokens of prompts for each token of an answer.
    owned
        Price, power and years; its load is not used.
    prompt, answer
        Tokens a second on that hardware. None as `prompt` leaves the time for prompts out.

    Returns
    -------
    float or None
        None if that never happens: the hosted price is below electricity, or the hardware is not fast enough
        to make that number of tokens in a month.
    """
    _check_rates(ratio_in, prompt, answer)
    hosted = price.cost(ratio_in, 1.0)
    zero = monthly_cost(0.0, ratio_in=ratio_in, owned=owned, prompt=prompt, answer=answer)
    seconds = 1 / answer + (ratio_in / prompt if prompt else 0.0)
    extra = seconds / 3600 * (owned.power_w - owned.idle_w) / 1000 * owned.usd_per_kwh
    if zero is None or hosted <= extra:
        return None
    tokens = zero / (hosted - extra)
    return tokens if tokens * seconds <= HOURS_A_YEAR / 12 * 3600 else None


def _check_rates(ratio_in: float, prompt: float | None, answer: float) -> None:
    """Raise a `LabError` for a negative ratio of prompts to answers, or a speed that is not positive."""
    real_number("ratio_in", ratio_in, minimum=0, maximum=1e6)
    real_number("answer", answer, minimum=1e-6, maximum=1e9)
    if prompt is not None:
        real_number("prompt", prompt, minimum=1e-6, maximum=1e9)
