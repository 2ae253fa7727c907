//! The admin API at the console's listener: the same handlers as on the admin socket, for who shows the operator credential; and for
//! looking, for people whose roles let them.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use bailiwick_console::{Action, Console};
use http::{Method, header, request::Parts};

use crate::{
    admin::{self, fault::ApiFault},
    runtime::Runtime,
};

/// The admin API, to be served behind the console's guard.
pub(super) fn api(runtime: &Arc<Runtime>, console: &Arc<Console>) -> Router {
    let door = Door { runtime: Arc::clone(runtime), console: Arc::clone(console) };
    admin::routes(Arc::clone(runtime))
        .route_layer(middleware::from_fn_with_state(door, admit))
        // It says what there is, and nothing of what is in it.
        .route("/api/v1/openapi.json", get(async || Json(admin::description())))
}

#[derive(Clone)]
struct Door {
    runtime: Arc<Runtime>,
    console: Arc<Console>,
}

/// Lets in who shows the operator credential, and who looks and may.
async fn admit(State(door): State<Door>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let admitted = if parts.headers.contains_key(header::AUTHORIZATION) {
        admin::AtConsole::with_credential(&parts.headers, &door.runtime)
    } else {
        looks(&door, &parts).await
    };
    match admitted {
        Ok(at_console) => {
            parts.extensions.insert(at_console);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(fault) => fault.into_response(),
    }
}

/// A session only looks: whatever changes something takes the credential.
async fn looks(door: &Door, parts: &Parts) -> Result<admin::AtConsole, ApiFault> {
    let is_look = matches!(parts.method, Method::GET | Method::HEAD);
    let viewer = if is_look { door.console.viewer(&parts.headers).await } else { None };
    let Some(viewer) = viewer else {
        return Err(ApiFault::unproven("this takes the operator credential, or to look, a session of the console")
            .help("send `Authorization: Operator …` with the digits of the operator credential, or log in"));
    };
    let is_approvals = parts.uri.path().starts_with("/api/v1/approvals");
    let action = if is_approvals { Action::SeeApprovals } else { Action::SeeRegistry };
    viewer.may(action).map_err(|fault| ApiFault::forbidden(fault.to_string()).help("ask an admin, who gives roles"))?;
    Ok(admin::AtConsole::to_look(viewer))
}
