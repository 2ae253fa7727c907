//! Talks to a running gateway over `DATA/admin.sock`.

use std::{fmt::Write as _, fs, io, path::Path, time::Duration};

use reqwest::{Method, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::{fault::CliFault, places::Places};
use crate::{admin::api::ApiError, data::DataFolder};

/// A connection to the admin API of the gateway that runs on a data folder.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    data: DataFolder,
}

impl Client {
    /// Finds the running gateway.
    pub(super) async fn connect(places: &Places) -> Result<Self, CliFault> {
        Self::find(places).await?.ok_or_else(|| not_running(places))
    }

    /// Finds the running gateway, if one runs.
    pub(super) async fn find(places: &Places) -> Result<Option<Self>, CliFault> {
        let socket = places.data.admin_socket();
        if !listens(&socket).await? {
            return Ok(None);
        }
        let http = over_socket(&socket).build().map_err(|why| silent(&socket, &why))?;
        Ok(Some(Self { http, data: places.data.clone() }))
    }

    /// Reads.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliFault> {
        self.send(self.request(Method::GET, path)).await
    }

    /// Changes something, with the operator credential.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CliFault> {
        let body = serde_json::to_vec(body).map_err(|why| CliFault::refused(&why.to_string(), None))?;
        let request = self.request(Method::POST, path).header(header::AUTHORIZATION, self.credential()?);
        self.send(request.header(header::CONTENT_TYPE, "application/json").body(body)).await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("http://admin/api/v1/{path}"))
    }

    fn credential(&self) -> Result<String, CliFault> {
        Ok(format!("Operator {}", self.operator_credential()?))
    }

    /// The operator credential, as text.
    pub(super) fn operator_credential(&self) -> Result<String, CliFault> {
        let file = self.data.operator_credential();
        let key = fs::read(&file)
            .map_err(|why| CliFault::System { what: format!("the operator credential `{}`", file.display()), why })?;
        let mut text = String::new();
        for byte in key {
            // Writing to a string can't fail.
            let _infallible = write!(text, "{byte:02x}");
        }
        Ok(text)
    }

    async fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, CliFault> {
        let socket = self.data.admin_socket();
        let response = request.send().await.map_err(|why| silent(&socket, &why))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|why| silent(&socket, &why))?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|why| silent(&socket, &format!("its answer can't be read ({why}): is it of another version?")));
        }
        Err(refused(status, &body))
    }
}

/// A path segment of what somebody typed: an id has no other characters.
pub(super) fn segment(typed: &str) -> Result<&str, CliFault> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !typed.is_empty() && typed.len() <= 80 && typed.chars().all(is_plain) && !typed.chars().all(|c| c == '.') {
        Ok(typed)
    } else {
        let shown: String = super::screen::shown(typed).chars().take(80).collect();
        Err(CliFault::usage(format!("`{shown}` is no id"), "ids are of letters, digits, `-`, `_` and `.`"))
    }
}

/// A client for a Unix socket. It trusts no certificate, because it needs none, and follows no redirection.
pub(super) fn over_socket(socket: &Path) -> reqwest::ClientBuilder {
    plain().unix_socket(socket.to_path_buf()).tls_certs_only([])
}

/// A client that goes where it is told and nowhere else: no proxy of the environment, no redirection, and no deadline but
/// that of connecting, because an answer may wait for a person.
pub(super) fn plain() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .user_agent(concat!("bailiwick/", env!("CARGO_PKG_VERSION")))
}

/// Whether somebody listens on this socket.
pub(super) async fn listens(socket: &Path) -> Result<bool, CliFault> {
    match UnixStream::connect(socket).await {
        Ok(_) => Ok(true),
        Err(why) if matches!(why.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(false),
        Err(why) => Err(CliFault::System { what: format!("`{}`", socket.display()), why }),
    }
}

/// No gateway runs there; perhaps one runs where the other kind of gateway usually is.
pub(super) fn not_running(places: &Places) -> CliFault {
    let data = places.data.path();
    let other = if data.ends_with("demo") { data.parent().map(Path::to_path_buf) } else { Some(data.join("demo")) };
    let elsewhere = other.filter(|other| std::os::unix::net::UnixStream::connect(other.join("admin.sock")).is_ok());
    CliFault::NotRunning {
        data: data.to_path_buf(),
        start: places.start.clone(),
        elsewhere: elsewhere
            .map(|other| format!("\none is running on another folder: --data {}", other.display()))
            .unwrap_or_default(),
    }
}

fn silent(socket: &Path, why: &dyn std::fmt::Display) -> CliFault {
    CliFault::Silent { at: socket.display().to_string(), why: why.to_string() }
}

fn refused(status: StatusCode, body: &[u8]) -> CliFault {
    match serde_json::from_slice::<ApiError>(body) {
        Ok(ApiError { message, help, .. }) => CliFault::refused(&message, help.as_deref()),
        Err(_) => CliFault::refused(&format!("the gateway answered {status}"), None),
    }
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn only_ids_become_part_of_a_path() {
        for good in ["demo", "apr-01k.x_y", "K7-42"] {
            assert_eq!(segment(good).ok(), Some(good));
        }
        for bad in ["", "..", "a/b", "a?b", "a b", "ä", "%2e"] {
            assert!(segment(bad).is_err(), "{bad}");
        }
    }
}
