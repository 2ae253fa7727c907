//! What is looked at before anything else: where a request comes from, what it carries, and what goes back with every answer.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::{
    pages,
    refused::{Refused, Told},
    router::Console,
    site::only,
};

/// The largest body.
const BODY: usize = 64 * 1024;

/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The longest path with its query.
const PATH: usize = 4096;

static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// What is said with every answer. Nothing of another site is loaded, nothing is shown inside another page, nothing is kept.
const ALWAYS: [(HeaderName, &str); 9] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; \
         manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("x-permitted-cross-domain-policies"), "none"),
    (
        HeaderName::from_static("permissions-policy"),
        "publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), microphone=(), geolocation=(), \
         payment=(), usb=()",
    ),
];

/// Lets a request in, and sends every answer out as it must be.
pub(crate) async fn guard(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let is_https = console.site().is_https();
    let mut response = match admitted(&console, request).await {
        Ok(request) => {
            let headers = request.headers().clone();
            in_frame(&console, &headers, next.run(request).await).await
        }
        Err(response) => *response,
    };
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    // What is the same for everybody may say so itself.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Who is logged in reads what was refused where every other page stands, with the menu.
async fn in_frame(console: &Arc<Console>, headers: &HeaderMap, mut response: Response) -> Response {
    let Some(Told(body)) = response.extensions_mut().remove::<Told>() else { return response };
    if let Some(viewer) = console.viewer(headers).await {
        let page = pages::page(&pages::around(console, &viewer), None, "refused", pages::Watch::Still, &body);
        *response.body_mut() = Body::from(page.into_string());
    }
    response
}

async fn admitted(console: &Console, request: Request) -> Result<Request, Box<Response>> {
    let refuse = |refused: Refused| Box::new(refused.into_response());
    if request.uri().path_and_query().map_or(0, |path| path.as_str().len()) > PATH {
        return Err(refuse(Refused::new(StatusCode::URI_TOO_LONG, "the address is too long", "use a link of the console")));
    }
    check(console, (request.method(), request.uri().path()), request.headers()).map_err(refuse)?;
    if let Some(elsewhere) = public_place(console, &request) {
        return Err(Box::new(elsewhere.into_response()));
    }
    let (parts, body) = request.into_parts();
    if is_safe(&parts.method) {
        // Whoever only looks sends nothing.
        return Ok(Request::from_parts(parts, Body::empty()));
    }
    let body = whole(body).await.map_err(refuse)?;
    Ok(Request::from_parts(parts, body))
}

/// Passkeys work under the public name only: a login by another name of this machine goes there.
fn public_place(console: &Console, request: &Request) -> Option<Redirect> {
    let host = only(request.headers(), &header::HOST)?;
    let is_elsewhere = request.method() == Method::GET && request.uri().path() == "/login" && !console.site().is_public(host);
    let path = request.uri().path_and_query().map_or("/login", http::uri::PathAndQuery::as_str);
    is_elsewhere.then(|| Redirect::temporary(&format!("{}{path}", console.site().origin())))
}

async fn whole(body: Body) -> Result<Body, Refused> {
    let read = tokio::time::timeout(BODY_TIME, Limited::new(body, BODY).collect()).await;
    let slow = || Refused::new(StatusCode::REQUEST_TIMEOUT, "the body took too long", "send it again");
    match read.map_err(|_| slow())? {
        Ok(body) => Ok(Body::from(body.to_bytes())),
        Err(fault) if fault.is::<LengthLimitError>() => {
            Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large", format!("send at most {BODY} bytes")))
        }
        Err(_) => Err(Refused::invalid("the body ended early")),
    }
}

/// What monitoring asks for, by the address that it has.
fn is_watched(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics")
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn check(console: &Console, (method, path): (&Method, &str), headers: &HeaderMap) -> Result<(), Refused> {
    if !matches!(*method, Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE) {
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not taken", "use GET or POST"));
    }
    let is_served = |host: &&str| console.site().serves(host) || (is_watched(path) && console.site().is_address(host));
    let host = only(headers, &header::HOST).filter(is_served);
    let Some(host) = host else {
        let help = format!("open {}", console.site().origin());
        return Err(Refused::new(StatusCode::MISDIRECTED_REQUEST, "the console is not served under this name", help));
    };
    check_credentials(headers)?;
    check_fetch(method, headers)?;
    if is_safe(method) {
        return Ok(());
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a packed body is not taken", "send it as it is"));
    }
    let foreign = || Refused::forbidden("this request comes from another site", format!("open {}", console.site().origin()));
    match headers.get_all(header::ORIGIN).iter().count() {
        1 if only(headers, &header::ORIGIN).is_some_and(|origin| console.site().is_own(origin, host)) => Ok(()),
        // Forms of pages that send no referrer have the origin `null`; where browsers say more than that, it is what counts.
        0 if only(headers, &FETCH_SITE) == Some("same-origin") => Ok(()),
        1 if only(headers, &header::ORIGIN) == Some("null") && only(headers, &FETCH_SITE) == Some("same-origin") => Ok(()),
        // No browser: those say where they are. It brings a credential of its own, and none that a browser would add.
        0 if !headers.contains_key(&FETCH_SITE)
            && !headers.contains_key(header::COOKIE)
            && headers.contains_key(header::AUTHORIZATION) =>
        {
            Ok(())
        }
        _ => Err(foreign()),
    }
}

/// Agents have nothing to do here: what they could show is refused, whatever it is worth elsewhere.
fn check_credentials(headers: &HeaderMap) -> Result<(), Refused> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let is_operator = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.starts_with("Operator "));
    let is_of_agent =
        ["dpop", "bailiwick-grant", "bailiwick-agent", "mcp-session-id"].iter().any(|name| headers.contains_key(*name));
    if is_of_agent || !given.all(is_operator) {
        let help = "agents use the agents' listener; people log in";
        return Err(Refused::forbidden("agents' credentials are not taken here", help));
    }
    Ok(())
}

/// What browsers say of where a request comes from. Another site may link to a page, and nothing else.
fn check_fetch(method: &Method, headers: &HeaderMap) -> Result<(), Refused> {
    let (site, mode, dest) = (only(headers, &FETCH_SITE), only(headers, &FETCH_MODE), only(headers, &FETCH_DEST));
    let is_said = headers.contains_key(&FETCH_SITE);
    let is_link = is_safe(method) && mode == Some("navigate") && matches!(dest, Some("document") | None);
    match site {
        Some("same-origin" | "none") => Ok(()),
        Some("same-site" | "cross-site") if is_link => Ok(()),
        None if !is_said => Ok(()),
        _ => Err(Refused::forbidden("another site may only link here", "open the console in a window of its own")),
    }
}
