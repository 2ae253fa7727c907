//! Ranking: BM25 (Robertson and Zaragoza, 2009) over words that count by where they stand.

use std::{cmp::Ordering, collections::BTreeSet, ops::Range, sync::Arc};

use bailiwick_schemas::exposure::ExposedNames;

use super::{
    shelf::{ShelfWords, Sought, ToolWords},
    words::{Word, words_of},
};
use crate::catalogue::{Tool, World};

/// So many words of a query count, the first ones.
const QUERY_WORDS: usize = 24;

/// A word of so many characters is also looked for as the beginning of others, which then count for so much of what they are.
const BEGINNING_CHARS: usize = 3;
const BEGINNING: f64 = 0.5;

/// How soon it stops to matter that a word counts more, and how much it matters that a definition is long.
const SATURATION: f64 = 1.2;
const LENGTH: f64 = 0.4;

/// What a tool is above all others by, which the query names.
const NAMED: f64 = 1_000.0;

/// The tools of one list, ready to be looked for.
#[derive(Debug)]
pub(crate) struct Index {
    parts: Vec<Part>,
    /// How long a definition is.
    average: f64,
}

/// The tools of one connector in the list.
#[derive(Debug)]
struct Part {
    words: Arc<ShelfWords>,
    /// Of each where it stands in the list, and where in the words.
    tools: Vec<(usize, usize)>,
}

/// What a search found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// How many tools have any of the words.
    pub(crate) total: usize,
    /// The places in the list of the best, best first.
    pub(crate) best: Vec<usize>,
}

/// A tool that has some of the words, which are these hits.
struct Match {
    at: usize,
    length: f64,
    hits: Range<usize>,
}

impl Index {
    /// Of a list of this world.
    pub(crate) fn over(tools: &[Arc<Tool>], world: &World) -> Self {
        let mut parts = Vec::new();
        let mut at = 0;
        let (mut length, mut count) = (0.0, 0.0);
        for of_connector in tools.chunk_by(|left, right| left.name.connector() == right.name.connector()) {
            let words = of_connector.first().and_then(|tool| world.words_of(tool.name.connector()));
            let Some(words) = words.map(Arc::clone) else {
                at += of_connector.len();
                continue;
            };
            let places = of_connector.iter().zip(at..).filter_map(|(tool, at)| Some((at, words.place(&tool.name)?)));
            let part = Part { tools: places.collect(), words };
            length += part.tools().map(|(_, tool)| f64::from(tool.length)).sum::<f64>();
            count += part.tools().map(|_| 1.0).sum::<f64>();
            at += of_connector.len();
            parts.push(part);
        }
        Self { parts, average: f64::max(length / f64::max(count, 1.0), 1.0) }
    }

    /// The best tools for a query, so many at most. Of those that are equally good the first in the list is first.
    pub(crate) fn search(&self, query: &str, limit: usize, tools: &[Arc<Tool>], names: &ExposedNames) -> Found {
        let words = sought_words(query);
        let mut known = vec![0.0; words.len()];
        let mut hits: Vec<(usize, f64)> = Vec::new();
        let mut matches = Vec::new();
        for part in &self.parts {
            let sought: Vec<Sought> = words.iter().map(|word| part.words.sought(word, BEGINNING_CHARS)).collect();
            for (at, tool) in part.tools() {
                let from = hits.len();
                // Whether a word is in the vocabulary or not, it is looked for in each tool: others of the connector have put it there.
                for ((word, sought), known) in sought.iter().enumerate().zip(&mut known) {
                    let (exact, beginning) = tool.counts(sought);
                    let counts = f64::from(exact) + BEGINNING * f64::from(beginning);
                    if counts > 0.0 {
                        *known += 1.0;
                        hits.push((word, counts));
                    }
                }
                if hits.len() > from {
                    matches.push(Match { at, length: f64::from(tool.length), hits: from..hits.len() });
                }
            }
        }
        let all: f64 = self.parts.iter().flat_map(Part::tools).map(|_| 1.0).sum();
        let rarity: Vec<f64> = known.iter().map(|known| ((all - known + 0.5) / (known + 0.5)).ln_1p()).collect();
        let total = matches.len();
        let mut ranked: Vec<(f64, usize)> = matches.iter().map(|found| (self.score(found, &hits, &rarity), found.at)).collect();
        let whole = query.trim();
        for (score, at) in &mut ranked {
            *score += tools.get(*at).filter(|tool| is_named(tool, whole, names)).map_or(0.0, |_| NAMED);
        }
        let better =
            |left: &(f64, usize), right: &(f64, usize)| -> Ordering { right.0.total_cmp(&left.0).then(left.1.cmp(&right.1)) };
        if limit < ranked.len() {
            ranked.select_nth_unstable_by(limit, better);
            ranked.truncate(limit);
        }
        ranked.sort_unstable_by(better);
        Found { total, best: ranked.into_iter().map(|(_, at)| at).collect() }
    }

    fn score(&self, found: &Match, hits: &[(usize, f64)], rarity: &[f64]) -> f64 {
        let by_length = SATURATION * (1.0 - LENGTH + LENGTH * found.length / self.average);
        let of = |(word, counts): &(usize, f64)| {
            rarity.get(*word).copied().unwrap_or(0.0) * counts * (SATURATION + 1.0) / (counts + by_length)
        };
        hits.get(found.hits.clone()).unwrap_or_default().iter().map(of).sum()
    }

    /// What is shown of the tool at this place of the list: its title, and its description as one line.
    pub(crate) fn shown(&self, at: usize) -> Option<(Option<&str>, &str)> {
        let tool = self.parts.iter().find_map(|part| part.tool_at(at))?;
        Some((tool.title.as_deref(), &tool.summary))
    }
}

impl Part {
    fn tools(&self) -> impl Iterator<Item = (usize, &ToolWords)> {
        self.tools.iter().filter_map(|(at, place)| Some((*at, self.words.tool(*place)?)))
    }

    /// The tool at this place of the list, if it is of this part.
    fn tool_at(&self, at: usize) -> Option<&ToolWords> {
        let found = self.tools.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        self.words.tool(self.tools.get(found)?.1)
    }
}

/// The words of a query, each once.
fn sought_words(query: &str) -> Vec<Word> {
    let mut seen = BTreeSet::new();
    let mut words = words_of(query);
    words.retain(|word| seen.insert(word.stem.clone()));
    words.truncate(QUERY_WORDS);
    words
}

/// Whether the query is the name of this tool, the one that agents call it by or its own.
fn is_named(tool: &Tool, query: &str, names: &ExposedNames) -> bool {
    [names.of(&tool.name), tool.name.own()].iter().any(|name| name.eq_ignore_ascii_case(query))
}
