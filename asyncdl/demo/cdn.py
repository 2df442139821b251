"""The second origin: objects behind signed URLs, as S3 and CloudFront serve them.

Refuses a request that brings credentials of its own, as S3 does, so that a leaked token is seen. A URL's
life is checked when a request begins; a running body goes on.
"""

from __future__ import annotations

from asyncdl.demo.exchange import Answer, Call, cdn_error
from asyncdl.demo.ranges import file_answer
from asyncdl.demo.state import HubState

LAST_MODIFIED = "Thu, 01 Jan 2026 00:00:00 GMT"


async def cdn_object(state: HubState, call: Call) -> Answer:
    if "Authorization" in call.headers:
        raise cdn_error(400, "InvalidArgument", "Only one auth mechanism allowed")
    if call.request.method != "GET":  # the method is part of what was signed
        raise cdn_error(403, "SignatureDoesNotMatch", "The signature does not match the request")
    why = state.signer.refusal(call.request.raw_path, now=state.now())
    if why:
        raise cdn_error(403, why, "Request has expired" if why == "AccessDenied" else "Access denied")
    found = state.objects.get(call.url_path)
    if found is None:
        raise cdn_error(404, "NoSuchKey", "The specified key does not exist.")
    headers = {
        "Content-Type": "application/octet-stream",
        "Last-Modified": LAST_MODIFIED,
        "Content-Disposition": call.query("response-content-disposition"),
        "Cache-Control": "public, max-age=31536000",
    }
    return file_answer(call, found.content, found.etag, headers, cdn_error)
