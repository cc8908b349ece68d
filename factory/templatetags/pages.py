"""How the pages write numbers, times, texts and jobs."""

import json
from typing import Any

from django import template
from django.template import Context
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from factory.charts import bars
from factory.datasets.card import TIERS
from factory.messages import text_of
from factory.models import Job
from factory.models.example import Provenance
from factory.selectors import COUNT_CAP

register = template.Library()

MINUTE = 60


@register.simple_tag(takes_context=True)
def tab(context: Context, name: str, title: str) -> SafeString:
    """Link to one of a workload's pages, marked where it is the one that is shown."""
    workload = context["workload"]
    url = reverse(name, args=[workload.project.slug, workload.slug])
    path = context["request"].path
    is_here = path == url if name == "workload" else path.startswith(url)
    here = format_html(' aria-current="page"') if is_here else ""
    return format_html('<a href="{}"{}>{}</a>', url, here, title)


@register.filter
def count(value: int | None) -> str:
    """Write a count; past the cap of counting, say so."""
    if value is None:
        return "0"
    return f"{COUNT_CAP:,}+" if value > COUNT_CAP else f"{value:,}"


@register.filter
def usd(value: Any) -> str:
    """Write an amount of money as precisely as its size deserves."""
    if value is None:
        return "unknown"
    amount = float(value)
    if amount == 0:
        return "$0"
    return f"${amount:,.2f}" if amount >= 1 else "$" + f"{amount:.6f}".rstrip("0")


@register.filter
def percent(value: Any, digits: int = 1) -> str:
    """Write a share from 0 to 1 in percent."""
    return "n/a" if value is None else f"{100 * float(value):.{digits}f}%"


@register.filter
def figure(value: Any) -> str:
    """Write a number of any size with three or four digits that count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


@register.filter
def seconds(value: Any) -> str:
    """Write a duration."""
    total = float(value or 0)
    if total < MINUTE:
        return f"{total:.1f} s"
    minutes, rest = divmod(round(total), MINUTE)
    hours, minutes = divmod(minutes, MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


@register.filter
def words(value: Any) -> str:
    """Write a name of ours as words."""
    return str(value).replace("_", " ")


@register.filter
def text(message: dict[str, Any]) -> str:
    """Return a message's text."""
    return str(text_of(message.get("content")))


@register.filter
def pretty(value: Any) -> str:
    """Write JSON for people; a string that holds JSON is unpacked first."""
    try:
        unpacked = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return str(value)
    return json.dumps(unpacked, indent=2, ensure_ascii=False)


@register.filter
def short(value: Any) -> str:
    """Cut a digest to what tells it from others."""
    return str(value)[:12]


@register.filter
def get(mapping: dict[str, Any], key: str) -> Any:
    """Look a key up that the template holds in a variable."""
    return (mapping or {}).get(key)


@register.filter
def as_bars(counts: dict[str, int]) -> Any:
    """Turn counts by name into bars, the longest first."""
    return bars(dict(sorted((counts or {}).items(), key=lambda pair: (-pair[1], pair[0]))))


@register.filter
def by_provenance(counts: dict[str, int]) -> dict[str, int]:
    """Name provenances as people say them."""
    return {str(Provenance(name).label): number for name, number in (counts or {}).items()}


@register.filter
def funnel_bars(funnel: list[list[Any]]) -> Any:
    """Turn a funnel's steps into bars, in their order."""
    return bars({str(name): number for name, number in funnel})


@register.filter
def setting(value: Any) -> str:
    """Write a recipe's setting."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(each) for each in value) or "all"
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return "any" if value in {None, ""} else str(value)


@register.filter
def tiers(split: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return a contamination report's tiers of one split by name, in their order."""
    return [(name, split[name]) for name in TIERS]


@register.filter
def step(counts: tuple[int, int]) -> str:
    """Write how a count changed."""
    change = counts[1] - counts[0]
    return f"{change:+,}" if change else "0"


@register.filter
def at(axis: Any, value: float) -> float:
    """Return where a value lies on an axis, in percent."""
    return axis.percent(value)  # type: ignore[no-any-return]  # an Axis; templates hold no types


@register.inclusion_tag("_job.html")
def job_state(job: Job) -> dict[str, Any]:
    """Show a job's status, its progress while it runs, and what to do where it failed."""
    progress = job.progress or {}
    total = progress.get("total") or 0
    done = min(progress.get("done") or 0, total)
    return {"job": job, "progress": progress, "done": done, "total": total}


@register.filter
def is_lead(role: str) -> bool:
    """Tell whether a role may change what a workload is made of."""
    return role in {"owner", "lead"}


@register.filter
def held_out(counts: dict[str, int]) -> float | None:
    """Return the share of rows that are not trained on."""
    total = sum(counts.values())
    return 1 - counts.get("train", 0) / total if total else None
