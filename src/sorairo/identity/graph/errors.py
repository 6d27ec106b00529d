"""What Graph refuses with. https://learn.microsoft.com/graph/errors"""

from __future__ import annotations

import time
import uuid
from typing import Any


class GraphError(Exception):
    """`{"error": {"code", "message", "innerError": {…}}}` with its status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message

    def body(self, client_request_id: str = "") -> dict[str, Any]:
        request_id = str(uuid.uuid4())
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "innerError": {
                    "date": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()),
                    "request-id": request_id,
                    "client-request-id": client_request_id or request_id,
                },
            }
        }


def bad(message: str) -> GraphError:
    return GraphError(400, "Request_BadRequest", message)


def taken(name: str) -> GraphError:
    return bad(f"Another object with the same value for property {name} already exists.")


def not_found(id: str) -> GraphError:
    return GraphError(
        404,
        "Request_ResourceNotFound",
        f"Resource '{id}' does not exist or one of its queried reference-property objects are not present.",
    )


def denied(message: str = "Insufficient privileges to complete the operation.") -> GraphError:
    return GraphError(403, "Authorization_RequestDenied", message)
