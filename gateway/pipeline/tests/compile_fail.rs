//! Invariant 1: the compiler refuses a call that skipped, forged, repeated or reordered a gate. Each file in `ui` tries one
//! way round and must not compile, for the reason beside it.

#[test]
fn no_way_leads_round_a_gate() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
