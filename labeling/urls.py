"""Addresses of label and review, below a workload's."""

from django.urls import path

from labeling.views import label, review

urlpatterns = [
    path("label-jobs/", label.label_jobs, name="label_jobs"),
    path("label-jobs/new/", label.new_label_job, name="new_label_job"),
    path("label-jobs/estimate/", label.label_estimate, name="label_estimate"),
    path("label-jobs/<int:job>/", label.label_job, name="label_job"),
    path("label-jobs/<int:job>/live/", label.label_job_live, name="label_job_live"),
    path("label-jobs/<int:job>/cancel/", label.cancel_label_job, name="cancel_label_job"),
    path("teachers/new/", label.new_teacher, name="new_teacher"),
    path("guideline/", label.guideline, name="guideline"),
    path("review/", review.review, name="review"),
    path("review/decide/", review.decide, name="decide"),
    path("review/undo/", review.undo, name="undo"),
    path("review/more/", review.deal_more, name="deal_more"),
    path("review/queue/", review.queue_review, name="queue_review"),
]
