//! How text that others wrote is shown in our own messages: escaped, and short.

/// The longest excerpt, in characters.
const LONGEST: usize = 60;

/// How what stands for a masked value begins, wherever it is shown; the beginning of a keyed digest follows.
pub const MASK: &str = "•••• (mac:";

/// `text` without control or invisible characters, cut to sixty characters.
pub(crate) fn shown(text: &str) -> String {
    cut(text, LONGEST)
}

/// `text` without control or invisible characters, cut to `longest` characters.
pub fn cut(text: &str, longest: usize) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count >= longest {
            out.push('…');
            break;
        }
        if c.is_control() || is_invisible(c) || c == '`' {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a reader can't see `c` while a model does: zero-width and bidirectional marks, tags, variation selectors,
/// fillers, and control characters other than line feed and tab.
pub fn is_invisible(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{00AD}'
        | '\u{034F}'
        | '\u{061C}'
        | '\u{115F}'..='\u{1160}'
        | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}'
        | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{3164}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}'
        | '\u{FFA0}'
        | '\u{FFF0}'..='\u{FFFB}'
        | '\u{1BCA0}'..='\u{1BCA3}'
        | '\u{1D173}'..='\u{1D17A}'
        | '\u{E0000}'..='\u{E0FFF}' => true,
        _ => c.is_control(),
    }
}
