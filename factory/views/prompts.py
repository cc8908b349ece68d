"""Pages of prompts: what their calls have in common, and whose calls they are."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from factory import selectors
from factory.decorators import signed_in
from factory.discovery.discover import differences
from factory.forms import JoinForm
from factory.models import Membership
from factory.selectors import group_of_project, project_for_user, workload_in_project
from factory.services import discover

Role = Membership.Role


@signed_in("GET")
def prompt(request: HttpRequest, project: str, group: int) -> HttpResponse:
    """Show a group of calls that share a prompt: its skeleton, and some of its calls."""
    found = project_for_user(request.user, project)
    shown = group_of_project(found, group)
    context = {
        "project": found,
        "group": shown,
        "calls": selectors.newest_calls(shown, 10),
        "role": selectors.role_of(request.user, found),
    }
    if shown.workload:
        made = selectors.capped_count(selectors.examples_of_group(shown))
        return render(request, "factory/prompt.html", {**context, "examples": made})
    twins = selectors.twins(shown)
    if twins:
        nearest = twins[0] if twins[0].share else None
        context |= {"join": JoinForm(twins), "nearest": nearest}
        context["changes"] = nearest and differences(selectors.wording_of(shown), nearest.text)
    return render(request, "factory/prompt.html", context)


@signed_in("POST")
def accept_prompt(request: HttpRequest, project: str, group: int) -> HttpResponse:
    """Make a workload of a prompt that many calls share."""
    found = project_for_user(request.user, project, Role.LEAD)
    made = discover.accept_group(group_of_project(found, group))
    messages.success(request, f"{made.slug} is a workload: its calls, past and to come, are its.")
    return redirect("project", project)


@signed_in("POST")
def ignore_prompt(request: HttpRequest, project: str, group: int) -> HttpResponse:
    """Do not propose a prompt again."""
    found = project_for_user(request.user, project, Role.LEAD)
    discover.ignore_group(group_of_project(found, group))
    return redirect("project", project)


@signed_in("POST")
def join_prompt(request: HttpRequest, project: str, group: int) -> HttpResponse:
    """Let a prompt be another wording of a workload's."""
    found = project_for_user(request.user, project, Role.LEAD)
    shown = group_of_project(found, group)
    workload = workload_in_project(found, request.POST.get("workload", ""))
    discover.attach_group(shown, workload)
    said = f"The prompt's calls, past and to come, are those of {workload.slug}."
    messages.success(request, said)
    return redirect("workload", project, workload.slug)


@signed_in("POST")
def take_out_prompt(request: HttpRequest, project: str, group: int) -> HttpResponse:
    """Take a prompt out of its workload."""
    found = project_for_user(request.user, project, Role.LEAD)
    gone = discover.detach_group(group_of_project(found, group))
    messages.success(request, f"The prompt is proposed again; {gone:,} examples were discarded.")
    return redirect("prompt", project, group)
