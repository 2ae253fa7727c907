//! What a span says about itself.

use std::borrow::Cow;

/// The value of a span attribute. Texts are cut to the exporter's length limit when they are encoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// A text.
    Str(Cow<'static, str>),
    /// A whole number.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// A floating-point number.
    Float(f64),
    /// A list of texts.
    StrList(Box<[Cow<'static, str>]>),
}

impl From<&'static str> for Attr {
    fn from(value: &'static str) -> Self {
        Self::Str(Cow::Borrowed(value))
    }
}

impl From<String> for Attr {
    fn from(value: String) -> Self {
        Self::Str(Cow::Owned(value))
    }
}

impl From<Box<str>> for Attr {
    fn from(value: Box<str>) -> Self {
        Self::Str(Cow::Owned(value.into_string()))
    }
}

impl From<Cow<'static, str>> for Attr {
    fn from(value: Cow<'static, str>) -> Self {
        Self::Str(value)
    }
}

impl From<i64> for Attr {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Attr {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

/// OTLP has no unsigned integers: what doesn't fit becomes the largest one.
impl From<u64> for Attr {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

/// As for `u64`.
impl From<usize> for Attr {
    fn from(value: usize) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Attr {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Attr {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<Vec<Cow<'static, str>>> for Attr {
    fn from(value: Vec<Cow<'static, str>>) -> Self {
        Self::StrList(value.into())
    }
}
