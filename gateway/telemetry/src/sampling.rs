//! Which trees are exported. Decided when the call has ended, because only then is it known whether it matters.

use crate::{Importance, SpanTree};

/// Which trees are exported. What a caller's context says has no say here: nobody can switch off their own tracing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sampler {
    /// All.
    Everything,
    /// Every tree that matters, and of the rest those whose id is below the threshold.
    Ratio {
        /// Compared with the last 63 bits of the trace id, as other OpenTelemetry SDKs do, so that they keep the same traces.
        threshold: u64,
    },
}

impl Sampler {
    /// Keeps `ratio` (0 to 1) of the routine trees.
    pub(crate) fn ratio(ratio: f64) -> Self {
        if ratio >= 1.0 {
            return Self::Everything;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a ratio in [0, 1) times 2^63 fits, and a sampling threshold need not be exact"
        )]
        let threshold = (ratio.max(0.0) * (1_u64 << 63) as f64) as u64;
        Self::Ratio { threshold }
    }

    /// Whether this tree is exported.
    pub(crate) fn keeps(self, tree: &SpanTree) -> bool {
        match (self, tree.importance) {
            (Self::Everything, _) | (_, Importance::Keep) => true,
            (Self::Ratio { threshold }, Importance::Routine) => {
                let id = u128::from_be_bytes(*tree.trace_id.as_bytes());
                #[expect(clippy::cast_possible_truncation, reason = "the low half is what is compared")]
                let low = id as u64;
                low >> 1 < threshold
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sampler;
    use crate::{Importance, SpanTree};

    #[test]
    fn a_ratio_keeps_about_that_many_and_all_that_matter() {
        let sampler = Sampler::ratio(0.25);
        let kept = (0..10_000).filter(|_| sampler.keeps(&SpanTree::new())).count();
        assert!((2_200..2_800).contains(&kept), "{kept}");
        let mut tree = SpanTree::new();
        tree.importance = Importance::Keep;
        assert!(Sampler::ratio(0.0).keeps(&tree));
        assert!(!Sampler::ratio(0.0).keeps(&SpanTree::new()));
        assert_eq!(Sampler::ratio(1.0), Sampler::Everything);
    }
}
