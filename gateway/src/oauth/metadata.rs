//! What clients find: the resource that `/mcp` is (RFC 9728), and the server that gives tokens for it (RFC 8414), which is the same.

use serde_json::{Value, json};

use super::token;

const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const SERVER: &str = "/.well-known/oauth-authorization-server";

/// A document that is there for everybody. Nothing in it depends on who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    Resource,
    Server,
}

impl Document {
    /// Which one is at this path. Clients ask with the path of the resource, and without it.
    pub(super) fn at(path: &str, url: &str) -> Option<Self> {
        let (_, own) = parts(url);
        let rest = |prefix| path.strip_prefix(prefix);
        if let Some(rest) = rest(RESOURCE) {
            return ["", "/mcp", own].contains(&rest).then_some(Self::Resource);
        }
        let above = above(own);
        rest(SERVER).filter(|rest| ["", above].contains(rest)).map(|_| Self::Server)
    }

    /// It, of the gateway whose `/mcp` is reached by this URL.
    pub(super) fn of(self, url: &str) -> Value {
        let issuer = issuer(url);
        match self {
            Self::Resource => json!({
                "resource": url,
                "resource_name": "Bailiwick",
                "authorization_servers": [issuer],
                "bearer_methods_supported": ["header"],
                "authorization_details_types_supported": [super::details::TYPE],
            }),
            Self::Server => json!({
                "issuer": issuer,
                "token_endpoint": format!("{issuer}/oauth/token"),
                "revocation_endpoint": format!("{issuer}/oauth/revoke"),
                "introspection_endpoint": format!("{issuer}/oauth/introspect"),
                "grant_types_supported": [token::EXCHANGE],
                "response_types_supported": [],
                "token_endpoint_auth_methods_supported": ["none"],
                "revocation_endpoint_auth_methods_supported": ["none"],
                "introspection_endpoint_auth_methods_supported": ["client_secret_basic"],
                "authorization_details_types_supported": [super::details::TYPE],
                "protected_resources": [url],
            }),
        }
    }
}

/// Who gives tokens: the URL of `/mcp` without that.
pub(super) fn issuer(url: &str) -> String {
    let (origin, path) = parts(url);
    format!("{origin}{}", above(path))
}

/// Where the metadata of the resource of this URL is (RFC 9728, 3.1).
pub(super) fn of_resource(url: &str) -> String {
    let (origin, path) = parts(url);
    format!("{origin}{RESOURCE}{path}")
}

/// Origin, and path without a last `/`.
fn parts(url: &str) -> (&str, &str) {
    let url = url.trim_end_matches('/');
    let authority = url.find("://").map_or(0, |at| at.saturating_add(3));
    let path = url.get(authority..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| at.saturating_add(authority));
    url.split_at_checked(path).unwrap_or((url, ""))
}

/// What is above `/mcp` in a path.
fn above(path: &str) -> &str {
    path.strip_suffix("/mcp").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_where_the_standards_put_them() {
        for (url, issuer_is, metadata) in [
            (
                "http://127.0.0.1:8931/mcp",
                "http://127.0.0.1:8931",
                "http://127.0.0.1:8931/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "https://g.example.com/mcp/",
                "https://g.example.com",
                "https://g.example.com/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "https://g.example.com/a/mcp",
                "https://g.example.com/a",
                "https://g.example.com/.well-known/oauth-protected-resource/a/mcp",
            ),
        ] {
            assert_eq!(issuer(url), issuer_is);
            assert_eq!(of_resource(url), metadata);
            let path = metadata.split_once(".com").or_else(|| metadata.split_once(":8931")).map_or("", |(_, path)| path);
            assert_eq!(Document::at(path, url), Some(Document::Resource), "{path}");
            assert_eq!(Document::at(RESOURCE, url), Some(Document::Resource));
            assert_eq!(Document::at(SERVER, url), Some(Document::Server));
        }
        assert_eq!(Document::at(&format!("{SERVER}/a"), "https://g.example.com/a/mcp"), Some(Document::Server));
        assert_eq!(Document::at(&format!("{SERVER}/b"), "https://g.example.com/a/mcp"), None);
        assert_eq!(Document::at(&format!("{RESOURCE}/b/mcp"), "https://g.example.com/a/mcp"), None);
    }

    #[test]
    fn the_resource_names_the_server_that_names_it() {
        let url = "https://g.example.com/a/mcp";
        let (resource, server) = (Document::Resource.of(url), Document::Server.of(url));
        assert_eq!(resource.pointer("/authorization_servers/0"), server.get("issuer"));
        assert_eq!(server.pointer("/protected_resources/0"), resource.get("resource"));
        assert_eq!(server.get("token_endpoint"), Some(&json!("https://g.example.com/a/oauth/token")));
    }
}
