"""The Celery application of the service: `celery -A workers.main worker` and `... beat`.

Not here: how it is made (workers.application), what it does (workers.pipeline).
"""

from __future__ import annotations

from celery import Celery

from app.domain.errors import SettingsError
from app.services.parts import Parts
from app.settings import PREFIX, Settings
from app.store.transaction import Ring
from app.wiring import rules_of, service_parts, settings_of
from workers.application import application
from workers.draining import Draining
from workers.pipeline import Pipeline, pipeline_of


def built(settings: Settings) -> Celery:
    """The application of these settings."""
    if settings.broker_url is None:
        raise SettingsError(
            f"{PREFIX}BROKER_URL: expected redis://[:password@]host:port/0; or start the worker "
            "with --no-broker."
        )

    def parts_of(ring: Ring) -> Parts:
        return service_parts(settings, ring=ring)

    def of_process(ring: Ring, draining: Draining) -> Pipeline:
        return pipeline_of(settings, ring, draining)

    return application(
        settings.broker_url.get_secret_value(),
        rules=rules_of(settings),
        parts_of=parts_of,
        pipeline_of=of_process,
    )


app = built(settings_of())
