//! A JSON formatter whose output is one line that a terminal can show, and that watches the names of a record's fields.

use std::io;

use serde_json::ser::Formatter;

/// Names the trail gives to fields itself.
pub(crate) const RESERVED: [&str; 6] = ["v", "stream", "seq", "time", "prev", "hash"];

/// Writes compact JSON. Control characters, line separators, bidirectional controls and invisible characters become
/// `\uXXXX`, in strings as well as in raw fragments, whose line breaks become spaces.
pub(crate) struct OneLine<'a> {
    depth: usize,
    in_field_name: bool,
    /// The reserved name that the field's name is, as far as it is written.
    candidate: Option<&'static str>,
    clash: &'a mut Option<&'static str>,
}

impl<'a> OneLine<'a> {
    /// A formatter that leaves a reserved field name of the outermost object in `clash`.
    pub(crate) fn new(clash: &'a mut Option<&'static str>) -> Self {
        Self { depth: 0, in_field_name: false, candidate: None, clash }
    }

    fn open<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        writer.write_all(bracket)
    }
}

impl Formatter for OneLine<'_> {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"]")
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.in_field_name = self.depth == 1;
        self.candidate = None;
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.in_field_name = false;
        match self.candidate.take() {
            None => Ok(()),
            Some(name) => {
                *self.clash = Some(name);
                Err(io::Error::other("reserved field name"))
            }
        }
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // The serializer splits a string only where it escapes, and no reserved name is escaped: a name is one fragment.
        if self.in_field_name {
            self.candidate = RESERVED.into_iter().find(|name| *name == fragment);
        }
        write_visible(writer, fragment)
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: serde_json::ser::CharEscape,
    ) -> io::Result<()> {
        // An escape in a field's name: it isn't a reserved one.
        self.in_field_name = false;
        self.candidate = None;
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }

    fn write_raw_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if self.depth == 0 {
            return Err(io::Error::other("raw JSON can be a field of a record, not a record"));
        }
        // In valid JSON a control character stands between tokens only, and anything else above ASCII in strings only.
        if fragment.bytes().any(|b| b < b' ') {
            let spaced = fragment.replace(|c: char| c < ' ', " ");
            return write_visible(writer, &spaced);
        }
        write_visible(writer, fragment)
    }
}

/// Writes the inside of a JSON string, with [hidden](is_hidden) characters as `\uXXXX`.
fn write_visible<W: ?Sized + io::Write>(writer: &mut W, text: &str) -> io::Result<()> {
    if text.bytes().all(|b| b < 0x7f) {
        return writer.write_all(text.as_bytes());
    }
    let mut units = [0; 2];
    for part in text.split_inclusive(is_hidden) {
        let Some(last) = part.chars().next_back().filter(|c| is_hidden(*c)) else {
            writer.write_all(part.as_bytes())?;
            continue;
        };
        writer.write_all(part.strip_suffix(last).unwrap_or(part).as_bytes())?;
        for unit in last.encode_utf16(&mut units) {
            write!(writer, "\\u{unit:04x}")?;
        }
    }
    Ok(())
}

/// Whether a terminal or viewer would obey `c`, or show nothing, instead of showing it.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{7f}'..='\u{9f}'            // DEL, C1 controls (CSI is one of them)
        | '\u{ad}' | '\u{61c}'         // soft hyphen, Arabic letter mark
        | '\u{200b}'..='\u{200f}'      // zero width, direction marks
        | '\u{2028}'..='\u{202e}'      // line and paragraph separator, bidirectional embeddings and overrides
        | '\u{2060}'..='\u{206f}'      // word joiner, bidirectional isolates, deprecated format controls
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}'    // tag characters
    )
}
