//! The pages: from what is to be shown to HTML. Nothing is asked or changed here.

use std::sync::Arc;

use axum::Router;
use maud::{DOCTYPE, Markup, html};

use crate::router::Console;

/// Where the pages are.
pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new()
}

/// A page in its frame.
pub fn framed(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Bailiwick" }
                script src="/passkey.js" defer {}
            }
            body { main { (body) } }
        }
    }
}
