//! The fields of a form: each once, and bounded.

use url::form_urlencoded;

use crate::refused::Refused;

/// So many fields a form has at most.
const MOST: usize = 256;

/// What a form says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads a body of `application/x-www-form-urlencoded`. A field that is there twice would mean one thing to one reader and another to
    /// the next: it is refused.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refused> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if fields.len() == MOST || fields.iter().any(|(known, _)| *known == name) {
                return Err(Refused::invalid("the form has a field twice, or too many"));
            }
            fields.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(fields))
    }

    /// What stands in this field, if it is there and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The same, where it has to be there.
    pub fn need(&self, name: &str) -> Result<&str, Refused> {
        self.text(name).ok_or_else(|| Refused::invalid(format!("the form lacks `{name}`")))
    }

    /// All of them but these, in the order of their names.
    pub(crate) fn sorted_without(&self, names: &[&str]) -> Vec<(String, String)> {
        let mut fields: Vec<_> = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect();
        fields.sort();
        fields
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn a_field_is_there_once() {
        let fields = Fields::read(b"b=2&a=%C3%A9+x&c=").unwrap();
        assert_eq!((fields.text("a"), fields.text("c"), fields.text("d")), (Some("é x"), None, None));
        assert_eq!(fields.sorted_without(&["c"]), [("a".into(), "é x".into()), ("b".into(), "2".into())]);
        assert!(fields.need("d").is_err());
        assert!(Fields::read(b"a=1&a=1").is_err());
        let many = (0..=MOST).map(|n| format!("f{n}=")).collect::<Vec<_>>().join("&");
        assert!(Fields::read(many.as_bytes()).is_err());
    }
}
