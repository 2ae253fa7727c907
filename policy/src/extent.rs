//! How large a bundle may be: looked at before anything of it is parsed, as what parses and judges rules needs time and stack for them.

use std::ops::Range;

use crate::fault::{PolicyFault, Source};

/// Bytes of all sources together.
const MOST_BYTES: usize = 4 << 20;
/// Rules of a bundle.
const MOST_RULES: usize = 10_000;
/// Operators and brackets of one rule: each can make its conditions one step deeper.
const MOST_OPERATORS: usize = 400;

/// Operators and brackets of one rule that any stack has room for.
const SHALLOW: usize = 64;

/// Whether each rule can be parsed and judged on whatever stack there is.
pub(crate) fn is_shallow(sources: &[Source<'_>]) -> bool {
    sources.iter().all(|source| statements(source.text).iter().all(|(_, operators)| *operators <= SHALLOW))
}

/// What is too large about these sources; nothing where they may be parsed.
pub(crate) fn excess(sources: &[Source<'_>]) -> Vec<PolicyFault> {
    let bytes: usize = sources.iter().map(|source| source.text.len()).sum();
    if bytes > MOST_BYTES {
        let what = format!("the policies are {bytes} bytes, and may be {MOST_BYTES}");
        return vec![PolicyFault::of_bundle(
            what,
            Some("name fewer files, or rules for groups of tools instead of each tool".to_owned()),
        )];
    }
    let (mut faults, mut rules) = (Vec::new(), 0);
    for (index, source) in sources.iter().enumerate() {
        for (span, operators) in statements(source.text) {
            rules += 1;
            if operators > MOST_OPERATORS {
                let what = format!("this rule has {operators} operators and brackets, and may have {MOST_OPERATORS}");
                let help = "make several rules of it, or compare with a set: `[\"a\", \"b\"].contains(…)`";
                faults.push(PolicyFault::at(index, *source, Some(span), what, Some(help.to_owned())));
            }
        }
    }
    if rules > MOST_RULES {
        let what = format!("the policies are {rules} rules, and may be {MOST_RULES}");
        faults.push(PolicyFault::of_bundle(what, Some("write rules for groups of tools instead of each tool".to_owned())));
    }
    faults
}

/// Where each statement stands, and how many operators and brackets it has, outside of strings and comments.
fn statements(text: &str) -> Vec<(Range<usize>, usize)> {
    let (mut found, mut start, mut operators) = (Vec::new(), None, 0);
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => {
                let mut is_escaped = false;
                for (_, inside) in letters.by_ref() {
                    if inside == '"' && !is_escaped {
                        break;
                    }
                    is_escaped = inside == '\\' && !is_escaped;
                }
            }
            '/' if letters.peek().is_some_and(|(_, next)| *next == '/') => {
                for (_, inside) in letters.by_ref() {
                    if inside == '\n' {
                        break;
                    }
                }
                continue;
            }
            ';' => {
                found.extend(start.take().map(|start| (start..at + 1, operators)));
                operators = 0;
                continue;
            }
            letter if letter.is_whitespace() => continue,
            '(' | '[' | '{' | '!' | '-' | '+' | '*' | '.' | '|' | '&' | '<' | '>' | '=' => operators += 1,
            't' if text.get(at..).is_some_and(|rest| rest.starts_with("then")) => operators += 1,
            _ => {}
        }
        start.get_or_insert(at);
    }
    found.extend(start.map(|start| (start..text.len(), operators)));
    found
}

#[cfg(test)]
mod tests {
    #![expect(clippy::string_slice, reason = "tests")]

    use super::{MOST_BYTES, MOST_OPERATORS, MOST_RULES, excess, statements};
    use crate::tests::{compile, decide, tools};
    use crate::{Decision, Policies, Source};

    fn faults(text: &str) -> Vec<String> {
        let compiled = Policies::compile(&[Source { name: "t", text }], &[]);
        compiled.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn statements_are_told_apart_as_cedar_does() {
        let text = "// a; b(\n@id(\"x;\\\"(y\") permit (a);\n forbid [1] // ;\n; z";
        let found: Vec<_> = statements(text).into_iter().map(|(span, operators)| (&text[span], operators)).collect();
        assert_eq!(found, [("@id(\"x;\\\"(y\") permit (a);", 2), ("forbid [1] // ;\n;", 1), ("z", 0)]);
    }

    #[test]
    fn a_huge_bundle_is_refused_in_plain_words() {
        let huge = format!("// {}", "x".repeat(MOST_BYTES));
        let found = faults(&huge);
        assert!(found.len() == 1 && found.iter().all(|fault| fault.contains("may be 4194304")), "{found:?}");
        let rules = |count: usize| {
            (0..count).map(|at| format!("@id(\"r{at}\") permit (principal, action, resource);")).collect::<Vec<_>>().join("\n")
        };
        let found = faults(&rules(MOST_RULES + 1));
        assert!(found.len() == 1 && found.iter().all(|fault| fault.contains("10001 rules, and may be 10000")), "{found:?}");
        assert!(excess(&[Source { name: "t", text: &rules(100) }]).is_empty());
    }

    /// As deep as may be, in every way: each is judged, and one deeper is refused before anything looks into it. On the small stack of a
    /// test's thread.
    #[test]
    fn a_deep_rule_is_judged_or_refused_and_never_ends_the_process() {
        let rule = |condition: &str| format!("@id(\"deep\") permit (principal, action, resource) when {{ {condition} }};");
        let ways: [fn(usize) -> String; 7] = [
            |steps| format!("{}true{}", "(".repeat(steps), ")".repeat(steps)),
            |steps| vec!["true"; steps / 2].join(" || "),
            |steps| vec!["principal.depth == 1"; steps / 6].join(" && "),
            |steps| format!("{}1{} == 1", "[".repeat(steps), "]".repeat(steps)),
            |steps| format!("{}principal.depth == 1", "if true then true else ".repeat(steps / 2)),
            |steps| format!("{} == 1", vec!["1"; steps].join(" + ")),
            |steps| format!("principal{}", ".depth".repeat(steps)),
        ];
        for (way, condition) in ways.iter().enumerate() {
            // Against tools, so that whatever looks at a rule does.
            let source = Source { name: "t", text: &rule(&condition(MOST_OPERATORS - 20)) };
            let fitting = Policies::compile(&[source], &tools()).err().unwrap_or_default();
            let fitting: Vec<String> = fitting.iter().map(ToString::to_string).collect();
            assert!(fitting.iter().all(|fault| !fault.contains("may have")), "{way}: {fitting:?}");
            // What is asked on the small stack is answered, or fails, which denies.
            if fitting.is_empty() {
                let policies = compile(&rule(&condition(MOST_OPERATORS - 20)));
                let decision = decide(&policies, "tickets__get", &serde_json::json!({}));
                assert!(!matches!(decision, Decision::StepUp { .. }), "{way}: {decision:?}");
            }
            let deeper = faults(&rule(&condition(40 * MOST_OPERATORS)));
            assert!(deeper.len() == 1 && deeper.iter().all(|fault| fault.contains("may have 400")), "{way}: {deeper:?}");
        }
    }
}
