use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// `exec` of `[[providers]]`
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["command"]))]
pub(crate) struct RawExec {
    /// The program, by its absolute path, and its arguments. No shell reads them. It is asked on its standard input and answers on its
    /// standard output, each time with an `ExecCredential`; it starts in `/` and has 10 s.
    pub(crate) command: Option<Vec<String>>,
    /// The variables of the gateway's own environment that it gets. All others it does not.
    pub(crate) env: Vec<String>,
    /// Whether it takes back what it made, asked with the verb `revoke`.
    pub(crate) revocable: bool,
    /// How long one may live where the program alone decides that, whatever it is asked for. Without it, what lives longer than was asked
    /// for is refused.
    pub(crate) max_ttl: Option<Duration>,
}
