//! What the security token service answers: XML, also where it refuses.

use std::time::Duration;

use roxmltree::{Document, Node};
use secrecy::SecretString;

use crate::{
    moment,
    provider::{MintFault, MintFaultKind},
    web::Answer,
};

/// A session, not judged yet.
pub(super) struct Session {
    pub(super) key_id: String,
    pub(super) secret: SecretString,
    pub(super) token: SecretString,
    pub(super) ends_ms: u64,
    /// Whose it is.
    pub(super) arn: String,
}

impl Session {
    /// Reads an answer.
    pub(super) fn read(answer: &Answer) -> Result<Self, MintFault> {
        let wrong = |why: &str| MintFault::new(MintFaultKind::Wrong, why);
        let text = std::str::from_utf8(&answer.body).unwrap_or_default();
        let document =
            Document::parse(text.trim_start()).map_err(|_| wrong("the security token service does not answer in XML"))?;
        let result = below(document.root(), &["AssumeRoleResponse", "AssumeRoleResult"]);
        let result = result.ok_or_else(|| wrong("the security token service answers with something else than a session"))?;
        let read = |path: &[&str]| below(result, path).and_then(|node| node.text()).map(|text| text.trim().to_owned());
        let session = || {
            Some(Self {
                key_id: read(&["Credentials", "AccessKeyId"])?,
                secret: read(&["Credentials", "SecretAccessKey"])?.into(),
                token: read(&["Credentials", "SessionToken"])?.into(),
                ends_ms: moment::unix_ms(&read(&["Credentials", "Expiration"])?)?,
                arn: read(&["AssumedRoleUser", "Arn"])?,
            })
        };
        session().ok_or_else(|| wrong("the security token service answers with something else than a session"))
    }
}

/// What a refusal comes to.
pub(super) fn fault(answer: &Answer) -> MintFault {
    let mut fault = answer.fault("the security token service");
    let text = std::str::from_utf8(&answer.body).unwrap_or_default();
    let Ok(document) = Document::parse(text.trim_start()) else { return fault };
    // In `ErrorResponse`, and in some answers in `Errors` there.
    let Some(error) = document.descendants().find(|node| node.tag_name().name() == "Error") else { return fault };
    let read = |name: &str| below(error, &[name]).and_then(|node| node.text()).unwrap_or_default().trim().to_owned();
    let (code, message) = (read("Code"), read("Message"));
    if matches!(code.as_str(), "Throttling" | "ThrottlingException" | "RequestLimitExceeded") {
        let wait = answer.headers.get("retry-after").and_then(|wait| wait.to_str().ok()?.trim().parse().ok());
        fault.kind = MintFaultKind::Busy(wait.map(Duration::from_secs));
    }
    // Of a signature that does not fit it says what it signed, the session's token included.
    let said = answer.clean(&format!("{code}: {message}"), &[]);
    fault.why = format!("{}: {said}", fault.why);
    fault
}

/// What stands under these names.
fn below<'a, 'input>(from: Node<'a, 'input>, path: &[&str]) -> Option<Node<'a, 'input>> {
    path.iter().try_fold(from, |node, name| node.children().find(|child| child.tag_name().name() == *name))
}
