//! Why a request of an operator was not fulfilled.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use bailiwick_pipeline::ids::IdFault;
use bailiwick_store::{DecideFault, GrantFault, GrantingFault, HandleFault, RequestFault, ShowFault, WriteFault};
use http::StatusCode;

use super::api::ApiError;
use crate::runtime::StartFault;

/// Why not, with the HTTP status that says as much.
#[derive(Debug, Clone)]
pub(crate) struct ApiFault {
    status: StatusCode,
    error: &'static str,
    pub(crate) message: String,
    help: Option<String>,
}

impl ApiFault {
    fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self { status, error, message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What to do next.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The HTTP status that says as much.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// It is not what it must be.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// There is none.
    pub(crate) fn unknown(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", message).help(help)
    }

    /// It can't be, as things are now.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// Whoever asks may not.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// The operator credential is missing or another.
    pub(crate) fn unproven(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "operator_credential", message)
    }

    /// A server of somebody else failed.
    pub(super) fn downstream(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "connector", message)
    }

    /// The gateway can't do it now.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }
}

impl IntoResponse for ApiFault {
    fn into_response(self) -> Response {
        let body = ApiError { error: self.error.to_owned(), message: self.message, help: self.help };
        (self.status, Json(body)).into_response()
    }
}

impl From<IdFault> for ApiFault {
    fn from(fault: IdFault) -> Self {
        Self::invalid(fault.to_string())
    }
}

impl From<WriteFault> for ApiFault {
    fn from(fault: WriteFault) -> Self {
        Self::unavailable(fault.to_string())
    }
}

impl From<GrantFault> for ApiFault {
    fn from(fault: GrantFault) -> Self {
        match fault {
            GrantFault::Write(fault) => fault.into(),
            GrantFault::Unknown(_) => Self::new(StatusCode::NOT_FOUND, "unknown", fault.to_string()),
            GrantFault::Exists(_)
            | GrantFault::Clash(_)
            | GrantFault::NotLive(_)
            | GrantFault::NotExtendable(_)
            | GrantFault::TooMany(_) => Self::conflict(fault.to_string()),
            GrantFault::Over(_) | GrantFault::TooLong { .. } | GrantFault::Exceeds { .. } | GrantFault::Circle { .. } => {
                Self::invalid(fault.to_string())
            }
        }
    }
}

impl From<HandleFault> for ApiFault {
    fn from(fault: HandleFault) -> Self {
        match fault {
            HandleFault::Made(fault) => fault.into(),
            HandleFault::Held { .. } => Self::conflict(fault.to_string())
                .help("`bailiwick grants complete` ends it; another task needs a grant of its own"),
        }
    }
}

impl From<ShowFault> for ApiFault {
    fn from(fault: ShowFault) -> Self {
        match fault {
            ShowFault::Unknown(_) => Self::new(StatusCode::NOT_FOUND, "unknown", fault.to_string()),
            ShowFault::Unreadable { .. } => Self::conflict(fault.to_string()),
        }
    }
}

impl From<RequestFault> for ApiFault {
    fn from(fault: RequestFault) -> Self {
        match fault {
            RequestFault::Write(fault) => fault.into(),
            RequestFault::Unknown(_) => Self::new(StatusCode::NOT_FOUND, "unknown", fault.to_string()),
            fault => Self::conflict(fault.to_string()),
        }
    }
}

impl From<GrantingFault> for ApiFault {
    fn from(fault: GrantingFault) -> Self {
        match fault {
            GrantingFault::Request(fault) => fault.into(),
            GrantingFault::Grant(fault) => fault.into(),
        }
    }
}

impl From<DecideFault> for ApiFault {
    fn from(fault: DecideFault) -> Self {
        let message = fault.to_string();
        match fault {
            DecideFault::Write(fault) => fault.into(),
            DecideFault::Unknown(_) => Self::new(StatusCode::NOT_FOUND, "unknown", message),
            DecideFault::Owner { .. } | DecideFault::Delegator { .. } | DecideFault::SameUser { .. } => Self::forbidden(message)
                .help(
                    "an approval is somebody else's word: one who is neither the owner nor the user the agent runs as. \
                 On a machine of your own you may set `approvals.allow_same_user = true`; then nobody checks you",
                ),
            DecideFault::Method { .. } | DecideFault::GlassIsShut => Self::forbidden(message),
            DecideFault::NoReason | DecideFault::NoBatch(_) | DecideFault::NotAllowable { .. } => Self::invalid(message),
            _ => Self::conflict(message),
        }
    }
}

impl From<StartFault> for ApiFault {
    fn from(fault: StartFault) -> Self {
        match fault {
            StartFault::Write(fault) => fault.into(),
            fault => Self::conflict(fault.to_string()),
        }
    }
}
