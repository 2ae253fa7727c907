//! What a script has a server say, word for word: its answers as raw text, and what it says of itself.

use serde_json::{Value, json};

/// The script's own answer to a request, as the text of its member `result` or `error`: the one for its method and what it names (`tools/call
/// odd`, `resources/read docs:/a`), or the one for its method.
pub(crate) fn scripted(now: &Value, message: &Value) -> Option<String> {
    let (method, params) = (message["method"].as_str()?, &message["params"]);
    let named = params["uri"].as_str().or(params["name"].as_str()).unwrap_or_default();
    let said = &now["answers"];
    let text = said[format!("{method} {named}")].as_str().or(said[method].as_str())?;
    Some(format!(r#"{{"jsonrpc":"2.0","id":{},{text}}}"#, message["id"]))
}

/// A message as the server understands it: with the script's `secret`, which it was lent, wherever somebody wrote `SECRET!`.
pub(crate) fn filled(now: &Value, line: &str) -> String {
    now["secret"].as_str().map_or_else(|| line.to_owned(), |secret| line.replace("SECRET!", secret))
}

/// Whether it speaks 2026-07-28, and nothing older.
pub(crate) fn is_modern(now: &Value, otherwise: &str) -> bool {
    now["era"].as_str().unwrap_or(otherwise) == "modern"
}

/// What it can do.
pub(crate) fn capabilities(now: &Value) -> Value {
    now.get("capabilities").cloned().unwrap_or_else(|| json!({"tools": {}, "logging": {}}))
}

/// The result of `server/discover`.
pub(crate) fn discovered(now: &Value) -> Value {
    let info = json!({"name": now["name"].as_str().unwrap_or("scripted"), "version": "1"});
    json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": capabilities(now), "serverInfo": info,
        "ttlMs": 0, "cacheScope": "private", "_meta": {"io.modelcontextprotocol/serverInfo": info}})
}

/// The result of `tools/list` as the script has it in raw text.
pub(crate) fn listed(now: &Value) -> Option<String> {
    now["list_text"].as_str().map(str::to_owned)
}
