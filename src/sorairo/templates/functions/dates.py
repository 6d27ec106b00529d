"""https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-date"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from sorairo.templates.functions.registry import Invocation, function
from sorairo.templates.values import Value

_DURATION = re.compile(
    r"(?P<sign>-)?P(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)S)?)?"
)
# .NET's custom formats: runs of one letter, quoted text, everything else as it stands.
_PART = re.compile(r"'([^']*)'|\\(.)|d{1,4}|f{1,7}|F{1,7}|h{1,2}|H{1,2}|m{1,2}|M{1,4}|s{1,2}|t{1,2}|y{1,5}|z{1,3}|K|.")
_DEFAULT = "yyyyMMddTHHmmssZ"
_STANDARD = {
    "d": "M/d/yyyy", "D": "dddd, MMMM d, yyyy", "t": "h:mm tt", "T": "h:mm:ss tt", "g": "M/d/yyyy h:mm tt",
    "G": "M/d/yyyy h:mm:ss tt", "s": "yyyy-MM-ddTHH:mm:ss", "u": "yyyy-MM-dd HH:mm:ssZ", "M": "MMMM d",
    "Y": "MMMM yyyy", "o": "yyyy-MM-ddTHH:mm:ss.fffffffZ", "O": "yyyy-MM-ddTHH:mm:ss.fffffffZ",
    "R": "ddd, dd MMM yyyy HH:mm:ss GMT", "r": "ddd, dd MMM yyyy HH:mm:ss GMT",
}  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip


def written(at: datetime, style: str) -> str:
    """A time in a .NET format, standard (`d`) or custom (`yyyy-MM-dd`)."""
    style = _STANDARD.get(style, style)
    hour, half = at.hour % 12 or 12, "PM" if at.hour >= 12 else "AM"
    ticks = f"{at.microsecond:06}0"

    def part(found: re.Match[str]) -> str:
        word = found[0]
        if found[1] is not None or found[2] is not None:
            return found[1] if found[1] is not None else found[2]
        kind, n = word[0], len(word)
        if kind == "d":
            return _DAYS[at.weekday()][: None if n == 4 else 3] if n > 2 else f"{at.day:0{n}}"
        if kind == "M":
            return _MONTHS[at.month - 1][: None if n == 4 else 3] if n > 2 else f"{at.month:0{n}}"
        if kind == "y":
            return f"{at.year % 100:0{n}}" if n < 3 else f"{at.year:0{n}}"
        if kind in "fF":
            return ticks[:n] if kind == "f" else ticks[:n].rstrip("0")
        if kind == "t":
            return half[:n]
        if kind == "K":
            return "Z"
        if kind == "z":
            return "+00:00" if n == 3 else f"+{0:0{n}}"
        numbers = {"h": hour, "H": at.hour, "m": at.minute, "s": at.second}
        return f"{numbers[kind]:0{n}}" if kind in numbers else word

    return _PART.sub(part, style)


def read(call: Invocation, text: str) -> datetime:
    plain = text.strip()
    compact = re.fullmatch(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z?", plain)
    try:
        if compact:
            plain = "{}-{}-{}T{}:{}:{}".format(*compact.groups())
        at = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", plain))
    except ValueError:
        raise call.wrong(f"expects an ISO 8601 date, and got '{text[:60]}'") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


@function("utcNow", least=0, most=1)
def utc_now(call: Invocation) -> Value:
    if not call.frame.defaults:
        raise call.wrong("is allowed in the default value of a parameter only")
    return written(datetime.now(UTC), call.text(0, _DEFAULT))


@function("dateTimeAdd", least=2, most=3)
def date_time_add(call: Invocation) -> Value:
    at = read(call, call.text(0))
    found = _DURATION.fullmatch(call.text(1).strip())
    if found is None or call.text(1).strip().endswith(("P", "T")):
        raise call.wrong(f"expects an ISO 8601 duration, and got '{call.text(1)[:60]}'")
    n = {k: int(v or 0) if len(v or "") < 8 else 10**7 for k, v in found.groupdict().items() if k != "sign"}
    days = n["years"] * 365 + n["months"] * 30 + n["weeks"] * 7 + n["days"]
    span = timedelta(days=days, hours=n["hours"], minutes=n["minutes"], seconds=n["seconds"])
    try:
        return written(at - span if found["sign"] else at + span, call.text(2, "yyyy-MM-ddTHH:mm:ssZ"))
    except OverflowError:
        raise call.wrong("leads out of the years 1 to 9999") from None


@function("dateTimeFromEpoch", least=1, most=1)
def date_time_from_epoch(call: Invocation) -> Value:
    try:
        return written(datetime.fromtimestamp(call.integer(0), UTC), "yyyy-MM-ddTHH:mm:ssZ")
    except (OverflowError, ValueError, OSError):
        raise call.wrong("expects seconds since 1970 within the years 1 to 9999") from None


@function("dateTimeToEpoch", least=1, most=1)
def date_time_to_epoch(call: Invocation) -> Value:
    return int(read(call, call.text(0)).timestamp())
