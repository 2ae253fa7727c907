//! A form that somebody who is logged in has sent from one of our pages; and one that is signed.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    response::{IntoResponse, Redirect, Response},
};
use http::{Method, StatusCode, header, request::Parts};
use maud::{Markup, html};

use crate::{
    fields::Fields,
    person::Viewer,
    refused::Refused,
    router::Console,
    session::Session,
    sign::{self, Signature},
    site::only,
};

/// The field with the token of the form.
pub const TOKEN: &str = "token";

impl FromRequestParts<Arc<Console>> for Viewer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self, Response> {
        match console.session(&parts.headers).await {
            Some((viewer, _)) => Ok(viewer),
            None if parts.method == Method::GET => {
                let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
                let next: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
                Err(Redirect::to(&format!("/login?next={next}")).into_response())
            }
            None => Err(logged_out().into_response()),
        }
    }
}

fn logged_out() -> Refused {
    Refused::new(StatusCode::UNAUTHORIZED, "you are not logged in", "log in and try again")
}

/// A form from a page of ours, in the session in which it was shown. It may look, and end what is one's own; what changes anything else needs
/// [`Signed`].
#[derive(Debug)]
pub struct Posted {
    viewer: Viewer,
    session: Session,
    to: String,
    fields: Fields,
}

impl Posted {
    /// Who sent it.
    pub fn viewer(&self) -> &Viewer {
        &self.viewer
    }

    /// What it says.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// The signature that it brings.
    pub(crate) async fn signature(&self, console: &Console) -> Result<Signature, Refused> {
        sign::signature(console, &self.to, &self.fields, &self.session, &self.viewer.person).await
    }
}

/// The fields of a form, from a body of the only type that forms have here.
pub(crate) async fn fields_of(request: Request, console: &Arc<Console>) -> Result<Fields, Refused> {
    let kind = only(request.headers(), &header::CONTENT_TYPE).map(str::to_ascii_lowercase).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/x-www-form-urlencoded") {
        let help = "forms are sent as `application/x-www-form-urlencoded`";
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "this type of body is not taken", help));
    }
    let body = Bytes::from_request(request, console).await.map_err(|_| Refused::invalid("the form can't be read"))?;
    Fields::read(&body)
}

impl FromRequest<Arc<Console>> for Posted {
    type Rejection = Refused;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Self, Refused> {
        let (viewer, session) = console.session(request.headers()).await.ok_or_else(logged_out)?;
        let to = request.uri().path().to_owned();
        let fields = fields_of(request, console).await?;
        // What is to be signed comes with the token of the form that it stands in.
        let form = if to == "/sign" { fields.need(sign::TO)? } else { &to };
        if !fields.text(TOKEN).is_some_and(|token| console.tokens().is_good(token, &session.id, form)) {
            return Err(Refused::forbidden("this form is not from a page of this session", "load the page anew and try again"));
        }
        Ok(Self { viewer, session, to, fields })
    }
}

/// A form that is signed: whatever it wants, this person wants exactly that. Whether they may is still to be asked.
#[derive(Debug)]
pub struct Signed {
    posted: Posted,
    signature: Signature,
}

impl Signed {
    /// Who sent it.
    pub fn viewer(&self) -> &Viewer {
        &self.posted.viewer
    }

    /// What it says.
    pub fn fields(&self) -> &Fields {
        &self.posted.fields
    }

    /// Who has signed, and how that is proven.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Where the form went: what was signed is for this place.
    pub(crate) fn to(&self) -> &str {
        &self.posted.to
    }

    /// The signature, to be kept.
    pub fn into_signature(self) -> Signature {
        self.signature
    }
}

impl FromRequest<Arc<Console>> for Signed {
    type Rejection = Refused;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Self, Refused> {
        let posted = Posted::from_request(request, console).await?;
        let signature = posted.signature(console).await?;
        Ok(Self { posted, signature })
    }
}

/// The hidden field of every form that goes to this path.
pub fn token_field(console: &Console, viewer: &Viewer, path: &str) -> Markup {
    html! { input type="hidden" name=(TOKEN) value=(console.tokens().make(&viewer.session, path)); }
}

/// What a form has to hold that changes something, beside its own fields. The form itself has the attribute `data-sign`, by which the
/// script knows to have it signed; without a script the operator credential is typed.
pub fn proof_fields(console: &Console, viewer: &Viewer, path: &str) -> Markup {
    html! {
        (token_field(console, viewer, path))
        input type="hidden" name=(sign::ASSERTION) value="";
        details {
            summary { "without a passkey" }
            label { "operator credential " input type="password" name=(sign::OPERATOR) autocomplete="off" spellcheck="false"; }
        }
    }
}
