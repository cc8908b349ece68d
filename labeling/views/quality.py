"""The page of how people and the teacher agree, and what a look of theirs is worth."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from factory.decorators import signed_in
from factory.selectors import role_of, workload_for_user
from labeling.selectors.quality import quality_of


@signed_in("GET")
def quality(request: HttpRequest, project: str, workload: str) -> HttpResponse:
    """Show agreement, calibration and pace; `rows=drawn` asks for drawn rows alone."""
    found = workload_for_user(request.user, project, workload)
    drawn = request.GET.get("rows") == "drawn"
    measured = quality_of(found, drawn=drawn)
    wanted = request.GET.get("score", "")
    bands = {one.name: one for one in measured.calibrations}
    shown = {
        "project": found.project,
        "workload": found,
        "role": role_of(request.user, found.project),
        "quality": measured,
        "drawn": drawn,
        "bands": bands.get(wanted) or next(iter(bands.values()), None),
    }
    return render(request, "labeling/quality.html", shown)
