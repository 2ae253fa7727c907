//! `POST /approvals/{id}/decision`: yes or no to exactly one call, signed.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use http::StatusCode;

use crate::{
    house::SignedDecision,
    pages,
    person::Action,
    posted::Signed,
    refused::Refused,
    router::Console,
    sign::{Act, DecisionWanted},
};

pub(crate) async fn decide(State(console): State<Arc<Console>>, signed: Signed) -> Result<Redirect, Response> {
    let Act::Decision(wanted) = Act::of(signed.to(), signed.fields()).map_err(IntoResponse::into_response)? else {
        return Err(Refused::invalid("the form is not that of a decision").into_response());
    };
    pages::decidable_now(&console, &signed, &wanted.approval).await?;
    take(&console, signed, wanted).await.map_err(IntoResponse::into_response)
}

async fn take(console: &Arc<Console>, signed: Signed, wanted: DecisionWanted) -> Result<Redirect, Refused> {
    let DecisionWanted { approval, binding, verdict, reason, view, allow } = wanted;
    let unknown = || Refused::new(StatusCode::NOT_FOUND, "there is no such approval", "the list of approvals shows what waits");
    let question = console.house().question(&approval).ok_or_else(unknown)?;
    if question.binding != binding {
        let message = "this approval is of another call than the one that was signed";
        return Err(Refused::new(StatusCode::CONFLICT, message, "load the page anew, and read it again"));
    }
    let person = &signed.viewer().person;
    person.may(Action::Decide { connector: &question.connector, band: question.band })?;
    let (to, signature) = (format!("/approvals/{}", question.id), signed.into_signature());
    let decision = SignedDecision { approval: question.id, binding, verdict, reason, view, allow, signature };
    console.house().decide(decision).await?;
    Ok(Redirect::to(&to))
}
