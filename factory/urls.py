"""The URL map; later packages are named by string, so that the site imports none of them."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from factory.views import curation, datasets, imports, privacy, prompts, report, webhooks
from factory.views import pages as views

handler400 = views.bad_request
handler403 = views.forbidden
handler404 = views.not_found
handler500 = views.broken

# "-" is no slug: what belongs to a project itself can never be hidden by a workload's name.
project = [
    path("", views.project, name="project"),
    path("-/calls/", views.project_calls, name="project_calls"),
    path("-/calls/<uuid:call>/", views.call, name="call"),
    path("-/curate/", curation.curate_calls, name="curate"),
    path("-/curate/<int:curate>/", curation.curation_run, name="curation_run"),
    path("-/curate/<int:curate>/cancel/", curation.cancel_curation, name="cancel_curation"),
    path("-/prompts/<int:group>/", prompts.prompt, name="prompt"),
    path("-/prompts/<int:group>/accept/", prompts.accept_prompt, name="accept_prompt"),
    path("-/prompts/<int:group>/ignore/", prompts.ignore_prompt, name="ignore_prompt"),
    path("-/prompts/<int:group>/join/", prompts.join_prompt, name="join_prompt"),
    path("-/prompts/<int:group>/take-out/", prompts.take_out_prompt, name="take_out_prompt"),
    path("-/prompts/<int:group>/report/", report.prompt_report, name="prompt_report"),
    path(
        "-/prompts/<int:group>/report/live/", report.prompt_report_live, name="prompt_report_live"
    ),
    path("-/opportunities/", report.opportunities, name="opportunities"),
    path("-/assumptions/", report.assumptions, name="assumptions"),
    path("-/workloads/new/", views.new_workload, name="new_workload"),
    path("-/keys/new/", views.new_key, name="new_key"),
    path("-/keys/<int:key>/revoke/", views.revoke_key, name="revoke_key"),
    path("-/webhooks/new/", webhooks.new_webhook, name="new_webhook"),
    path("-/webhooks/<int:webhook>/", webhooks.webhook, name="webhook"),
    path("-/webhooks/<int:webhook>/ping/", webhooks.ping_webhook, name="ping_webhook"),
    path("-/webhooks/<int:webhook>/remove/", webhooks.remove_webhook, name="remove_webhook"),
    path("-/deliveries/<uuid:delivery>/again/", webhooks.send_again, name="send_again"),
    path("-/members/new/", views.new_member, name="new_member"),
    path("-/upstreams/new/", views.new_upstream, name="new_upstream"),
    path("-/imports/new/", imports.new_import, name="new_import"),
    path("-/imports/<int:job>/", imports.import_page, name="import"),
    path("-/imports/<int:job>/live/", imports.import_live, name="import_live"),
    path("-/imports/<int:job>/refused.csv", imports.import_refused, name="import_refused"),
    path("-/imports/<int:job>/cancel/", imports.cancel_import, name="cancel_import"),
    path("-/privacy/", privacy.privacy, name="privacy"),
    path("-/privacy/policy/", privacy.save_policy, name="save_policy"),
    path("-/privacy/preview/", privacy.preview_policy, name="preview_policy"),
    path("-/privacy/retention/", privacy.save_retention, name="save_retention"),
    path("-/privacy/erasures/new/", privacy.new_erasure, name="new_erasure"),
    path("-/privacy/erasures/<int:erasure>/", privacy.erasure, name="erasure"),
    path("-/privacy/erasures/<int:erasure>/live/", privacy.erasure_live, name="erasure_live"),
    path(
        "-/privacy/erasures/<int:erasure>/confirm/", privacy.confirm_erasure, name="confirm_erasure"
    ),
]
version = "datasets/<slug:name>/v<int:number>/"
workload = [
    path("report/", report.workload_report, name="report"),
    path("report/live/", report.workload_report_live, name="report_live"),
    path("calls/", views.calls, name="calls"),
    path("examples/", views.examples, name="examples"),
    path("curate/", curation.curation_page, name="curation"),
    path("curate/recipe/", curation.curation_recipe, name="curation_recipe"),
    path("curate/steps/<int:step>/undo/", curation.undo_step, name="undo_step"),
    path("label-set/", views.label_set, name="label_set"),
    path("datasets/", datasets.datasets, name="datasets"),
    path(version, datasets.dataset_version, name="dataset_version"),
    path(f"{version}rows.jsonl", datasets.dataset_rows, name="dataset_rows"),
    path(f"{version}files/<path:path>", datasets.dataset_file, name="dataset_file"),
    path(f"{version}diff/", datasets.dataset_diff, name="dataset_diff"),
    path("examples/import/", datasets.new_example_import, name="new_example_import"),
    path("examples/imports/<int:job>/", datasets.example_import, name="example_import"),
    path(
        "examples/imports/<int:job>/live/", datasets.example_import_live, name="example_import_live"
    ),
    path(
        "examples/imports/<int:job>/refused.csv",
        datasets.example_import_refused,
        name="example_import_refused",
    ),
    path(
        "examples/imports/<int:job>/cancel/",
        datasets.cancel_example_import,
        name="cancel_example_import",
    ),
]
urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("distill.api")),
    path("v1/", include("factory.api.stored")),
    path(
        "sign-in/",
        LoginView.as_view(template_name="factory/sign_in.html", redirect_authenticated_user=True),
        name="sign_in",
    ),
    path("sign-out/", LogoutView.as_view(), name="sign_out"),
    path("", views.home, name="home"),
    path("-/new/", views.new_project, name="new_project"),
    path("<slug:project>/", include(project)),
    path("<slug:project>/<slug:workload>/", include(workload)),
    path("<slug:project>/<slug:workload>/", include("labeling.urls")),
    path("<slug:project>/<slug:workload>/", include("distill.urls")),
]
