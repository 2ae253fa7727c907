//! `files`: a small file tree in memory.

mod tree;

use std::sync::Mutex;

use rmcp::{
    ServerHandler,
    handler::server::{
        router::tool::ToolRouter,
        wrapper::{Json, Parameters},
    },
    model::{ServerConfig, Tool},
    tool, tool_handler, tool_router,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    files::tree::{Node, Tree},
    served::{introduction, lock},
};

/// The server.
pub(crate) struct Files {
    tree: Mutex<Tree>,
    router: ToolRouter<Self>,
}

impl Files {
    /// A fresh file tree.
    pub(crate) fn new() -> Self {
        Self { tree: Mutex::new(Tree::new()), router: Self::tool_router() }
    }

    /// Its tools, as they are listed.
    pub(crate) fn tools() -> Vec<Tool> {
        Self::tool_router().list_all()
    }
}

#[tool_router]
impl Files {
    #[tool(
        description = "List what is directly in a folder.",
        annotations(title = "List folder", read_only_hint = true, open_world_hint = false)
    )]
    fn list(&self, Parameters(At { path }): Parameters<At>) -> Result<Json<Listing>, String> {
        let entries = lock(&self.tree).list(&path)?;
        Ok(Json(Listing { path, entries }))
    }

    #[tool(
        description = "Read a file as text.",
        annotations(title = "Read file", read_only_hint = true, open_world_hint = false)
    )]
    fn read(&self, Parameters(At { path }): Parameters<At>) -> Result<String, String> {
        lock(&self.tree).read(&path).map(str::to_owned)
    }

    #[tool(
        description = "Tell whether a path is a file or a folder, and how large it is.",
        annotations(title = "File facts", read_only_hint = true, open_world_hint = false)
    )]
    fn stat(&self, Parameters(At { path }): Parameters<At>) -> Result<Json<Facts>, String> {
        let (kind, size_bytes) = match lock(&self.tree).node(&path)? {
            Node::File(content) => ("file", tree::size(content)),
            Node::Folder => ("folder", 0),
        };
        Ok(Json(Facts { path, kind: kind.to_owned(), size_bytes }))
    }

    #[tool(
        description = "Find the files below a folder whose content contains a text, whatever its case.",
        annotations(title = "Search files", read_only_hint = true, open_world_hint = false)
    )]
    fn search(&self, Parameters(Search { path, text }): Parameters<Search>) -> Result<Json<Paths>, String> {
        Ok(Json(Paths { paths: lock(&self.tree).search(&path, &text)? }))
    }

    #[tool(
        description = "Write a file. What it held before is lost.",
        annotations(
            title = "Write file",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    fn write(&self, Parameters(Write { path, content }): Parameters<Write>) -> Result<Json<Written>, String> {
        let size_bytes = lock(&self.tree).write(&path, content)?;
        Ok(Json(Written { path, size_bytes }))
    }

    #[tool(
        description = "Add text at the end of a file.",
        annotations(
            title = "Append to file",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    fn append(&self, Parameters(Write { path, content }): Parameters<Write>) -> Result<Json<Written>, String> {
        let mut tree = lock(&self.tree);
        let content = tree.read(&path)?.to_owned() + &content;
        let size_bytes = tree.write(&path, content)?;
        Ok(Json(Written { path, size_bytes }))
    }

    #[tool(
        description = "Make an empty folder inside an existing one.",
        annotations(title = "Make folder", read_only_hint = false, destructive_hint = false, open_world_hint = false)
    )]
    fn mkdir(&self, Parameters(At { path }): Parameters<At>) -> Result<Json<Done>, String> {
        lock(&self.tree).mkdir(&path)?;
        Ok(Json(Done { done: true, path }))
    }

    #[tool(
        description = "Copy a file to a path where nothing is yet.",
        annotations(title = "Copy file", read_only_hint = false, destructive_hint = false, open_world_hint = false)
    )]
    fn copy(&self, Parameters(FromTo { from, to }): Parameters<FromTo>) -> Result<Json<Done>, String> {
        lock(&self.tree).copy(&from, &to)?;
        Ok(Json(Done { done: true, path: to }))
    }

    #[tool(
        name = "move",
        description = "Move a file to a path where nothing is yet.",
        annotations(title = "Move file", read_only_hint = false, destructive_hint = true, open_world_hint = false)
    )]
    fn relocate(&self, Parameters(FromTo { from, to }): Parameters<FromTo>) -> Result<Json<Done>, String> {
        let mut tree = lock(&self.tree);
        tree.copy(&from, &to)?;
        tree.delete(&from)?;
        Ok(Json(Done { done: true, path: to }))
    }

    #[tool(
        description = "Delete a file or an empty folder. It can't be brought back.",
        annotations(
            title = "Delete",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    fn delete(&self, Parameters(At { path }): Parameters<At>) -> Result<Json<Done>, String> {
        lock(&self.tree).delete(&path)?;
        Ok(Json(Done { done: true, path }))
    }
}

#[tool_handler(router = self.router)]
impl ServerHandler for Files {
    fn get_info(&self) -> ServerConfig {
        introduction("files", "A small file tree. Paths are absolute and use `/`.")
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct At {
    /// An absolute path, such as `/notes/welcome.md`.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^/"))]
    path: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Search {
    /// The folder to search, with all below it.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^/"))]
    path: String,
    /// What the content contains.
    #[schemars(length(min = 1, max = 200))]
    text: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Write {
    /// The file, an absolute path in an existing folder.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^/"))]
    path: String,
    /// The text.
    #[schemars(length(max = 65536))]
    content: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FromTo {
    /// The file that is there.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^/"))]
    from: String,
    /// The path it gets, in an existing folder.
    #[schemars(length(min = 1, max = 256), regex(pattern = "^/"))]
    to: String,
}

#[derive(Serialize, JsonSchema)]
struct Listing {
    path: String,
    /// Names; a folder's ends with `/`.
    entries: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Facts {
    path: String,
    /// `file` or `folder`.
    kind: String,
    size_bytes: i64,
}

#[derive(Serialize, JsonSchema)]
struct Paths {
    paths: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Written {
    path: String,
    size_bytes: i64,
}

#[derive(Serialize, JsonSchema)]
struct Done {
    done: bool,
    path: String,
}
