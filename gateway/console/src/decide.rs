//! What people say about calls, signed: yes or no to exactly one, or to a list of them at once; and that they have looked at one that was let
//! go in an emergency.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use bailiwick_policy::Band;
use bailiwick_store::Verdict;
use http::StatusCode;

use crate::{
    house::{Question, SignedBatch, SignedDecision, SignedReview},
    pages,
    person::{Action, Person},
    posted::Signed,
    refused::Refused,
    router::Console,
    sign::{Act, BatchWanted, DecisionWanted, words},
};

/// `POST /approvals/{id}/decision`
pub(crate) async fn decide(State(console): State<Arc<Console>>, signed: Signed) -> Result<Redirect, Response> {
    let Act::Decision(wanted) = Act::of(signed.to(), signed.fields()).map_err(IntoResponse::into_response)? else {
        return Err(Refused::invalid("the form is not that of a decision").into_response());
    };
    pages::decidable_now(&console, &signed, &wanted.approval).await?;
    take(&console, signed, wanted).await.map_err(IntoResponse::into_response)
}

async fn take(console: &Arc<Console>, signed: Signed, wanted: DecisionWanted) -> Result<Redirect, Refused> {
    let DecisionWanted { approval, binding, verdict, reason, view, allow } = wanted;
    let question = asked(console, &approval)?;
    if question.binding != binding {
        return Err(another_call());
    }
    may_decide(&signed.viewer().person, &question)?;
    let (to, signature) = (format!("/approvals/{}", question.id), signed.into_signature());
    let decision = SignedDecision { approval: question.id, binding, verdict, reason, view, allow, signature };
    console.house().decide(decision).await?;
    Ok(Redirect::to(&to))
}

/// `POST /batch/decision`: all of them or none.
pub(crate) async fn decide_batch(State(console): State<Arc<Console>>, signed: Signed) -> Result<Redirect, Response> {
    let Act::Batch(wanted) = Act::of(signed.to(), signed.fields()).map_err(IntoResponse::into_response)? else {
        return Err(Refused::invalid("the form is not that of a decision").into_response());
    };
    pages::batch_decidable_now(&console, &signed, &wanted).await?;
    take_batch(&console, signed, wanted).await.map_err(IntoResponse::into_response)
}

async fn take_batch(console: &Arc<Console>, signed: Signed, wanted: BatchWanted) -> Result<Redirect, Refused> {
    let BatchWanted { approvals, verdict, reason, view } = wanted;
    for (id, binding) in &approvals {
        let question = asked(console, id)?;
        if question.binding != *binding {
            return Err(another_call());
        }
        if verdict == Verdict::Approve && question.band == Band::Critical {
            return Err(Refused::forbidden("a critical call is approved alone, with its code", "decide it on its own page"));
        }
        may_decide(&signed.viewer().person, &question)?;
    }
    let decision = SignedBatch { approvals, verdict, reason, view, signature: signed.into_signature() };
    console.house().decide_batch(decision).await?;
    Ok(Redirect::to("/"))
}

/// `POST /approvals/{id}/review`
pub(crate) async fn review(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    signed: Signed,
) -> Result<Redirect, Refused> {
    let question = asked(&console, &id)?;
    let binding = signed.fields().need("binding")?.parse().map_err(|_| Refused::invalid("`binding` in the form is no digest"))?;
    if question.binding != binding {
        return Err(another_call());
    }
    may_decide(&signed.viewer().person, &question)?;
    let note = words(signed.fields(), "note")?
        .ok_or_else(|| Refused::invalid("say what you found: it is kept with the call, and on record"))?;
    let review = SignedReview { approval: question.id, binding, note, signature: signed.into_signature() };
    console.house().review(review).await?;
    Ok(Redirect::to("/reviews"))
}

fn asked(console: &Console, approval: &str) -> Result<Question, Refused> {
    let unknown = || Refused::new(StatusCode::NOT_FOUND, "there is no such approval", "the list of approvals shows what waits");
    console.house().question(approval).ok_or_else(unknown)
}

fn may_decide(person: &Person, question: &Question) -> Result<(), Refused> {
    Ok(person.may(Action::Decide { connector: &question.connector, band: question.band })?)
}

fn another_call() -> Refused {
    let message = "this approval is of another call than the one that was signed";
    Refused::new(StatusCode::CONFLICT, message, "load the page anew, and read it again")
}
