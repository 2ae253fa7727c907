//! What the strict reading saw on its way: where the members of the outer objects are. Nobody has to read the text again for that.

use std::borrow::Cow;

/// One JSON text, read strictly, with the members of its outer objects.
#[derive(Debug, Clone)]
pub struct Outline<'a> {
    pub(super) text: &'a str,
    /// In the order of the text.
    pub(super) members: Vec<Member<'a>>,
    pub(super) values: usize,
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its key, with escapes resolved.
    pub key: Cow<'a, str>,
    /// Key, colon and value as written.
    pub written: &'a str,
    /// Its value as written.
    pub value: &'a str,
    /// What is in its value, where that is an array.
    pub items: Items,
    /// Where its key begins.
    pub(super) at: usize,
    /// The member whose value has this one.
    pub(super) parent: Option<usize>,
    /// Its place among all.
    pub(super) place: usize,
}

/// What is in an array, one level deep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Items {
    /// How many.
    pub count: usize,
    /// How many of them are objects.
    pub objects: usize,
}

impl<'a> Outline<'a> {
    /// The whole text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Whether the text is an object.
    pub fn is_object(&self) -> bool {
        self.text.trim_start().starts_with('{')
    }

    /// The members of the outermost object, in their order.
    pub fn members(&self) -> impl Iterator<Item = &Member<'a>> {
        self.members.iter().filter(|member| member.parent.is_none())
    }

    /// The member of the outermost object with this key.
    pub fn member(&self, key: &str) -> Option<&Member<'a>> {
        self.members().find(|member| member.key == key)
    }

    /// The members of an object that is the value of another member, as far down as was asked for.
    pub fn members_of(&self, outer: &Member<'a>) -> impl Iterator<Item = &Member<'a>> {
        let (from, of) = (outer.place.saturating_add(1), outer.place);
        self.members.get(from..).unwrap_or_default().iter().filter(move |member| member.parent == Some(of))
    }

    /// How many values there are, at all depths.
    pub fn values(&self) -> usize {
        self.values
    }
}

impl Member<'_> {
    /// Whether its value is an object.
    pub fn is_object(&self) -> bool {
        self.value.starts_with('{')
    }

    /// Whether its value is an array.
    pub fn is_array(&self) -> bool {
        self.value.starts_with('[')
    }
}
