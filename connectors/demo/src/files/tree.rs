//! The file tree.

use std::collections::BTreeMap;

/// As many files and folders as a demo may hold.
const NODES: usize = 1000;
/// Bytes in one file, at most.
const FILE_BYTES: usize = 256 * 1024;

/// Every path that is there. A path is absolute and plain: no empty, `.` or `..` part, no slash at its end.
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
}

/// What is at a path.
pub(super) enum Node {
    /// A file and its content.
    File(String),
    /// A folder.
    Folder,
}

impl Tree {
    /// The same files at each start.
    pub(super) fn new() -> Self {
        let files = [
            ("/notes/welcome.md", "# Welcome\n\nThese files live in memory and are gone when the demo ends.\n"),
            ("/notes/todo.md", "- answer T-17\n- send the November report\n"),
            ("/reports/november.csv", "day,orders,cents\n1,14,61800\n2,9,40150\n3,17,88310\n"),
            ("/invoices/2024-118.txt", "Invoice 2024-118\nCharged twice: 4900 cents, see T-17\n"),
            ("/readme.txt", "notes, reports and invoices\n"),
        ];
        let folders = ["/", "/notes", "/reports", "/invoices", "/archive"];
        let folders = folders.into_iter().map(|path| (path.to_owned(), Node::Folder));
        let files = files.into_iter().map(|(path, content)| (path.to_owned(), Node::File(content.to_owned())));
        Self { nodes: folders.chain(files).collect() }
    }

    pub(super) fn node(&self, path: &str) -> Result<&Node, String> {
        self.nodes.get(plain(path)?).ok_or_else(|| format!("nothing is at `{path}`"))
    }

    pub(super) fn read(&self, path: &str) -> Result<&str, String> {
        match self.node(path)? {
            Node::File(content) => Ok(content),
            Node::Folder => Err(format!("`{path}` is a folder")),
        }
    }

    /// The names directly in a folder; a folder's ends with a slash.
    pub(super) fn list(&self, path: &str) -> Result<Vec<String>, String> {
        let below = self.below(path)?;
        let direct = below.filter(|(name, _)| !name.contains('/'));
        Ok(direct.map(|(name, node)| if matches!(node, Node::Folder) { format!("{name}/") } else { name.to_owned() }).collect())
    }

    /// The files below a folder that contain a text.
    pub(super) fn search(&self, path: &str, text: &str) -> Result<Vec<String>, String> {
        let (text, base) = (text.to_lowercase(), plain(path)?.trim_end_matches('/'));
        let has = |node: &Node| matches!(node, Node::File(content) if content.to_lowercase().contains(&text));
        let found = self.below(path)?.filter(|(_, node)| has(node));
        Ok(found.map(|(name, _)| format!("{base}/{name}")).collect())
    }

    /// Writes a file and gives its size.
    pub(super) fn write(&mut self, path: &str, content: String) -> Result<i64, String> {
        if content.len() > FILE_BYTES {
            return Err(format!("`{path}` would be larger than {FILE_BYTES} bytes"));
        }
        if matches!(self.node(path), Ok(Node::Folder)) {
            return Err(format!("`{path}` is a folder"));
        }
        let size = size(&content);
        self.put(path, Node::File(content))?;
        Ok(size)
    }

    pub(super) fn mkdir(&mut self, path: &str) -> Result<(), String> {
        self.vacant(path)?;
        self.put(path, Node::Folder)
    }

    pub(super) fn copy(&mut self, from: &str, to: &str) -> Result<(), String> {
        self.vacant(to)?;
        let content = self.read(from)?.to_owned();
        self.put(to, Node::File(content))
    }

    /// Deletes a file or an empty folder.
    pub(super) fn delete(&mut self, path: &str) -> Result<(), String> {
        let is_folder = matches!(self.node(path)?, Node::Folder);
        if path == "/" || (is_folder && self.below(path)?.next().is_some()) {
            return Err(format!("the folder `{path}` isn't empty"));
        }
        self.nodes.remove(path);
        Ok(())
    }

    fn put(&mut self, path: &str, node: Node) -> Result<(), String> {
        let (parent, _) = plain(path)?.rsplit_once('/').ok_or_else(|| not_plain(path))?;
        let parent = if parent.is_empty() { "/" } else { parent };
        if !matches!(self.nodes.get(parent), Some(Node::Folder)) {
            return Err(format!("there is no folder `{parent}`"));
        }
        if self.nodes.len() >= NODES && !self.nodes.contains_key(path) {
            return Err("the demo's file tree is full; start it again".to_owned());
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    fn vacant(&self, path: &str) -> Result<(), String> {
        if self.nodes.contains_key(plain(path)?) { Err(format!("something is at `{path}` already")) } else { Ok(()) }
    }

    /// All that is below a folder, by its path from there.
    fn below(&self, path: &str) -> Result<impl Iterator<Item = (&str, &Node)>, String> {
        if matches!(self.node(path)?, Node::File(_)) {
            return Err(format!("`{path}` is a file"));
        }
        let base = path.trim_end_matches('/');
        let inside = move |name: &str| name.len() > base.len() + 1;
        let strip = move |name| str::strip_prefix(name, base).and_then(|rest| rest.strip_prefix('/'));
        let nodes = self.nodes.iter().filter(move |(name, _)| inside(name));
        Ok(nodes.filter_map(move |(name, node)| strip(name.as_str()).map(|name| (name, node))))
    }
}

/// The size of a file's content, in bytes.
pub(super) fn size(content: &str) -> i64 {
    i64::try_from(content.len()).unwrap_or(i64::MAX)
}

fn plain(path: &str) -> Result<&str, String> {
    let parts = path.strip_prefix('/').ok_or_else(|| not_plain(path))?;
    let good = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
    if path.len() <= 256 && (parts.is_empty() || parts.split('/').all(good)) { Ok(path) } else { Err(not_plain(path)) }
}

fn not_plain(path: &str) -> String {
    format!("`{path}` isn't a plain absolute path such as `/notes/todo.md`")
}

#[cfg(test)]
mod tests {
    use super::Tree;

    #[test]
    fn paths_that_are_not_plain_lead_nowhere() {
        let tree = Tree::new();
        for path in ["", "notes", "/notes/", "//", "/notes/../readme.txt", "/./readme.txt", "/notes\\x", "/a\0b"] {
            assert!(tree.node(path).is_err_and(|error| error.contains("isn't a plain")), "{path:?}");
        }
    }

    #[test]
    fn folders_hold_what_is_below_them_alone() {
        let mut tree = Tree::new();
        tree.mkdir("/notes-old").unwrap();
        assert_eq!(tree.list("/notes").unwrap(), ["todo.md", "welcome.md"]);
        assert_eq!(tree.list("/").unwrap(), ["archive/", "invoices/", "notes/", "notes-old/", "readme.txt", "reports/"]);
        assert_eq!(tree.search("/", "t-17").unwrap(), ["/invoices/2024-118.txt", "/notes/todo.md"]);
        assert!(tree.delete("/notes").is_err() && tree.delete("/").is_err());
        assert!(tree.write("/notes", String::new()).is_err() && tree.write("/none/x", String::new()).is_err());
        tree.delete("/notes-old").unwrap();
    }
}
