from factory.models.call import CapturedCall, Feedback
from factory.models.dataset import Dataset, DatasetEntry, DatasetVersion
from factory.models.example import Example
from factory.models.job import ImportJob, Job
from factory.models.project import ApiKey, Membership, Project, Upstream
from factory.models.workload import Workload

__all__ = [
    "ApiKey",
    "CapturedCall",
    "Dataset",
    "DatasetEntry",
    "DatasetVersion",
    "Example",
    "Feedback",
    "ImportJob",
    "Job",
    "Membership",
    "Project",
    "Upstream",
    "Workload",
]
