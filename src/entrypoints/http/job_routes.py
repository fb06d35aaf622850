"""``/jobs``: recorded work, for the token that made it."""

import time
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from domain.errors import FieldProblem, InvalidRequestError
from domain.jobs import Job
from entrypoints.container import Container
from entrypoints.http.bearer import owner_of
from entrypoints.http.disconnect import unless_disconnected
from entrypoints.http.errors import error_content, status_of

MAX_WAIT_S = 60.0
WAIT_STEP_S = 0.5
"""Between looks whether the service is stopping, which ends the wait."""
MAX_PAGE = 1000
DEFAULT_PAGE = 100


def job_response(job: Job, status: int = 200) -> JSONResponse:
    """Return a job, and where it is."""
    headers = {"Location": f"/jobs/{job.job_id}"}
    if status == 202:  # noqa: PLR2004 - Accepted
        headers |= {"Preference-Applied": "respond-async", "Retry-After": "1"}
    return JSONResponse(job_content(job), status_code=status, headers=headers)


def job_content(job: Job) -> dict[str, Any]:
    """Return a job as JSON."""
    content: dict[str, Any] = {
        "id": job.job_id,
        "status": job.state.value,
        "workflow": job.workflow,
        "attempts": job.num_attempts,
        "created_at": _time(job.created_s),
        "finished_at": None if job.finished_s is None else _time(job.finished_s),
    }
    if job.outcome is not None and job.outcome.reply is not None:
        reply = job.outcome.reply
        if reply.output is not None:
            content["result"] = reply.output
        content["usage"] = {
            "prompt_tokens": reply.num_prompt_tokens,
            "completion_tokens": reply.num_completion_tokens,
            "finish_reason": reply.finish_reason,
        }
    if job.outcome is not None and job.outcome.error is not None:
        error = job.outcome.error.error()
        content["error"] = error_content(status_of(error), str(error))
    return content


class JobRoutes:
    """The endpoints of jobs, over one container."""

    def __init__(self, container: Container) -> None:
        self._jobs = container.jobs
        self._drain = container.drain

    async def page(self, request: Request) -> Response:
        """List the caller's jobs, the newest first; ``before`` is the last id of the page before."""
        limit = _number(request, "limit", DEFAULT_PAGE, most=MAX_PAGE)
        if limit != int(limit):
            raise InvalidRequestError(FieldProblem("limit", "should be a whole number"))
        before = request.query_params.get("before")
        jobs = await self._jobs.page(owner_of(request), limit=int(limit), before=before)
        return JSONResponse({"jobs": [job_content(job) for job in jobs]})

    async def job(self, request: Request) -> Response:
        """Serve one job; of one route, so that 405 tells of all methods."""
        return await (self.remove(request) if request.method == "DELETE" else self.get(request))

    async def get(self, request: Request) -> Response:
        """Return a job, once it is finished or ``wait`` seconds have passed."""
        wait_s = _number(request, "wait", 0, most=MAX_WAIT_S)
        return job_response(await unless_disconnected(request, self._waited(request, wait_s)))

    async def _waited(self, request: Request, wait_s: float) -> Job:
        job_id, owner = request.path_params["job_id"], owner_of(request)
        deadline_s = time.monotonic() + wait_s
        while True:
            left_s = 0.0 if self._drain.has_begun else deadline_s - time.monotonic()
            job = await self._jobs.get(job_id, owner, wait_s=max(0.0, min(left_s, WAIT_STEP_S)))
            if job.state.is_final or left_s <= 0:
                return job

    async def remove(self, request: Request) -> Response:
        """Cancel a job, or erase it when it is finished."""
        job = await self._jobs.remove(request.path_params["job_id"], owner_of(request))
        return Response(status_code=204) if job is None else job_response(job)


def _number(request: Request, name: str, default: float, *, most: float) -> float:
    given = request.query_params.get(name)
    if given is None:
        return default
    try:
        number = float(given)
    except ValueError:
        number = -1.0
    if not 0 <= number <= most:
        raise InvalidRequestError(FieldProblem(name, f"should be a number from 0 to {most:g}"))
    return number


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
