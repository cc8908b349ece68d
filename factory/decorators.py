"""Doors' manners: who is calling, and one shape for every error."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def render_errors(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    return get_response
