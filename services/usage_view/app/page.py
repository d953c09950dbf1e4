"""The page that a customer sees, behind a signed link: plain HTML with a style of its own, and nothing from anywhere else."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from markupsafe import Markup

from services.usage_view.app.page_text import page_text
from services.usage_view.app.reading import Bills
from services.usage_view.app.usage import wish_of
from services.usage_view.core.billing_period import CURRENT
from services.usage_view.core.links import LinkVerdict, check
from services.usage_view.core.query import parameters
from services.usage_view.metrics import LINKS, OPENED, REFUSED
from trueup.contracts.errors import Transient
from trueup.contracts.problems import Refused
from trueup.runtime import log
from trueup.runtime.clock import Clock, rfc3339
from trueup.runtime.http.answers import RETRY_AFTER_SECONDS, AnyRequest
from trueup.runtime.metrics import Registry

PATH = "/customers/"
_HERE = Path(__file__).parent
_STYLE = (_HERE / "customer.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    # The address opens the page: nobody else is told it.
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
_SORRY = {
    LinkVerdict.EXPIRED: ("This link has expired", "Please open your usage from your account again."),
    LinkVerdict.FORGED: ("This link does not open anything", "Please open your usage from your account again."),
}


class PageDoor:
    """`GET /customers/{customer}`."""

    def __init__(self, secrets: tuple[bytes, ...], bills: Bills, clock: Clock, registry: Registry) -> None:
        self._secrets = secrets
        self._bills = bills
        self._clock = clock
        self._registry = registry
        self._templates = Environment(
            loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._log = log.get("usage-view.page")

    async def get(self, request: AnyRequest, customer: str) -> Response[bytes]:
        """Show a customer its own page; whoever has no link of ours learns nothing, not even whether there is such a customer."""
        try:
            # Mail programs and chats put parameters of their own behind a link.
            asked = parameters(request.scope["query_string"], ("until", "signature", "period"), strangers=True)
        except Refused:
            asked = {}
        until, signature = asked.get("until", ""), asked.get("signature", "")
        verdict = check(customer, until, signature, self._secrets, self._clock.now_ms())
        if verdict is not LinkVerdict.GENUINE:
            self._registry.increase(LINKS, outcome=REFUSED)
            return self._sorry(403, *_SORRY[verdict])
        self._registry.increase(LINKS, outcome=OPENED)
        try:
            found = await self._bills.read(customer, wish_of(asked.get("period", CURRENT)))
        except Refused as refusal:
            return self._sorry(refusal.problem.status, "There is no such period", "Please choose another one.")
        except Transient as away:
            self._log.warning(str(away))
            return self._sorry(503, "We cannot show your usage right now", "Please try again in a moment.", RETRY_AFTER_SECONDS)

        def href_of(start_ms: int) -> str:
            return f"{PATH}{quote(customer, safe='')}?" + urlencode({"until": until, "signature": signature, "period": rfc3339(start_ms)})

        return self._html(200, "customer.html", page=page_text(found, href_of))

    def _sorry(self, status: int, title: str, detail: str, retry_after_seconds: int | None = None) -> Response[bytes]:
        answer = self._html(status, "sorry.html", title=title, detail=detail)
        if retry_after_seconds is not None:
            answer.headers["Retry-After"] = str(retry_after_seconds)
        return answer

    def _html(self, status: int, template: str, **content: object) -> Response[bytes]:
        text = self._templates.get_template(template).render(style=Markup(_STYLE), **content)  # our own file, not a customer's words
        return Response(text.encode(), status_code=status, media_type="text/html", headers=dict(HEADERS))
