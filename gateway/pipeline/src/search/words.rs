//! How text is taken apart into words, of tools and of queries alike.

/// A longer run of letters is no word that anybody would look for.
const WORD_BYTES: usize = 96;

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// In lower case, as it was written else: what it may be the beginning of.
    pub(super) raw: String,
    /// Without what marks a plural: what is compared.
    pub(super) stem: String,
}

/// The words of a text, in its order: runs of letters and digits of any script, in lower case. One that is written `likeThis` is there as
/// a whole and in its parts. Scripts that put nothing between words are taken two characters at a time.
pub(super) fn words_of(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    for run in text.split(|c: char| !c.is_alphanumeric() && !is_mark(c)).filter(|run| !run.is_empty()) {
        let chars: Vec<char> = run.chars().filter(|c| !is_mark(*c)).collect();
        for part in chars.chunk_by(|left, right| is_unspaced(*left) == is_unspaced(*right)) {
            if part.first().is_some_and(|c| is_unspaced(*c)) {
                in_pairs(part, &mut words);
            } else {
                with_parts(part, &mut words);
            }
        }
    }
    words
}

fn with_parts(run: &[char], words: &mut Vec<Word>) {
    push(run, words);
    let parts = humps(run);
    if parts.len() > 1 {
        for part in parts {
            push(part, words);
        }
    }
}

fn in_pairs(run: &[char], words: &mut Vec<Word>) {
    if run.len() == 1 {
        push(run, words);
    }
    for pair in run.windows(2) {
        push(pair, words);
    }
}

fn push(run: &[char], words: &mut Vec<Word>) {
    let raw: String = run.iter().flat_map(|c| c.to_lowercase()).filter(|c| !is_mark(*c)).collect();
    if !raw.is_empty() && raw.len() <= WORD_BYTES {
        words.push(Word { stem: stem(&raw), raw });
    }
}

/// The parts of a run that is written `likeThis` or `HTTPServer`.
fn humps(run: &[char]) -> Vec<&[char]> {
    let mut parts = Vec::new();
    let mut rest = run;
    while !rest.is_empty() {
        let begins = |at: &usize| {
            let of = |at: usize| rest.get(at).copied();
            let is_upper = |at: usize| of(at).is_some_and(char::is_uppercase);
            is_upper(*at) && (!is_upper(at - 1) || of(at + 1).is_some_and(char::is_lowercase))
        };
        let end = (1..rest.len()).find(begins).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        parts.push(part);
        rest = after;
    }
    parts
}

/// The word without what English marks a plural with, roughly: the same is done to both sides.
fn stem(word: &str) -> String {
    let mut stem = word;
    if !word.is_ascii() || word.len() < 4 {
        return word.to_owned();
    }
    if !["ss", "us", "is"].iter().any(|end| stem.ends_with(end)) {
        stem = stem.strip_suffix('s').unwrap_or(stem);
    }
    match stem.strip_suffix("ie") {
        Some(rest) if rest.len() > 1 => format!("{rest}y"),
        _ if stem.len() > 3 => stem.strip_suffix('e').unwrap_or(stem).to_owned(),
        _ => stem.to_owned(),
    }
}

/// Marks that stand over or under the letter before them.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

/// Whether its script puts nothing between words: Han, kana, Thai, Lao, Khmer and Burmese.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Vec<String> {
        words_of(text).into_iter().map(|word| word.raw).collect()
    }

    #[test]
    fn text_is_taken_apart_in_any_script() {
        for (text, words) in [
            ("create_issue", vec!["create", "issue"]),
            ("Creates a new Issue!", vec!["creates", "a", "new", "issue"]),
            ("getUserById", vec!["getuserbyid", "get", "user", "by", "id"]),
            ("HTTPServer2Go", vec!["httpserver2go", "http", "server2", "go"]),
            ("v2.list-PRs", vec!["v2", "list", "prs", "p", "rs"]),
            ("Größe ÜBER straße", vec!["größe", "über", "straße"]),
            ("удалитьФайл", vec!["удалитьфайл", "удалить", "файл"]),
            ("cafe\u{301}s", vec!["cafes"]),
            ("検索する", vec!["検索", "索す", "する"]),
            ("PDFを読", vec!["pdf", "を読"]),
            ("図", vec!["図"]),
            ("", vec![]),
            (" -- __ \u{301}", vec![]),
        ] {
            assert_eq!(raw(text), words, "{text}");
        }
        assert!(words_of(&"x".repeat(WORD_BYTES + 1)).is_empty());
    }

    #[test]
    fn one_and_many_are_the_same_word() {
        for (one, many) in [
            ("ticket", "tickets"),
            ("query", "queries"),
            ("movie", "movies"),
            ("box", "boxes"),
            ("branch", "branches"),
            ("cache", "caches"),
            ("issue", "issues"),
            ("class", "classes"),
            ("file", "files"),
            ("use", "uses"),
        ] {
            assert_eq!(stem(one), stem(many));
        }
        for (left, right) in [("status", "statu"), ("file", "filter"), ("user", "use"), ("as", "a"), ("его", "ег")] {
            assert_ne!(stem(left), stem(right));
        }
    }
}
