"""What people type into the pages of projects, calls and examples, checked once."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from factory.erasure import Sought
from factory.errors import Conflict, InvalidInput
from factory.models import ApiKey, CapturedCall, Example, Membership, Project, Upstream, Workload
from factory.models.example import Split
from factory.redaction.detectors import KINDS
from factory.redaction.redact import Policy
from factory.services.retention import MAX_DAYS
from factory.suitability.assumptions import ASSUMPTIONS, Assumption


@contextmanager
def errors_in(form: forms.Form) -> Iterator[None]:
    """Show what a service refused beside the field that it refused."""
    try:
        yield
    except (InvalidInput, Conflict) as error:
        form.add_error(error.param if error.param in form.fields else None, error.message)
    except ValidationError as error:
        for name, messages in error.message_dict.items():
            form.add_error(name if name in form.fields else None, messages)


class DateInput(forms.DateInput):
    """The browser's own calendar."""

    input_type = "date"


class ProjectForm(forms.Form):
    """A new project."""

    name = forms.CharField(max_length=200)
    slug = forms.CharField(max_length=48, label="Address", help_text="as in /acme/")


class WorkloadForm(forms.Form):
    """A new workload, where traffic is not there yet to discover it from."""

    slug = forms.CharField(
        max_length=48, label="Name", help_text="What apps send as `model`, as in support-tickets."
    )
    kind = forms.ChoiceField(choices=Workload.Kind.choices)
    instruction = forms.CharField(widget=forms.Textarea(attrs={"rows": 4}), required=False)


class LabelSetForm(forms.Form):
    """The labels of a classification workload, one a line."""

    labels = forms.CharField(widget=forms.Textarea(attrs={"rows": 8}), help_text="One a line.")

    def clean_labels(self) -> list[str]:
        """Split into lines, empty ones left out."""
        return [line.strip() for line in self.cleaned_data["labels"].splitlines() if line.strip()]


class KeyForm(forms.Form):
    """A new API key."""

    name = forms.CharField(max_length=100, help_text="Who or what will use it.")
    scopes = forms.MultipleChoiceField(
        choices=ApiKey.Scope.choices, widget=forms.CheckboxSelectMultiple
    )


class MemberForm(forms.Form):
    """A member's role."""

    username = forms.CharField(max_length=150)
    role = forms.ChoiceField(choices=Membership.Role.choices, initial=Membership.Role.REVIEWER)


class UpstreamForm(forms.Form):
    """A model endpoint that speaks OpenAI's protocol."""

    name = forms.CharField(max_length=48)
    base_url = forms.CharField(
        max_length=500, label="Base URL", help_text="as in https://api.openai.com/v1"
    )
    key = forms.CharField(
        max_length=1000,
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Kept encrypted, never shown. Empty keeps the one that is stored.",
    )
    is_default = forms.BooleanField(
        required=False,
        label="answers calls that no other upstream or student answers",
        initial=True,
    )
    model_patterns = forms.CharField(
        max_length=1000,
        required=False,
        label="Models that go here",
        help_text="Names as in gpt-4*, separated by commas. A call may also name an upstream "
        "itself: upstream-name/model.",
    )
    dialect = forms.ChoiceField(choices=Upstream.Dialect.choices, required=False, label="Protocol")
    api_version = forms.CharField(
        max_length=32,
        required=False,
        label="API version",
        help_text="Azure only, as in 2024-10-21; empty for its v1 addresses.",
    )
    priced_model = forms.CharField(max_length=200, required=False, label="Model with a known price")
    input_usd = forms.DecimalField(
        min_value=Decimal(0), required=False, label="US$ per million input tokens"
    )
    output_usd = forms.DecimalField(
        min_value=Decimal(0), required=False, label="US$ per million output tokens"
    )

    def clean_model_patterns(self) -> list[str]:
        """Return the patterns as a list."""
        typed = self.cleaned_data["model_patterns"].split(",")
        return [pattern.strip() for pattern in typed if pattern.strip()]

    def prices(self) -> dict[str, Any] | None:
        """Return the typed price, None where none was typed."""
        data = self.cleaned_data
        if not data["priced_model"]:
            return None
        price = {"input": float(data["input_usd"] or 0), "output": float(data["output_usd"] or 0)}
        return {data["priced_model"]: price}


class CallFilterForm(forms.Form):
    """What the list of calls is narrowed by."""

    words = forms.CharField(
        max_length=200, required=False, widget=forms.TextInput(attrs={"type": "search"})
    )
    model = forms.CharField(
        max_length=200, required=False, widget=forms.TextInput(attrs={"list": "models"})
    )
    status = forms.ChoiceField(
        choices=[("", "any"), ("ok", "answered"), ("error", "failed")], required=False
    )
    since = forms.DateField(required=False, widget=DateInput, label="From")
    until = forms.DateField(required=False, widget=DateInput, label="To")


class ExampleFilterForm(forms.Form):
    """What the list of examples is narrowed by."""

    split = forms.ChoiceField(choices=[("", "all"), *Split.choices], required=False)
    status = forms.ChoiceField(choices=[("", "any"), *Example.Status.choices], required=False)


class PolicyForm(forms.Form):
    """What is taken out of calls, and a text to try it on, which goes nowhere."""

    kinds = forms.MultipleChoiceField(
        choices=[(kind, kind.replace("_", " ").lower()) for kind in KINDS],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        label="Personal data and secrets",
    )
    names = forms.BooleanField(
        required=False,
        label="people's names",
        help_text="Found by a language model: it must be installed, and each call takes longer.",
    )
    terms = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}),
        required=False,
        label="Terms of your own",
        help_text="One a line, in any case. Each becomes [TERM_1], [TERM_2] and so on.",
    )
    patterns = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        required=False,
        label="Patterns of your own",
        help_text=r"One a line, as in CUSTOMER_NO = C-\d{6} (RE2 syntax).",
    )
    sample = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 6}),
        max_length=100_000,
        required=False,
        label="Try it on this text",
        help_text="It is neither stored nor logged.",
    )
    call = forms.ChoiceField(required=False, label="or on one of the newest calls")

    def __init__(self, calls: list[CapturedCall], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.calls = {str(call.pk): call for call in calls}
        named = [(pk, call.question[:60] or call.request_id) for pk, call in self.calls.items()]
        self.fields["call"] = forms.ChoiceField(
            choices=[("", "no call"), *named], required=False, label=self.fields["call"].label
        )

    def chosen(self) -> CapturedCall | None:
        """Return the call to try the policy on."""
        return self.calls.get(self.cleaned_data["call"])

    @staticmethod
    def initial_of(policy: Policy) -> dict[str, Any]:
        """Return a policy as the form shows it."""
        patterns = [f"{name} = {pattern}" for name, pattern in policy.patterns]
        shown = {"kinds": sorted(policy.kinds), "names": policy.names}
        return {**shown, "terms": "\n".join(policy.terms), "patterns": "\n".join(patterns)}

    def clean_patterns(self) -> dict[str, str]:
        """Read a name and a pattern from each line."""
        lines = [line for line in self.cleaned_data["patterns"].splitlines() if line.strip()]
        pairs = [line.partition("=") for line in lines]
        if not all(equals for _, equals, _ in pairs):
            raise ValidationError("Each line is a name, '=' and a pattern.")
        return {name.strip(): pattern.strip() for name, _, pattern in pairs}

    def policy(self) -> Policy:
        """Return what was typed; `InvalidInput` names what is wrong."""
        data = self.cleaned_data
        terms = [line.strip() for line in data["terms"].splitlines() if line.strip()]
        typed = {name: data[name] for name in ("kinds", "names", "patterns")}
        return Policy.from_json({**typed, "terms": terms})


class RetentionForm(forms.Form):
    """How many days calls stay: those of no workload, and each workload's."""

    def __init__(self, project: Project, workloads: list[Workload], *args: Any) -> None:
        super().__init__(*args)
        self.workloads = workloads
        self.fields["project"] = _days("Calls of no workload", project.retention_days)
        for workload in workloads:
            self.fields[f"workload-{workload.pk}"] = _days(workload.slug, workload.retention_days)

    def days(self) -> dict[Workload, int]:
        """Return each workload's days."""
        return {w: self.cleaned_data[f"workload-{w.pk}"] for w in self.workloads}


def _days(label: str, days: int) -> forms.IntegerField:
    return forms.IntegerField(label=label, initial=days, min_value=1, max_value=MAX_DAYS)


class ErasureForm(forms.Form):
    """Whose calls are to be forgotten, and why."""

    metadata = forms.CharField(
        max_length=600, required=False, label="Calls with this metadata", help_text="user_id=42"
    )
    value = forms.CharField(
        max_length=300,
        required=False,
        label="or calls and examples whose texts hold",
        help_text="A name, an address, a number: as whole words, in any case.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    reason = forms.CharField(
        max_length=500, help_text="Kept with the report. Do not repeat what is to be forgotten."
    )

    def clean(self) -> dict[str, Any]:
        """Ask for one of the two ways to find a subject."""
        data = self.cleaned_data
        if bool(data.get("metadata")) == bool(data.get("value")):
            raise ValidationError("Name a pair of metadata, or a value: one of the two.")
        return data

    def sought(self) -> Sought:
        """Return what was typed; `InvalidInput` says what is wrong with it."""
        if self.cleaned_data["value"]:
            return Sought.text(self.cleaned_data["value"])
        return Sought.pair(self.cleaned_data["metadata"])


class AssumptionsForm(forms.Form):
    """What a project's suitability reports take for granted, each number with its reason."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for known in ASSUMPTIONS:
            self.fields[known.name] = forms.FloatField(
                label=known.label, min_value=known.low, max_value=known.high,
                widget=forms.NumberInput(attrs={"step": "any"}),
                help_text=known.reason,
            )  # fmt: skip

    def rows(self) -> list[tuple[Assumption, forms.BoundField]]:
        """Return each number with its field, for a table."""
        return [(known, self[known.name]) for known in ASSUMPTIONS]
