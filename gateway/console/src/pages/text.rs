//! Text that others wrote, so that a reader sees all of it: what is invisible, or steers how text is laid out, is shown as an escape with
//! a mark. Nothing in it is a link, and nothing in it is markup.

use bailiwick_schemas::text::is_invisible;
use maud::{Markup, html};

/// On one line or several, every character in it visible.
pub(super) fn shown(text: &str) -> Markup {
    html! { bdi { (marked(text)) } }
}

/// JSON as it is written: every character in the order of the text, whatever script it is in.
pub(super) fn raw(text: &str) -> Markup {
    html! { pre.raw dir="ltr" { (marked(text)) } }
}

/// The same where there is no markup, such as in a title.
pub(super) fn plain(text: &str) -> String {
    let escaped = |c: char| if is_special(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// Pieces of text as they are, and marks between them.
fn marked(text: &str) -> Markup {
    html! {
        @for piece in Pieces(text) {
            @match piece {
                Piece::Plain(plain) => { (plain) }
                Piece::Line => { mark.ws title="line feed" { "↵" } "\n" }
                Piece::Tab => { mark.ws title="tab" { "⇥" } "\t" }
                Piece::Hidden(c) => { mark.esc title=(name_of(c)) { (c.escape_unicode()) } }
            }
        }
    }
}

enum Piece<'t> {
    Plain(&'t str),
    Line,
    Tab,
    Hidden(char),
}

struct Pieces<'t>(&'t str);

impl<'t> Iterator for Pieces<'t> {
    type Item = Piece<'t>;

    fn next(&mut self) -> Option<Piece<'t>> {
        let first = self.0.chars().next()?;
        if !is_special(first) {
            let end = self.0.find(is_special).unwrap_or(self.0.len());
            let (plain, rest) = self.0.split_at_checked(end)?;
            self.0 = rest;
            return Some(Piece::Plain(plain));
        }
        self.0 = self.0.get(first.len_utf8()..)?;
        Some(match first {
            '\n' => Piece::Line,
            '\t' => Piece::Tab,
            hidden => Piece::Hidden(hidden),
        })
    }
}

/// What can't be seen, or is taken for something else: blanks that are no space, and characters that combine with nothing.
fn is_special(c: char) -> bool {
    matches!(c, '\n' | '\t' | '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' | '\u{2800}')
        || is_invisible(c)
        || matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}' | '\u{FFFC}' | '\u{FFFE}' | '\u{FFFF}')
}

/// What a mark stands for.
fn name_of(c: char) -> &'static str {
    match c {
        '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{061C}' | '\u{200E}' | '\u{200F}' => {
            "a mark that changes the direction of text"
        }
        '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FEFF}' | '\u{00AD}' => "a character without width",
        '\u{E0000}'..='\u{E0FFF}' => "a tag: hidden text",
        '\u{FE00}'..='\u{FE0F}' => "a variation selector: it can carry hidden text",
        c if c.is_control() => "a control character",
        c if c.is_whitespace() => "a blank that is no space",
        _ => "a character that can't be seen",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_hidden() {
        let html = shown("a\u{202E}b\u{200B}c\u{7f}d\u{E0041}\u{A0}e\u{2028}").into_string();
        for escape in ["\\u{202e}", "\\u{200b}", "\\u{7f}", "\\u{e0041}", "\\u{a0}", "\\u{2028}"] {
            assert!(html.contains(escape), "{escape} in {html}");
        }
        assert!(!html.chars().any(|c| is_invisible(c) && c != '\n'), "{html}");
        assert_eq!(shown("plain é 漢字 ابج").into_string(), "<bdi>plain é 漢字 ابج</bdi>");
        assert!(raw("a\n\tb").into_string().contains("↵"));
    }

    #[test]
    fn markup_and_links_are_text() {
        let html = shown("<script>x</script> [a](javascript:1) https://evil.example \"'&").into_string();
        assert!(!html.contains("<script") && !html.contains("<a") && html.contains("&lt;script&gt;"), "{html}");
    }
}
