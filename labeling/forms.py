"""What people type into the pages of label and review, checked once."""

import json
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from factory.models import Project, Upstream
from labeling.models import Teacher
from labeling.services.label import MAX_VOTES


class TeacherForm(forms.Form):
    """A model that labels."""

    name = forms.CharField(max_length=48)
    upstream = forms.ModelChoiceField(queryset=Upstream.objects.none())
    model = forms.CharField(max_length=200, help_text="as the upstream names it")
    params = forms.CharField(
        required=False,
        initial='{"temperature": 0.7}',
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="JSON, sent with each request. Votes only differ at a temperature above 0.",
    )
    may_train_on_outputs = forms.BooleanField(
        required=False, initial=True, label="its terms allow training on its answers"
    )

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        upstream = self.fields["upstream"]
        assert isinstance(upstream, forms.ModelChoiceField)
        upstream.queryset = project.upstreams.order_by("name")

    def clean_params(self) -> dict[str, Any]:
        """Return the typed JSON object, an empty one where nothing was typed."""
        try:
            params = json.loads(self.cleaned_data["params"] or "{}")
        except ValueError as error:
            raise ValidationError(f"This is not JSON: {error}") from error
        if not isinstance(params, dict):
            raise ValidationError("This is not a JSON object.")
        return params


class LabelJobForm(forms.Form):
    """A teacher's pass over the examples."""

    teacher = forms.ModelChoiceField(queryset=Teacher.objects.none(), empty_label=None)
    votes = forms.IntegerField(
        min_value=1,
        max_value=MAX_VOTES,
        initial=3,
        help_text="How often each example is asked. What the votes agree on stands by itself.",
    )
    budget_usd = forms.DecimalField(
        min_value=Decimal(0),
        max_value=Decimal(1_000_000),
        decimal_places=4,
        initial=Decimal("1.00"),
        label="Budget in US$",
        help_text="No call is made that could pass it.",
    )
    accept_confidence = forms.FloatField(
        min_value=0.01,
        max_value=1,
        initial=1.0,
        label="Accept from this agreement",
        help_text="1 takes only what all votes agree on; the rest is left to people.",
    )

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        teacher = self.fields["teacher"]
        assert isinstance(teacher, forms.ModelChoiceField)
        teacher.queryset = project.teachers.select_related("upstream").order_by("name")


class GuidelineForm(forms.Form):
    """The text that prompts the teacher and guides the reviewer."""

    text = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 14}),
        label="Guideline",
        help_text="What each answer means, and what to do in doubt. A change is a new number: what "
        "a label was made with stays on record.",
    )


class QueueForm(forms.Form):
    """How much to ask of people."""

    suspicious = forms.IntegerField(
        min_value=0,
        max_value=1_000_000,
        initial=100,
        label="Most suspicious others",
        help_text="Besides every row of the test split that no person has confirmed.",
    )


class DecisionForm(forms.Form):
    """One decision, as the browser sends it."""

    review_id = forms.UUIDField()
    item = forms.IntegerField(min_value=1)
    decision = forms.CharField(max_length=8)
    output = forms.CharField(required=False, strip=False, max_length=200_000)
    note = forms.CharField(required=False, max_length=2000)
    seconds = forms.FloatField(required=False, min_value=0, max_value=86_400)


class HeldForm(forms.Form):
    """Which items the browser holds already."""

    held = forms.CharField(required=False, max_length=400)

    def clean_held(self) -> tuple[int, ...]:
        """Return the item numbers; anything else in between is left out."""
        parts = self.cleaned_data["held"].split(",")
        return tuple(int(part) for part in parts if part.isascii() and part.isdecimal())[:20]
