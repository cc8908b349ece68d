from factory.models.call import (
    CallKey,
    CallPayload,
    CallTally,
    CallText,
    CapturedCall,
    PayloadDictionary,
)
from factory.models.dataset import Dataset, DatasetEntry, DatasetVersion
from factory.models.erasure import ErasedRows, Erasure
from factory.models.example import Example
from factory.models.feedback import Feedback
from factory.models.held import HeldSpan
from factory.models.job import ImportJob, Job
from factory.models.loss import CaptureLoss
from factory.models.project import ApiKey, Membership, Project, Upstream
from factory.models.report import ReportAssumptions, SuitabilityReport
from factory.models.request import IdempotentRequest
from factory.models.workload import CallGroup, Workload

__all__ = [
    "ApiKey",
    "CallGroup",
    "CallKey",
    "CallPayload",
    "CallTally",
    "CallText",
    "CaptureLoss",
    "CapturedCall",
    "Dataset",
    "DatasetEntry",
    "DatasetVersion",
    "ErasedRows",
    "Erasure",
    "Example",
    "Feedback",
    "HeldSpan",
    "IdempotentRequest",
    "ImportJob",
    "Job",
    "Membership",
    "PayloadDictionary",
    "Project",
    "ReportAssumptions",
    "SuitabilityReport",
    "Upstream",
    "Workload",
]
