"""Posts once as the framework's process does, on gevent: `python -m tests.unit.gevent_post URL`."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import ssl  # noqa: E402
import sys  # noqa: E402
from dataclasses import asdict  # noqa: E402

from builder_framework.domain import endpoints  # noqa: E402
from builder_framework.service.post import Limits, Poster  # noqa: E402

if __name__ == "__main__":
    url, limits, authority = sys.argv[1:]
    tls = ssl.create_default_context(cafile=authority or None)
    poster = Poster(Limits(**json.loads(limits)), tls)
    body, headers = sys.stdin.buffer.read(), {"webhook-id": "msg_1"}
    answer = asdict(poster.post(endpoints.parse(url), body, headers))
    print(json.dumps({**answer, "body": ""}))
