"""What people type into the pages of projects, calls and examples, checked once."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from factory.errors import Conflict, InvalidInput
from factory.models import ApiKey, Example, Membership, Workload
from factory.models.example import Split


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
        required=False, label="answers calls that no student answers", initial=True
    )
    priced_model = forms.CharField(max_length=200, required=False, label="Model with a known price")
    input_usd = forms.DecimalField(
        min_value=Decimal(0), required=False, label="US$ per million input tokens"
    )
    output_usd = forms.DecimalField(
        min_value=Decimal(0), required=False, label="US$ per million output tokens"
    )

    def prices(self) -> dict[str, Any] | None:
        """Return the typed price, None where none was typed."""
        data = self.cleaned_data
        if not data["priced_model"]:
            return None
        price = {"input": float(data["input_usd"] or 0), "output": float(data["output_usd"] or 0)}
        return {data["priced_model"]: price}


class ImportForm(forms.Form):
    """A log file."""

    file = forms.FileField(
        label="Log file", help_text="JSON Lines: one request with its response a line."
    )


class CallFilterForm(forms.Form):
    """What the list of calls is narrowed by."""

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
