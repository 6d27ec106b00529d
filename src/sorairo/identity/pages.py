"""The pages a person signs in with. Nothing from elsewhere; they say what they are: this machine's own."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from html import escape

from starlette.responses import HTMLResponse

_STYLE = """
:root{color-scheme:light dark;--sky:#2f7fc1;--ink:#16324a;--card:#fff;--line:#c9d8e4;--soft:#5b7488}
@media(prefers-color-scheme:dark){:root{--ink:#e4eef6;--card:#16222d;--line:#34495a;--soft:#9fb4c4}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:linear-gradient(#8cc5ee,#dff0fb 70%,#f6fbff)}
@media(prefers-color-scheme:dark){body{background:linear-gradient(#0a1a29,#15324a 80%,#22506f)}}
main{width:min(26rem,92vw);padding:2.2rem;background:var(--card);border-radius:14px;
box-shadow:0 12px 40px rgb(10 40 70/.22)}
h1{margin:.2rem 0 .3rem;font-size:1.45rem;font-weight:600}p{margin:.3rem 0 1rem;color:var(--soft)}
.mark{color:var(--sky);font-weight:600;letter-spacing:.02em}
label{display:block;margin:.9rem 0 .25rem;font-size:.9rem}
input{width:100%;padding:.6rem .7rem;font:inherit;color:inherit;background:transparent;border:1px solid var(--line);
border-radius:8px}
input:focus{outline:2px solid var(--sky);outline-offset:1px}
button{margin-top:1.4rem;width:100%;padding:.7rem;font:inherit;font-weight:600;color:#fff;background:#1f6fb2;border:0;
border-radius:8px;cursor:pointer}
button.plain{margin-top:.6rem;background:transparent;color:var(--soft);border:1px solid var(--line)}
.wrong{padding:.6rem .8rem;border-radius:8px;background:#fde8e6;color:#8c1d13;overflow-wrap:anywhere}
"""
# The form may lead to a client's own listener on this machine, so form-action is not held to ourselves.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def sign_in(client: str, *, wrong: str = "", user: str = "", code: str | None = None) -> HTMLResponse:
    """`client`: who asks; `wrong`: what to say about the last try; `code`: a device's, '' to ask for one, None where
    there is none to show."""
    asked = f" to <b>{escape(client)}</b>" if client else ""
    field = ""
    if code is not None:
        field = _input("code", "Code that your device shows", code, "one-time-code")
    decline = '<button class="plain" name="decline" value="1" formnovalidate>Decline</button>' if code else ""
    return _page(
        "Sign in",
        f"<p>{'A device signs in' if code is not None else 'Signing in'}{asked}.</p>"
        + (f'<div class="wrong" role="alert">{escape(wrong)}</div>' if wrong else "")
        + f'<form method="post" autocomplete="on">{field}'
        + _input("username", "User name", user, "username", "name@sorairo.internal")
        + _input("password", "Password", "", "current-password", kind="password")
        + f"<button>Sign in</button>{decline}</form>",
        401 if wrong else 200,
    )


def done(title: str, text: str, status: int = 200) -> HTMLResponse:
    return _page(title, f"<p>{escape(text)}</p>", status)


def form_post(uri: str, values: Mapping[str, str]) -> HTMLResponse:
    """`response_mode=form_post`: a form that sends itself on; without script, a person does."""
    hidden = "".join(f'<input type="hidden" name="{escape(k)}" value="{escape(v)}">' for k, v in values.items())
    nonce = secrets.token_urlsafe(16)
    page = _page(
        "Signed in",
        f'<form method="post" action="{escape(uri)}">{hidden}<button autofocus>Continue</button></form>'
        f'<script nonce="{nonce}">document.forms[0].submit()</script>',
    )
    page.headers["Content-Security-Policy"] += f"; script-src 'nonce-{nonce}'"
    return page


def _input(name: str, label: str, value: str, complete: str, hint: str = "", *, kind: str = "text") -> str:
    return (
        f'<label for="{name}">{label}</label><input id="{name}" name="{name}" type="{kind}" value="{escape(value)}" '
        f'placeholder="{escape(hint)}" autocomplete="{complete}" autocapitalize="none" spellcheck="false" required>'
    )


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)} · sorairo</title><style>{_STYLE}</style>"
        f'<main><div class="mark">空色 sorairo</div><h1>{escape(title)}</h1>{body}</main>',
        status_code=status,
        headers=_HEADERS,
    )
