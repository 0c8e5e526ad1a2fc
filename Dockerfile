# One image for every part: the command picks it (migrate, api, worker, beat, ...).
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY requirements/build.txt requirements/base.txt requirements/
# The tool that makes our wheel stays behind in this stage.
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt \
 && python -m venv /opt/clearlake \
 && /opt/clearlake/bin/pip install --require-hashes --only-binary :all: -r requirements/base.txt
COPY pyproject.toml README.md ./
COPY app app
COPY workers workers
COPY migrations migrations
RUN /opt/build/bin/python -m hatchling build -t wheel -d /tmp/dist \
 && /opt/clearlake/bin/pip install --no-deps /tmp/dist/*.whl \
 && /opt/clearlake/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="clearlake" \
      org.opencontainers.image.description="Takes a person out of an event lake, and proves it."
RUN pip uninstall --yes --root-user-action=ignore pip setuptools wheel \
 && useradd --uid 10001 --user-group --home-dir /var/lib/clearlake --shell /usr/sbin/nologin clearlake \
 && install -d -o clearlake -g clearlake -m 0700 \
    /var/lib/clearlake /var/lib/clearlake/keys /var/lib/clearlake/spool
COPY --from=build /opt/clearlake /opt/clearlake
ENV PATH=/opt/clearlake/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CLEARLAKE_ENV=production \
    CLEARLAKE_HOST=0.0.0.0 \
    CLEARLAKE_PORT=8000 \
    CLEARLAKE_KEYS_URI=file:///var/lib/clearlake/keys \
    CLEARLAKE_SPOOL=/var/lib/clearlake/spool
USER 10001:10001
WORKDIR /var/lib/clearlake
EXPOSE 8000
# Of the API; compose and other runners replace it for the parts that serve no HTTP.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['CLEARLAKE_PORT'] + '/healthz', timeout=3)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["clearlake"]
CMD ["api"]
