from factory.models.call import (
    CallKey,
    CallPayload,
    CallTally,
    CallText,
    CapturedCall,
    PayloadDictionary,
)
from factory.models.curation import Curation, CurationRun, CurationStep, NearKey
from factory.models.dataset import (
    Dataset,
    DatasetEntry,
    DatasetVersion,
    ExampleImport,
    FreezeJob,
)
from factory.models.erasure import ErasedRows, ErasedSpool, Erasure
from factory.models.example import Example
from factory.models.feedback import Feedback
from factory.models.held import HeldSpan
from factory.models.job import ImportJob, Job
from factory.models.loss import CaptureLoss
from factory.models.project import ApiKey, Membership, Project, Upstream
from factory.models.report import ReportAssumptions, SuitabilityReport
from factory.models.request import IdempotentRequest
from factory.models.webhook import Delivery, Webhook
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
    "Curation",
    "CurationRun",
    "CurationStep",
    "Dataset",
    "DatasetEntry",
    "DatasetVersion",
    "Delivery",
    "ErasedRows",
    "ErasedSpool",
    "Erasure",
    "Example",
    "ExampleImport",
    "Feedback",
    "FreezeJob",
    "HeldSpan",
    "IdempotentRequest",
    "ImportJob",
    "Job",
    "Membership",
    "NearKey",
    "PayloadDictionary",
    "Project",
    "ReportAssumptions",
    "SuitabilityReport",
    "Upstream",
    "Webhook",
    "Workload",
]
