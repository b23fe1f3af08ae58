"""A REST service that is nobody's protocol: models of card payments, for `rest` remotes.

POST /score          a payment: {"score": ..., "label": ...}
POST /score-batch    a list of payments: {"predictions": [{"score": ..., "label": ...}, ...]}
POST /guarded        as /score, for `Authorization: Bearer open-sesame` alone
POST /moved          redirects to /score
POST /slow?ms=50     answers so much later: {"score": 0.0}, to a list {"predictions": [{"score": 0.0}, ...]}
POST /headers        the headers of the request and the version of HTTP
"""
# mypy: disable-error-code="import-not-found, misc, untyped-decorator"

import asyncio
from typing import Annotated

from fastapi import Body, FastAPI, Header, HTTPException, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

TOKEN = "open-sesame"

app = FastAPI()


class Payment(BaseModel):
    """A payment by card."""

    amount: Annotated[float, Field(ge=0, le=1_000_000)]
    country: str = ""


class Scored(BaseModel):
    """How suspicious a payment is: the score is the thousandth of its amount, at most 1."""

    score: float
    label: str


class Batch(BaseModel):
    """The scores of a list of payments, in its order."""

    predictions: list[Scored]


def judge(payment: Payment) -> Scored:
    """Score a payment."""
    score = min(payment.amount / 1000, 1.0)
    return Scored(score=score, label="review" if score >= 0.5 else "accept")


@app.post("/score")
async def score(payment: Payment) -> Scored:
    """Score one."""
    return judge(payment)


@app.post("/score-batch")
async def score_batch(payments: list[Payment]) -> Batch:
    """Score many."""
    return Batch(predictions=[judge(payment) for payment in payments])


@app.post("/guarded")
async def guarded(payment: Payment, authorization: Annotated[str, Header()] = "") -> Scored:
    """Score one for who has the token."""
    if authorization != f"Bearer {TOKEN}":
        raise HTTPException(401, "a token is missing or wrong")
    return judge(payment)


@app.post("/moved")
async def moved() -> RedirectResponse:
    """Send elsewhere."""
    return RedirectResponse("/score")


@app.post("/slow")
async def slow(body: Annotated[object, Body()], ms: int = 0) -> dict[str, object]:
    """Take time, and no CPU."""
    await asyncio.sleep(ms / 1000)
    if isinstance(body, list):
        return {"predictions": [{"score": 0.0}] * len(body)}
    return {"score": 0.0}


@app.post("/headers")
async def headers(request: Request) -> dict[str, object]:
    """Say what came."""
    return {"http_version": request.scope["http_version"], "headers": dict(request.headers)}
