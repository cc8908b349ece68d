"""What people type into the pages of projects, calls and examples, checked once."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from factory.curation.recipe import Recipe as CurationRecipe
from factory.datasets.recipe import CHOICES, PROMPTS, Recipe, recipe_from_json
from factory.erasure import Sought
from factory.errors import Conflict, InvalidInput
from factory.models import ApiKey, CapturedCall, Example, Membership, Project, Upstream, Workload
from factory.models.example import Provenance, Split
from factory.redaction.detectors import KINDS
from factory.redaction.redact import Policy
from factory.selectors import Twin
from factory.services.retention import MAX_DAYS
from factory.suitability.assumptions import ASSUMPTIONS, Assumption
from factory.webhooks import EVENTS


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


class JoinForm(forms.Form):
    """Which workload a prompt is another wording of, the most alike first."""

    def __init__(self, twins: list[Twin]) -> None:
        super().__init__()
        choices = [(twin.workload.slug, _with_share(twin)) for twin in twins]
        self.fields["workload"] = forms.ChoiceField(choices=choices)


def _with_share(twin: Twin) -> str:
    alike = f", {math.floor(100 * twin.share)}%" if twin.share else ""
    return f"{twin.workload.slug}{alike}"


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


class WebhookForm(forms.Form):
    """An address that is told of events."""

    url = forms.CharField(max_length=500, label="Address", help_text="as in https://app.example/in")
    events = forms.MultipleChoiceField(
        choices=[(name, f"{name}: {said}") for name, said in EVENTS.items()],
        widget=forms.CheckboxSelectMultiple,
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


class RecipeForm(forms.Form):
    """What a dataset version is made of; where nothing is chosen of a kind, all of it is."""

    name = forms.CharField(
        max_length=48, initial="main", label="Dataset", help_text="A line of versions: main, trial."
    )
    provenances = forms.MultipleChoiceField(
        choices=Provenance.choices,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        label="Whose answers",
        help_text="None chosen: all. Test rows are always those that a person answered.",
    )
    statuses = forms.MultipleChoiceField(
        choices=[(name, name) for name in CHOICES["statuses"]],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        label="How far they have come",
    )
    origins = forms.MultipleChoiceField(
        choices=[(name, name.replace("_", " ")) for name in CHOICES["origins"]],
        widget=forms.CheckboxSelectMultiple,
        required=False,
        label="Where the inputs came from",
    )
    min_confidence = forms.FloatField(
        min_value=0,
        max_value=1,
        initial=0,
        label="Least confidence of a teacher's votes",
        widget=forms.NumberInput(attrs={"step": "0.05"}),
    )
    since = forms.DateField(required=False, widget=DateInput, label="Came in from")
    until = forms.DateField(required=False, widget=DateInput, label="Came in until")
    synthetic_share = forms.FloatField(
        min_value=0,
        max_value=1,
        initial=0.3,
        label="Synthetic rows, at most this share of training",
        widget=forms.NumberInput(attrs={"step": "0.05"}),
    )
    mode = forms.ChoiceField(
        choices=[
            ("none", "as it is"),
            ("cap", "at most so many rows of a label"),
            ("undersample", "as many of each label as of the rarest"),
            ("oversample", "rare labels' rows several times"),
            ("weight", "rare labels weigh more"),
        ],
        label="Balance of the labels in training",
    )
    cap = forms.IntegerField(min_value=1, initial=1000, label="Rows of a label, for “at most”")
    most = forms.IntegerField(
        min_value=1, initial=10, label="Times a row may count, for “several times” and “more”"
    )
    prompt = forms.ChoiceField(choices=list(PROMPTS.items()), label="Prompt")
    is_for_training = forms.BooleanField(
        required=False,
        initial=True,
        label="leave out answers whose terms forbid training",
    )
    seed = forms.IntegerField(min_value=0, max_value=2**32 - 1, initial=42)

    @staticmethod
    def initial_of(recipe: Recipe) -> dict[str, Any]:
        """Return a recipe as the form shows it."""
        return {**recipe.as_json(), **recipe.balance.as_json()}

    def recipe(self) -> Recipe:
        """Return what was chosen; `InvalidInput` names what is wrong."""
        data = dict(self.cleaned_data)
        data.pop("name", None)
        balance = {name: data.pop(name) for name in ("mode", "cap", "most")}
        return recipe_from_json({**data, "balance": balance})


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


class CurationForm(forms.Form):
    """A workload's curation recipe, and the shares of its splits."""

    refusals = forms.BooleanField(required=False, label="keep refusals back")
    format = forms.BooleanField(
        required=False, label="keep answers back that break the label set or the schema"
    )
    languages = forms.CharField(
        required=False,
        max_length=200,
        label="Languages",
        help_text="Codes as in en, de. Empty: all.",
    )
    shortest = forms.IntegerField(min_value=0, label="Shortest input, in characters")
    longest = forms.IntegerField(min_value=1, label="Longest input, in characters")
    deviations = forms.FloatField(
        min_value=0,
        label="Unusual lengths",
        help_text="Robust standard deviations of the logarithm from which a length is an outlier. "
        "0: none is.",
    )
    similarity = forms.FloatField(
        min_value=0.3,
        max_value=1,
        label="Near copies share",
        widget=forms.NumberInput(attrs={"step": "0.05"}),
        help_text="This part of their words and pairs of words, from 0.3 to 1.",
    )
    reach = forms.FloatField(
        min_value=0,
        max_value=1,
        label="and with the first row of their cluster",
        widget=forms.NumberInput(attrs={"step": "0.05"}),
        help_text="This part at the least. A row further away opens a cluster of its own.",
    )
    largest = forms.IntegerField(
        min_value=2,
        label="Rows of a group, at most",
        help_text="A full group takes nothing more; what is near to it shares its split alone.",
    )
    keep = forms.IntegerField(
        min_value=0,
        label="Rows of a cluster that stay",
        help_text="0: all. Test rows always stay: they are as production asks.",
    )
    metadata = forms.CharField(
        required=False,
        max_length=400,
        label="Conversations by metadata",
        help_text="Names of metadata, separated by commas, whose value names a conversation.",
    )
    traces = forms.BooleanField(required=False, label="calls of one trace are one conversation")
    validation = forms.FloatField(
        min_value=0, max_value=0.9, label="Share of validation, of new groups",
        widget=forms.NumberInput(attrs={"step": "0.01"}),
    )  # fmt: skip
    test = forms.FloatField(
        min_value=0, max_value=0.9, label="Share of test, of new groups",
        widget=forms.NumberInput(attrs={"step": "0.01"}),
    )  # fmt: skip
    mode = forms.ChoiceField(
        choices=RecipeForm.base_fields["mode"].choices,  # type: ignore[attr-defined]  # a ChoiceField
        label="Balance of the labels in training, to look at",
    )
    cap = forms.IntegerField(min_value=1, label="Rows of a label, for “at most”")
    most = forms.IntegerField(
        min_value=1, label="Times a row may count, for “several times” and “more”"
    )
    contamination = forms.BooleanField(required=False, label="measure contamination after a run")

    @staticmethod
    def initial_of(recipe: CurationRecipe, workload: Workload) -> dict[str, Any]:
        """Return a recipe as the form shows it."""
        parts = recipe.as_json()
        language, named = parts["language"], parts["conversations"]
        return {
            **parts["answers"],
            "languages": ", ".join(language["keep"]),
            **parts["length"],
            **parts["near"],
            "metadata": ", ".join(named["metadata"]),
            "traces": named["traces"],
            "validation": workload.validation_share,
            "test": workload.test_share,
            **parts["balance"],
            "contamination": parts["contamination"],
        }

    def shares(self) -> dict[str, float]:
        """Return the shares of new groups."""
        return {name: self.cleaned_data[name] for name in ("validation", "test")}

    def recipe(self) -> dict[str, Any]:
        """Return what was typed, as a recipe's JSON."""
        data = self.cleaned_data

        def part(*names: str) -> dict[str, Any]:
            return {name: data[name] for name in names}

        def listed(name: str) -> list[str]:
            return [word.strip() for word in data[name].split(",") if word.strip()]

        return {
            "answers": part("refusals", "format"),
            "language": {"keep": listed("languages")},
            "length": part("shortest", "longest", "deviations"),
            "near": part("similarity", "reach", "largest", "keep"),
            "conversations": {"metadata": listed("metadata"), "traces": data["traces"]},
            "balance": part("mode", "cap", "most"),
            "contamination": data["contamination"],
        }
