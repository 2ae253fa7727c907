//! The parameters of a request: `application/x-www-form-urlencoded`, read strictly, so that nobody before us reads another request.

use std::collections::BTreeSet;

use super::reply::Refused;

/// More than these nobody needs.
const MOST: usize = 32;

/// Those that may be there more than once (RFC 8693, 2.1).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

/// The parameters, in the order in which they came.
#[derive(Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a body. One without a value counts as left out (RFC 6749, 3.2).
    ///
    /// # Errors
    /// Where a parameter is there twice, too many are, or something is not text in UTF-8.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refused> {
        let bad = |reason, words: &str| Refused::invalid("invalid_request", reason, words);
        let mut form = Self::default();
        let mut seen = BTreeSet::new();
        for (at, pair) in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).enumerate() {
            if at >= MOST {
                return Err(bad("too_many_parameters", "the body has too many parameters"));
            }
            let mut sides = pair.splitn(2, |byte| *byte == b'=');
            let decoded = |side: Option<&[u8]>| {
                decoded(side.unwrap_or_default()).ok_or_else(|| bad("unreadable", "the body is not form-encoded text in UTF-8"))
            };
            let (name, value) = (decoded(sides.next())?, decoded(sides.next())?);
            if !seen.insert(name.clone()) && !REPEATABLE.contains(&name.as_str()) {
                return Err(bad("duplicate_parameter", "a parameter is there twice: send each once"));
            }
            if !value.is_empty() {
                form.0.push((name, value));
            }
        }
        Ok(form)
    }

    /// The value of a parameter.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a parameter.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that has to be there.
    pub(super) fn needed(&self, name: &'static str) -> Result<&str, Refused> {
        self.value(name).ok_or_else(|| Refused::invalid("invalid_request", "missing_parameter", format!("`{name}` is missing")))
    }
}

/// `+` and `%XX` undone; none where that makes no text.
fn decoded(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    let digit = |rest: &mut std::slice::Iter<'_, u8>| char::from(*rest.next()?).to_digit(16);
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => u8::try_from(digit(&mut rest)? * 16 + digit(&mut rest)?).ok()?,
            plain => *plain,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn parameters_are_read_as_they_were_meant() {
        let form = Form::read(b"a=1&b=x%20y%2Bz+w&&c=&d&resource=r1&resource=r2&%61b=e=f%3d").unwrap();
        assert_eq!(form.value("a"), Some("1"));
        assert_eq!(form.value("b"), Some("x y+z w"));
        assert_eq!((form.value("c"), form.value("d"), form.value("nothing")), (None, None, None));
        assert_eq!(form.value("ab"), Some("e=f="));
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["r1", "r2"]);
        assert_eq!(form.needed("c").err().unwrap().reason, "missing_parameter");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let twice: [&[u8]; 4] = [b"a=1&a=1", b"a=&a=1", b"a&a", b"a=1&%61=2"];
        for (body, reason) in twice.map(|body| (body, "duplicate_parameter")).into_iter().chain([
            (b"a=%".as_slice(), "unreadable"),
            (b"a=%4", "unreadable"),
            (b"a=%zz", "unreadable"),
            (b"a=%+1", "unreadable"),
            (b"a=%ff", "unreadable"),
            (b"\xff=1", "unreadable"),
        ]) {
            assert_eq!(Form::read(body).err().map(|refused| refused.reason), Some(reason), "{body:?}");
        }
        let many = (0..40).map(|at| format!("p{at}=1")).collect::<Vec<_>>().join("&");
        assert_eq!(Form::read(many.as_bytes()).err().unwrap().reason, "too_many_parameters");
    }
}
