"""What a project has taken out of its calls before they are first written."""

from factory.models import Project
from factory.redaction.redact import Policy, check_policy


def save_policy(project: Project, policy: Policy) -> None:
    """Take this out from now on, at every door; what is stored already stays as it is.

    `InvalidInput` where this installation cannot do it.
    """
    check_policy(policy)
    Project.objects.filter(pk=project.pk).update(redaction=policy.as_json())
    project.redaction = policy.as_json()
