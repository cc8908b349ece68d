"""Addresses of label and review, below a workload's."""

from django.urls import path

from labeling import views

urlpatterns = [
    path("label-jobs/", views.label_jobs, name="label_jobs"),
    path("label-jobs/new/", views.new_label_job, name="new_label_job"),
    path("label-jobs/estimate/", views.label_estimate, name="label_estimate"),
    path("label-jobs/<int:job>/", views.label_job, name="label_job"),
    path("label-jobs/<int:job>/live/", views.label_job_live, name="label_job_live"),
    path("label-jobs/<int:job>/cancel/", views.cancel_label_job, name="cancel_label_job"),
    path("teachers/new/", views.new_teacher, name="new_teacher"),
    path("guideline/", views.guideline, name="guideline"),
    path("review/", views.review, name="review"),
    path("review/decide/", views.decide, name="decide"),
    path("review/undo/", views.undo, name="undo"),
    path("review/more/", views.deal_more, name="deal_more"),
    path("review/queue/", views.queue_review, name="queue_review"),
]
