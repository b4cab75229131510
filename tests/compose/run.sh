#!/usr/bin/env bash
# make compose-test: the deployment for real. Needs Docker with Compose 2.24.4 or newer, and python3.
#
#   COMPOSE_TEST_SECONDS=240   time limit for all of it
#   COMPOSE_TEST_KEEP=1        leave the stack running, for looking into it
#   GATEWAY_IMAGE=…            test this image instead of building one
set -euo pipefail
cd "$(dirname "$0")/../.."

docker info >/dev/null 2>&1 || { echo "compose-test: no Docker Engine answers" >&2; exit 2; }
docker compose version >/dev/null 2>&1 || { echo "compose-test: the Compose plugin is missing" >&2; exit 2; }
# Without the buildx plugin only the classic builder works; the Dockerfile suits both.
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=${DOCKER_BUILDKIT:-0}

exec "${PYTHON:-python3}" tests/compose/drive.py
