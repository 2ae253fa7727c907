//! What a server says that lets nobody in without a token (RFC 9110, section 11.6.1; RFC 9728, section 5.1).

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What a challenge for a bearer token says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Where the server's metadata is.
    pub(super) metadata: Option<String>,
    /// The scopes that it wants.
    pub(super) scope: Option<String>,
}

impl Challenge {
    /// The first challenge for a bearer token among these headers.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).find_map(Self::read)
    }

    fn read(text: &str) -> Option<Self> {
        let mut found: Option<Self> = None;
        for piece in pieces(text) {
            // A scheme stands before its first parameter, with a blank between.
            let (scheme, parameter) = match piece.split_once(char::is_whitespace) {
                Some((scheme, rest)) if !scheme.contains('=') => (Some(scheme), rest.trim()),
                None if !piece.contains('=') => (Some(piece), ""),
                _ => (None, piece),
            };
            match scheme {
                Some(scheme) if scheme.eq_ignore_ascii_case("bearer") && found.is_none() => found = Some(Self::default()),
                // Another challenge begins.
                Some(_) if found.is_some() => break,
                _ => {}
            }
            let (Some(challenge), Some((name, value))) = (&mut found, parameter.split_once('=')) else { continue };
            let value = unquoted(value.trim());
            match name.trim().to_ascii_lowercase().as_str() {
                "resource_metadata" => challenge.metadata.get_or_insert(value),
                "scope" => challenge.scope.get_or_insert(value),
                _ => continue,
            };
        }
        found
    }
}

/// What stands between commas outside of quotes.
fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut begin, mut is_quoted, mut is_escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                pieces.extend(text.get(begin..at));
                begin = at + 1;
            }
            _ => {}
        }
    }
    pieces.extend(text.get(begin..));
    pieces.into_iter().map(str::trim).filter(|piece| !piece.is_empty()).collect()
}

fn unquoted(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else { return value.to_owned() };
    let (mut text, mut rest) = (String::new(), inside.chars());
    while let Some(c) = rest.next() {
        text.extend(if c == '\\' { rest.next() } else { Some(c) });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::Challenge;

    #[test]
    fn a_bearer_challenge_is_found_among_others() {
        let read = |text: &str| Challenge::read(text).map(|found| (found.metadata, found.scope));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read(r#"Bearer resource_metadata="https://a/b,c", scope="x y""#), Some((some("https://a/b,c"), some("x y"))));
        assert_eq!(read(r#"Basic realm="x", Bearer error="invalid_token", scope=a"#), Some((None, some("a"))));
        assert_eq!(read(r#"bearer scope="a\"b", DPoP scope="z", resource_metadata="evil""#), Some((None, some("a\"b"))));
        assert_eq!(read("Bearer"), Some((None, None)));
        assert_eq!(read(r#"Basic realm="Bearer scope=x""#), None);
        for text in ["", ",,,", "=", "\"", "Bearer \"", "Bearer =,=", "\\"] {
            let _whatever = read(text);
        }
    }
}
