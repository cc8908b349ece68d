"""What people type into the pages of label and review, checked once."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from factory.models import Example, Project, Upstream, Workload
from factory.models.example import Provenance, Split
from factory.prices import MAX_PRICE
from labeling.committee import METHODS
from labeling.models import (
    AUDIT_SHARE,
    Application,
    BulkAccept,
    LabelJob,
    ReviewItem,
    Seed,
    Teacher,
)
from labeling.models.review import MOST_PROBED, MOST_WANTED
from labeling.selectors.label_sets import SetInfo
from labeling.selectors.queue import QueueFilter
from labeling.services.augment import MOST_AT_ONCE, MOST_DRAFTS, PER_SEED, SYNTHETIC_SHARE
from labeling.services.judge import MOST_ROWS, ROWS
from labeling.services.label import MAX_SHOTS, MAX_VOTES
from labeling.services.queue import LONGEST_NAME
from labeling.services.review import MOST_AUDITED


class FormWithDefaults(forms.Form):
    """Where a field of `defaults` is left empty, its initial value counts."""

    defaults: ClassVar[Sequence[str]] = ()

    def clean(self) -> dict[str, Any]:
        """Fill in what was left empty."""
        given = super().clean() or {}
        for name in self.defaults:
            if given.get(name) in {None, ""} and name not in self.errors:
                given[name] = self.fields[name].initial
        return given


class LimitsForm(FormWithDefaults):
    """What a teacher's endpoint takes, and what its vendor allows: it may change."""

    defaults = ("in_flight", "batch_price_share")

    in_flight = forms.IntegerField(
        required=False, min_value=1, max_value=1024, initial=64, label="Requests at once",
        help_text="At most. Fewer by itself while the endpoint is busy.",
    )  # fmt: skip
    requests_per_minute = forms.IntegerField(
        required=False, min_value=1, max_value=10_000_000, label="Requests a minute",
        help_text="Shared by all workers. Empty: what the endpoint's own answers allow.",
    )  # fmt: skip
    tokens_per_minute = forms.IntegerField(
        required=False, min_value=1, max_value=2_000_000_000, label="Tokens a minute"
    )
    batch_price_share = forms.FloatField(
        required=False, min_value=0, max_value=1, initial=0.5, label="Batch price",
        help_text="As a share of the price: 0.5 is OpenAI's.",
    )  # fmt: skip
    may_train_on_outputs = forms.BooleanField(
        required=False, initial=True, label="its terms allow training on its answers"
    )
    licence = forms.CharField(
        required=False, max_length=120, label="Licence or terms",
        help_text="By name, as in Apache-2.0. It is named on every dataset card.",
    )  # fmt: skip
    terms = forms.CharField(
        required=False, max_length=20_000, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="What they say of training, or where they are written.",
    )  # fmt: skip


class TeacherForm(FormWithDefaults):
    """A model that labels."""

    defaults = LimitsForm.defaults

    name = forms.CharField(max_length=48)
    upstream = forms.ModelChoiceField(queryset=Upstream.objects.none())
    model = forms.CharField(max_length=200, help_text="as the upstream names it")
    params = forms.CharField(
        required=False,
        initial='{"temperature": 0.7}',
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="JSON, sent with each request. Votes only differ at a temperature above 0.",
    )
    input_usd = forms.FloatField(
        required=False, min_value=0, max_value=MAX_PRICE, label="US$ per million tokens in",
        help_text="0 for a model of your own. Empty: the price that the upstream has for it.",
    )  # fmt: skip
    output_usd = forms.FloatField(
        required=False, min_value=0, max_value=MAX_PRICE, label="US$ per million tokens out"
    )
    asks_logprobs = forms.BooleanField(
        required=False, label="ask for log probabilities: how sure it is of each answer"
    )

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        upstream = self.fields["upstream"]
        assert isinstance(upstream, forms.ModelChoiceField)
        upstream.queryset = project.upstreams.order_by("name")
        self.fields.update(LimitsForm().fields)

    def clean(self) -> dict[str, Any]:
        """A price has both sides or none."""
        given = super().clean()
        if (given.get("input_usd") is None) != (given.get("output_usd") is None):
            self.add_error("output_usd", "Give both prices, or none.")
        return given

    def clean_params(self) -> dict[str, Any]:
        """Return the typed JSON object, an empty one where nothing was typed."""
        try:
            params = json.loads(self.cleaned_data["params"] or "{}")
        except ValueError as error:
            raise ValidationError(f"This is not JSON: {error}") from error
        if not isinstance(params, dict):
            raise ValidationError("This is not a JSON object.")
        return params


class LabelJobForm(FormWithDefaults):
    """A teacher's pass over the examples."""

    defaults = ("mode", "accept_confidence", "few_shot")

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
    mode = forms.ChoiceField(
        required=False, choices=LabelJob.Mode.choices, initial=LabelJob.Mode.LIVE, label="Asked"
    )
    accept_confidence = forms.FloatField(
        required=False,
        min_value=0.01,
        max_value=1,
        initial=1.0,
        label="Accept from this agreement",
        help_text="1 takes only what all votes agree on; the rest is left to people.",
    )

    rationale = forms.BooleanField(
        required=False, label="ask for reasons before each answer",
        help_text="Kept beside the label, never in the target.",
    )  # fmt: skip
    few_shot = forms.IntegerField(
        required=False, min_value=0, max_value=MAX_SHOTS, initial=0,
        label="Reviewed examples shown",
        help_text="The nearest ones that people answered, before each question.",
    )  # fmt: skip
    beside = forms.BooleanField(
        required=False,
        label="leave the targets as they are",
        help_text="The labels lie beside them, to be compared; rows that people answered are "
        "asked too.",
    )
    panel_rows = forms.IntegerField(
        required=False, min_value=0, max_value=1000, label="Panel rows",
        help_text="Asked again by each job, to notice a teacher that has changed. "
        "Empty: by the job's size.",
    )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        """Say `applies` for what the page asks the other way round."""
        given = super().clean()
        beside = given.pop("beside", False)
        return {**given, "applies": not beside}

    def __init__(self, project: Project, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        teacher = self.fields["teacher"]
        assert isinstance(teacher, forms.ModelChoiceField)
        teacher.queryset = project.teachers.select_related("upstream").order_by("name")


class ResumeForm(forms.Form):
    """What a paused job goes on with."""

    budget_usd = forms.DecimalField(
        min_value=Decimal(0), max_value=Decimal(1_000_000), decimal_places=4, required=False,
        label="Budget in US$",
    )  # fmt: skip
    nevertheless = forms.BooleanField(required=False)


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
    audit_share = forms.FloatField(
        required=False,
        min_value=0.0,
        max_value=MOST_AUDITED,
        initial=AUDIT_SHARE,
        label="Share drawn at random",
        help_text="Of what comes besides the test rows. It measures how often the rest is wrong.",
    )
    wanted = forms.IntegerField(
        required=False, min_value=1, max_value=MOST_WANTED, label="People for each item",
        help_text="None of them sees another's answer. Where they disagree, a lead decides.",
    )  # fmt: skip
    probe_share = forms.FloatField(
        required=False, min_value=0.0, max_value=MOST_PROBED, label="Share of probes",
        help_text="Settled rows that are shown again among the others, to measure reviewers.",
    )  # fmt: skip
    lease_minutes = forms.FloatField(
        required=False, min_value=0.5, max_value=1440, label="Minutes a card may lie unanswered",
        help_text="On a screen that is closed or offline; then somebody else gets it.",
    )  # fmt: skip

    def policy(self) -> dict[str, Any]:
        """Return what was given of the queue's policy, as `set_policy` takes it."""
        data = self.cleaned_data
        minutes = data["lease_minutes"]
        seconds = None if minutes is None else round(minutes * 60)
        names = ("wanted", "probe_share")
        return {**{name: data[name] for name in names}, "lease_seconds": seconds}


class DecisionForm(forms.Form):
    """One decision, as the browser sends it."""

    review_id = forms.UUIDField()
    item = forms.IntegerField(min_value=1)
    decision = forms.CharField(max_length=8)
    output = forms.CharField(required=False, strip=False, max_length=200_000)
    note = forms.CharField(required=False, max_length=2000)
    reason = forms.CharField(required=False, max_length=40)
    seconds = forms.FloatField(required=False, min_value=0, max_value=86_400)


class AdjudicationForm(forms.Form):
    """A lead's word on one item: a version's key, "edit", "reject", or "unflag": back it goes."""

    review_id = forms.UUIDField()
    item = forms.IntegerField(min_value=1)
    version = forms.CharField(max_length=40)
    output = forms.CharField(required=False, strip=False, max_length=200_000)
    note = forms.CharField(required=False, max_length=2000)

    def clean_output(self) -> str:
        """Return the answer with the line ends that were typed: a form sends others."""
        return str(self.cleaned_data["output"]).replace("\r\n", "\n")


class QueueFilterForm(forms.Form):
    """A part of the queue."""

    label = forms.ChoiceField(required=False)
    reason = forms.ChoiceField(
        required=False, choices=[("", "any"), *ReviewItem.Reason.choices], label="In the queue as"
    )
    provenance = forms.ChoiceField(
        required=False, choices=[("", "anybody's"), *Provenance.choices], label="Whose answer"
    )
    origin = forms.ChoiceField(
        required=False, choices=[("", "anywhere"), *Example.Origin.choices], label="From"
    )
    split = forms.ChoiceField(required=False, choices=[("", "any"), *Split.choices])
    at_least = forms.FloatField(required=False, min_value=0, max_value=1, label="Score from")
    at_most = forms.FloatField(required=False, min_value=0, max_value=1, label="Score to")
    text = forms.CharField(required=False, max_length=200, label="Text holds")

    def __init__(self, workload: Workload, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        label = self.fields["label"]
        assert isinstance(label, forms.ChoiceField)
        label.choices = [("", "any"), *((name, name) for name in workload.labels)]
        if not workload.labels:
            del self.fields["label"]

    def only(self) -> QueueFilter:
        """Return the filter; a field that makes no sense narrows nothing."""
        self.is_valid()
        return QueueFilter(**self.cleaned_data)


class SaveViewForm(forms.Form):
    """A name for the part of the queue that is on screen."""

    name = forms.CharField(max_length=LONGEST_NAME)


class AssignForm(forms.Form):
    """Who is to decide what nobody has decided."""

    people = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, label="People",
        help_text="Each item goes to as many of them as it wants, evenly. Nobody ticked: all items "
        "are everybody's again.",
    )  # fmt: skip

    def __init__(self, people: Sequence[User], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        named = self.fields["people"]
        assert isinstance(named, forms.MultipleChoiceField)
        named.choices = [(user.username, user.username) for user in people]


class HeldForm(forms.Form):
    """Which items the browser holds already."""

    held = forms.CharField(required=False, max_length=400)

    def clean_held(self) -> tuple[int, ...]:
        """Return the item numbers; anything else in between is left out."""
        parts = self.cleaned_data["held"].split(",")
        return tuple(int(part) for part in parts if part.isascii() and part.isdecimal())[:20]


# --- augmentation ---------------------------------------------------------------------------------
class AugmentForm(FormWithDefaults):
    """New inputs: how many drafts of each method, and what they may cost."""

    defaults = ("per_seed", "votes", "most_share")

    teacher = forms.ModelChoiceField(queryset=Teacher.objects.none(), empty_label=None)
    per_seed = forms.IntegerField(
        required=False, min_value=1, max_value=MOST_AT_ONCE, initial=PER_SEED,
        label="Drafts a question",
        help_text="Each question starts from one training row. More at once is cheaper, and "
        "makes them more alike.",
    )  # fmt: skip
    votes = forms.IntegerField(
        required=False, min_value=1, max_value=MAX_VOTES, initial=1, label="Times read blind",
        help_text="A draft stays only if every reading gives the answer that was meant.",
    )  # fmt: skip
    most_share = forms.FloatField(
        required=False, min_value=0.01, max_value=0.9, initial=SYNTHETIC_SHARE,
        label="Synthetic share, at most",
        help_text="Of all rows that are trained on. Held-out rows are never made up.",
    )  # fmt: skip
    budget_usd = forms.DecimalField(
        min_value=Decimal(0), max_value=Decimal(1_000_000), decimal_places=4,
        initial=Decimal("1.00"), label="Budget in US$",
        help_text="No call is made that could pass it.",
    )  # fmt: skip

    def __init__(
        self,
        project: Project,
        methods: Sequence[str],
        sets: Sequence[SetInfo],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        teacher = self.fields["teacher"]
        assert isinstance(teacher, forms.ModelChoiceField)
        teacher.queryset = project.teachers.select_related("upstream").order_by("name")
        self.methods = methods
        fields: dict[str, forms.Field] = {"teacher": teacher}
        for method in methods:
            fields[method] = forms.IntegerField(
                required=False, min_value=0, max_value=MOST_DRAFTS, initial=FIRST.get(method, 0),
                label=f"Drafts: {Seed.Method(method).label}", help_text=METHOD_HELP[method],
            )  # fmt: skip
        named = [("", "none"), *((one.key, one.name) for one in sets if one.rows)]
        fields["gaps"] = forms.ChoiceField(
            required=False, choices=named, label="Whose wrong answers the gaps are",
            help_text="Mostly a student's: an evaluation's page lays its answers beside the "
            "other label sets.",
        )  # fmt: skip
        self.fields = {**fields, **{name: self.fields[name] for name in self.base_fields}}

    def clean(self) -> dict[str, Any]:
        """Gather the methods' numbers."""
        given = super().clean()
        given["wanted"] = {method: given.pop(method, None) or 0 for method in self.methods}
        return given


FIRST = {"paraphrase": 40, "rare_label": 40}
METHOD_HELP = {
    "paraphrase": "From any training row; the answer stays.",
    "rare_label": "For the answers with the fewest training rows, until they are level.",
    "counterfactual": "As little as possible is changed; the answer is another.",
    "hard_negative": "From rows that a linear model can hardly tell from another answer's.",
    "gap": "From the training rows nearest to held-out ones that were answered wrongly. "
    "Held-out texts are shown to nobody.",
}


# --- label sets and judges ------------------------------------------------------------------------
class CommitteeForm(forms.Form):
    """Several sets combined into one."""

    name = forms.CharField(max_length=120, initial="committee")
    members = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple, label="Members")
    method = forms.ChoiceField(
        choices=[(name, name.replace("_", " ")) for name in METHODS],
        initial="dawid_skene",
        help_text="Majority counts heads. Dawid-Skene learns from the answers alone how each "
        "member errs, and weighs it by that; it takes three members to learn anything.",
    )

    def __init__(self, sets: Sequence[SetInfo], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        members = self.fields["members"]
        assert isinstance(members, forms.MultipleChoiceField)
        members.choices = [(one.key, f"{one.name} ({one.rows:,} rows)") for one in sets if one.rows]


class ApplyForm(forms.Form):
    """Which answers become targets, as the comparison's buttons send it."""

    source = forms.CharField(max_length=40)
    scope = forms.ChoiceField(choices=Application.Scope.choices)
    other = forms.CharField(required=False, max_length=40)
    row = forms.CharField(required=False, strip=False, max_length=20_000)
    column = forms.CharField(required=False, strip=False, max_length=20_000)
    field = forms.CharField(required=False, max_length=500)
    at_least = forms.FloatField(required=False, min_value=0.0, max_value=1.0)

    def options(self) -> dict[str, Any]:
        """Return what the service takes."""
        data = self.cleaned_data
        is_cell = data["scope"] == Application.Scope.CELL
        cell = {"first": data["row"], "second": data["column"], "field": data["field"]}
        return {
            "source": data["source"],
            "scope": data["scope"],
            "other": data["other"],
            "cell": cell if is_cell else None,
            "at_least": data["at_least"] or 0.0,
        }


class BulkForm(forms.Form):
    """Whose answers are accepted, and from where on."""

    score = forms.ChoiceField(choices=BulkAccept.Score.choices, label="By")
    at_least = forms.FloatField(min_value=0.0, max_value=1.0, initial=0.9, label="At least")


class JudgeForm(forms.Form):
    """A model that checks others' answers."""

    teacher = forms.ModelChoiceField(
        queryset=Teacher.objects.none(), empty_label=None, label="Judge"
    )
    first = forms.ChoiceField(label="Answers of")
    second = forms.ChoiceField(
        required=False,
        label="Against those of",
        help_text="With none, each answer passes or fails. With one, the judge chooses between the "
        "two wherever they differ.",
    )
    most = forms.IntegerField(
        min_value=1,
        max_value=MOST_ROWS,
        initial=ROWS,
        label="Rows at most",
        help_text="Half of them are rows that people answered, as far as there are any: the judge "
        "is measured on those.",
    )
    budget_usd = forms.DecimalField(
        min_value=Decimal(0),
        max_value=Decimal(1_000_000),
        decimal_places=4,
        initial=Decimal("1.00"),
        label="Budget in US$",
    )
    force = forms.BooleanField(
        required=False, label="even if it judges its own answers, which models favour"
    )

    def __init__(
        self, project: Project, sets: Sequence[SetInfo], *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        teacher, first, second = (self.fields[name] for name in ("teacher", "first", "second"))
        assert isinstance(teacher, forms.ModelChoiceField)
        assert isinstance(first, forms.ChoiceField)
        assert isinstance(second, forms.ChoiceField)
        teacher.queryset = project.teachers.select_related("upstream").order_by("name")
        named = [(one.key, f"{one.name} ({one.rows:,} rows)") for one in sets if one.rows]
        first.choices = named
        second.choices = [("", "none"), *named]
