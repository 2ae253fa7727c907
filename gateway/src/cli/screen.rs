//! What is written to standard output and standard error. Nothing that an agent or a server wrote can steer the terminal.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use bailiwick_schemas::text::is_invisible;
use serde_json::Value;

use super::{fault::CliFault, surroundings::Surroundings};

/// The two outputs of a command.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    out_is_terminal: bool,
    err_is_terminal: bool,
}

impl Screen {
    /// Those of this process.
    pub fn new(around: &Surroundings) -> Self {
        Self { out_is_terminal: around.out_is_terminal, err_is_terminal: around.err_is_terminal }
    }

    /// The answer: lines that are safe to show already.
    pub fn answer(self, text: &str) -> Result<(), CliFault> {
        let mut out = io::stdout().lock();
        let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
        let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(end)).and_then(|()| out.flush());
        written.map_err(CliFault::Output)
    }

    /// The answer as JSON. What a terminal would obey or hide is written as `\uXXXX`, which is the same JSON.
    pub fn json(self, value: &Value) -> Result<(), CliFault> {
        let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
        self.answer(&visible_json(&text))
    }

    /// The answer as one line of JSON.
    pub fn json_line(self, value: &Value) -> Result<(), CliFault> {
        self.answer(&visible_json(&value.to_string()))
    }

    /// A foreign text as the answer: exactly, or, on a terminal, without what would steer it.
    pub fn foreign(self, text: &str) -> Result<(), CliFault> {
        if self.out_is_terminal { self.answer(&lines(text)) } else { self.answer(text) }
    }

    /// A line for a person, on standard error, safe to show already.
    pub fn tell(self, text: &str) {
        // Nobody is left to be told that nobody reads.
        let _unread = writeln!(io::stderr().lock(), "{text}");
    }

    /// A question for a person, on standard error; the line stays open for the answer.
    pub fn prompt(self, question: &str) {
        let mut err = io::stderr().lock();
        let _unread = write!(err, "{question} ").and_then(|()| err.flush());
    }

    /// A foreign text on standard error: exactly, or, on a terminal, without what would steer it.
    pub fn tell_foreign(self, text: &str) {
        if self.err_is_terminal { self.tell(&lines(text)) } else { self.tell(text) }
    }
}

/// A foreign text in one line: what would steer or deceive a terminal is escaped.
pub(super) fn shown(text: &str) -> String {
    escaped(text, |c| c == '\n' || c == '\t' || is_invisible(c))
}

/// A foreign text of several lines, which stay; everything else that would steer or deceive a terminal is escaped.
pub(super) fn lines(text: &str) -> String {
    escaped(text, is_invisible)
}

fn escaped(text: &str, is_hidden: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' if is_hidden(c) => out.push_str("\\n"),
            '\t' if is_hidden(c) => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// JSON text with every invisible character of its strings as `\uXXXX`. Between the strings there is none.
pub(super) fn visible_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut units = [0; 2];
    for c in text.chars() {
        if is_invisible(c) {
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string can't fail.
                let _infallible = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// JSON text laid out in lines, every character of its strings and numbers as it is written: nothing is read and written anew.
pub(super) fn laid_out(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    // In strings these three are escapes. Other control characters may stand there as they are, and are to be seen.
    let mut chars = json.chars().filter(|c| !matches!(c, '\n' | '\r' | '\t')).peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            in_string = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            continue;
        }
        match c {
            ' ' => {}
            '{' | '[' => {
                out.push(c);
                while chars.next_if_eq(&' ').is_some() {}
                if let Some(end) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out
}

/// A text for people while it is put together.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// One that begins so.
    pub(super) fn of(begin: String) -> Self {
        Self(begin)
    }

    /// Adds to it.
    pub(super) fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _infallible = self.0.write_fmt(text);
    }

    /// The whole of it.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// Rows under a heading, in aligned columns. Every cell is made safe to show.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a row.
    pub(super) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows.push(cells.iter().map(|cell| shown(cell)).collect());
    }

    /// Whether there is nothing under the headings.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width =
            |at: usize| self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A text that is cut where it gets long.
pub(super) fn short(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(shown("a\u{1b}[31mb\r\n\tc\u{202e}d\u{200b}\u{9b}e"), "a\\u{1b}[31mb\\r\\n\\tc\\u{202e}d\\u{200b}\\u{9b}e");
        assert_eq!(lines("a\n\tb\u{1b}\rc"), "a\n\tb\\u{1b}\\rc");
        assert_eq!(shown("größe 100 € 🙂"), "größe 100 € 🙂");
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({"a": "x\u{202e}y\u{e0041}z\u{9b}", "n": [1, "\n"]});
        let text = visible_json(&value.to_string());
        assert_eq!(text, r#"{"a":"x\u202ey\udb40\udc41z\u009b","n":[1,"\n"]}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
    }

    #[test]
    fn what_is_laid_out_is_as_it_is_written() {
        let json = r#"{"a":"x{,:\"\\","n":[1.50,1e400, [ ] ,{}],"z":{"k":true}}"#;
        let text = laid_out(json);
        let wanted = [
            "{",
            r#"  "a": "x{,:\"\\","#,
            r#"  "n": ["#,
            "    1.50,",
            "    1e400,",
            "    [],",
            "    {}",
            "  ],",
            r#"  "z": {"#,
            r#"    "k": true"#,
            "  }",
            "}",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn columns_are_aligned_and_cells_safe() {
        let mut table = Table::new(&["ID", "STATE"]);
        assert!(table.is_empty());
        table.row(["größer", "active"]);
        table.row(["b\u{1b}", ""]);
        assert_eq!(table.to_string(), "ID       STATE\ngrößer   active\nb\\u{1b}\n");
    }

    #[test]
    fn what_is_long_is_cut() {
        assert_eq!(short("abc", 3), "abc");
        assert_eq!(short("abcd", 3), "ab…");
    }
}
