"""Addresses of label and review, below a workload's."""

from django.urls import path

from labeling.views import datasets, insight, judge, label, label_sets, review

version = "datasets/<slug:name>/v<int:number>/"
urlpatterns = [
    path("datasets/new/", datasets.new_version, name="new_version"),
    path("datasets/preview/", datasets.version_preview, name="version_preview"),
    path("datasets/freeze/", datasets.freeze_dataset, name="freeze"),
    path("datasets/freezes/<int:job>/", datasets.freeze_job, name="freeze_job"),
    path("datasets/freezes/<int:job>/live/", datasets.freeze_job_live, name="freeze_job_live"),
    path("datasets/freezes/<int:job>/cancel/", datasets.cancel_freeze, name="cancel_freeze"),
    path(f"{version}branch/", datasets.branch_dataset, name="branch_dataset"),
    path(f"{version}export/", datasets.dataset_export, name="dataset_export"),
    path("label-jobs/", label.label_jobs, name="label_jobs"),
    path("label-jobs/new/", label.new_label_job, name="new_label_job"),
    path("label-jobs/estimate/", label.label_estimate, name="label_estimate"),
    path("label-jobs/<int:job>/", label.label_job, name="label_job"),
    path("label-jobs/<int:job>/live/", label.label_job_live, name="label_job_live"),
    path("label-jobs/<int:job>/cancel/", label.cancel_label_job, name="cancel_label_job"),
    path("label-jobs/<int:job>/pause/", label.pause_label_job, name="pause_label_job"),
    path("label-jobs/<int:job>/resume/", label.resume_label_job, name="resume_label_job"),
    path("teachers/new/", label.new_teacher, name="new_teacher"),
    path("teachers/<int:teacher>/", label.change_teacher, name="change_teacher"),
    path("guideline/", label.guideline, name="guideline"),
    path("label-sets/", label_sets.label_sets, name="label_sets"),
    path("label-sets/compare/", label_sets.compare_sets, name="compare_sets"),
    path("label-sets/apply/", label_sets.apply_set, name="apply_set"),
    path("label-sets/acts/<int:act>/", label_sets.application, name="application"),
    path("label-sets/acts/<int:act>/live/", label_sets.application_live, name="application_live"),
    path("label-sets/acts/<int:act>/undo/", label_sets.undo_application, name="undo_application"),
    path(
        "label-sets/acts/<int:act>/cancel/",
        label_sets.cancel_application,
        name="cancel_application",
    ),
    path("label-sets/committees/new/", label_sets.new_committee, name="new_committee"),
    path("label-sets/<int:number>/delete/", label_sets.delete_set, name="delete_set"),
    path("judges/new/", judge.new_judge, name="new_judge"),
    path("judges/<int:job>/", judge.judge, name="judge"),
    path("judges/<int:job>/live/", judge.judge_live, name="judge_live"),
    path("judges/<int:job>/cancel/", judge.cancel_judge, name="cancel_judge"),
    path("insight/", insight.insight, name="insight"),
    path("insight/live/", insight.insight_live, name="insight_live"),
    path("insight/cancel/", insight.cancel_insight, name="cancel_insight"),
    path("review/", review.review, name="review"),
    path("review/decide/", review.decide, name="decide"),
    path("review/undo/", review.undo, name="undo"),
    path("review/more/", review.deal_more, name="deal_more"),
    path("review/queue/", review.queue_review, name="queue_review"),
]
