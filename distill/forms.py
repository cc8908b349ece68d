"""What people type into the pages of runs and model versions, checked once."""

from typing import Any

from django import forms

from distill.models import Alias
from distill.selectors.runs import spec_advice, spec_default
from factory.models import DatasetVersion, Workload
from labeling.models import Teacher

WHOLE = ("lora_r", "batch_size", "max_length", "seed")
REAL = ("learning_rate", "epochs")


class RunForm(forms.Form):
    """A new run: what it learns from, and which recommended values are changed."""

    version = forms.ModelChoiceField(
        queryset=DatasetVersion.objects.none(), empty_label=None, label="Dataset version"
    )
    base_model = forms.CharField(
        max_length=500,
        required=False,
        help_text="A hub id such as Qwen/Qwen2.5-7B-Instruct, or a folder; empty: the usual one.",
    )
    teacher = forms.ModelChoiceField(
        queryset=Teacher.objects.none(),
        required=False,
        empty_label="what production answered",
        help_text="Whom the student is measured against.",
    )

    def __init__(self, workload: Workload, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        versions = DatasetVersion.objects.filter(dataset__workload=workload)
        ordered = versions.select_related("dataset").order_by("-id")
        version, teacher = self.fields["version"], self.fields["teacher"]
        assert isinstance(version, forms.ModelChoiceField)
        assert isinstance(teacher, forms.ModelChoiceField)
        version.queryset = ordered
        teacher.queryset = workload.project.teachers.order_by("name")
        chosen = self.initial.get("version")
        self.add_parameters(ordered.filter(pk=chosen).first() if chosen else ordered.first())

    def add_parameters(self, version: DatasetVersion | None) -> None:
        """Add a field for each parameter, empty, its recommended value and the reason beside it."""
        advice = spec_advice(version)
        for name in (*REAL, *WHOLE):
            known = advice.get(name)
            value = known.value if known else spec_default(name)
            kind = forms.FloatField if name in REAL else forms.IntegerField
            self.fields[name] = kind(
                required=False,
                min_value=0,
                label=name.replace("_", " ").capitalize(),
                help_text=f"{value:g}: {known.reason if known else 'the usual value'}",
                widget=forms.NumberInput(attrs={"placeholder": f"{value:g}", "step": "any"}),
            )

    def overrides(self) -> dict[str, Any]:
        """Return the parameters that were typed."""
        data = self.cleaned_data
        return {name: data[name] for name in (*REAL, *WHOLE) if data.get(name) is not None}


class PublishForm(forms.Form):
    """Publishing, against the gate if there is a reason for it."""

    override_reason = forms.CharField(
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        label="Why publish it all the same",
        help_text="The model card tells it.",
    )


class AliasForm(forms.Form):
    """Moving an alias: where to, and where the page showed it."""

    name = forms.ChoiceField(choices=[(n, n) for n in (Alias.Name.PRODUCTION, Alias.Name.CANARY)])
    to = forms.IntegerField(min_value=1)
    expected = forms.IntegerField(min_value=1, required=False)
