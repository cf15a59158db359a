//! The files of the workspace, and Rust source as a flat list of tokens.
//!
//! Tokens and not text, so that a word inside a string or a comment is never taken for code. Macro bodies are
//! tokens like the rest, so functions inside `proptest!` count as well.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};

/// One text file, named by its path from the root of the workspace.
pub struct File {
    pub path: String,
    pub text: String,
}

/// All text files of the workspace, in the order of their paths.
pub struct Tree {
    pub files: Vec<File>,
}

impl Tree {
    /// Reads the workspace that this test belongs to.
    pub fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut files = Vec::new();
        collect(&root, "", &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let tree = Self { files };
        assert!(tree.rust().count() > 10, "the workspace is not where this test looks for it: {root:?}");
        tree
    }

    /// A tree made up for a test of a check.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File { path: (*path).into(), text: (*text).into() };
        Self { files: files.iter().map(file).collect() }
    }

    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The Rust files.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// The Rust files under `<crate>/src` of the crates given.
    pub fn sources<'a>(&'a self, crates: &'a [&str]) -> impl Iterator<Item = &'a File> {
        self.rust().filter(|file| crates.iter().any(|name| file.path.starts_with(&format!("{name}/src/"))))
    }

    /// Whether some file declares this one as `#[cfg(test)] mod name;`.
    pub fn is_test_module(&self, file: &File) -> bool {
        let without_end = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let Some((folder, name)) = without_end.rsplit_once('/') else { return false };
        let parents = [
            format!("{folder}.rs"),
            format!("{folder}/mod.rs"),
            format!("{folder}/lib.rs"),
            format!("{folder}/main.rs"),
        ];
        parents.iter().filter_map(|parent| self.get(parent)).any(|parent| {
            let code = Code::of(parent);
            code.find(&["mod", name, ";"]).iter().any(|at| code.in_test(*at))
        })
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) {
    let entries = fs::read_dir(folder).expect("a folder of the workspace can be listed");
    for entry in entries {
        let entry = entry.expect("an entry of a folder of the workspace can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("the kind of an entry is known");
        if kind.is_dir() {
            // Target folders are git's to ignore, under whatever name: cargo marks them.
            let ignored = name == "target" || name == ".git" || entry.path().join("CACHEDIR.TAG").exists();
            if !ignored {
                collect(&entry.path(), &format!("{path}/"), files);
            }
        } else if kind.is_file() && !name.ends_with(".log") {
            // A file that vanishes meanwhile, or is not text, is none of ours.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                files.push(File { path, text });
            }
        }
    }
}

/// A token with its place.
struct Token {
    text: String,
    line: usize,
    bytes: Range<usize>,
}

/// Rust source as tokens; a group is an opening token, its content and a closing token.
pub struct Code {
    tokens: Vec<Token>,
    /// The tokens of items under `#[cfg(test)]` or `#[test]`.
    tests: Vec<Range<usize>>,
}

impl Code {
    /// Reads a file. Panics with its path when the compiler would not read it either.
    pub fn of(file: &File) -> Self {
        let stream = TokenStream::from_str(&file.text)
            .unwrap_or_else(|error| panic!("{}: this is not Rust: {error}", file.path));
        let mut code = Self { tokens: Vec::new(), tests: Vec::new() };
        code.flatten(stream);
        code.mark_tests();
        code
    }

    fn push(&mut self, text: impl Into<String>, span: Span) {
        self.tokens.push(Token { text: text.into(), line: span.start().line, bytes: span.byte_range() });
    }

    fn flatten(&mut self, stream: TokenStream) {
        for tree in stream {
            let TokenTree::Group(group) = tree else {
                self.push(tree.to_string(), tree.span());
                continue;
            };
            let (open, close) = match group.delimiter() {
                Delimiter::Parenthesis => ("(", ")"),
                Delimiter::Brace => ("{", "}"),
                Delimiter::Bracket => ("[", "]"),
                Delimiter::None => ("", ""),
            };
            self.push(open, group.span_open());
            self.flatten(group.stream());
            self.push(close, group.span_close());
        }
    }

    fn mark_tests(&mut self) {
        let is_inner = |at: usize| self.is(at + 1, "!");
        let mut tests: Vec<Range<usize>> = Vec::new();
        for at in self.find(&["#"]) {
            let open = if is_inner(at) { at + 2 } else { at + 1 };
            if !self.is(open, "[") {
                continue;
            }
            let close = self.close_of(open);
            let words: Vec<&str> =
                self.tokens[open + 1..close].iter().map(|token| token.text.as_str()).collect();
            let of_test = match words.as_slice() {
                ["test"] | ["cfg", "(", "test", ")"] => true,
                ["cfg", "(", "all", rest @ ..] => rest.contains(&"test") && !rest.contains(&"not"),
                _ => false,
            };
            if of_test {
                let end = if is_inner(at) { self.tokens.len() } else { self.end_of_item(close + 1) };
                tests.push(at..end);
            }
        }
        self.tests = tests;
    }

    /// Where the item, field or arm that starts here ends.
    fn end_of_item(&self, start: usize) -> usize {
        const ITEMS: [&str; 14] = [
            "pub", "fn", "mod", "use", "impl", "struct", "enum", "const", "static", "trait", "type", "async",
            "unsafe", "#",
        ];
        let is_item = self.tokens.get(start).is_some_and(|token| ITEMS.contains(&token.text.as_str()));
        let mut at = start;
        while let Some(token) = self.tokens.get(at) {
            match token.text.as_str() {
                ";" => return at + 1,
                "," if !is_item => return at + 1,
                "{" => return self.close_of(at) + 1,
                "(" | "[" => at = self.close_of(at),
                ")" | "]" | "}" => return at,
                _ => {}
            }
            at += 1;
        }
        at
    }

    fn close_of(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate().skip(open) {
            match token.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return at;
            }
        }
        self.tokens.len()
    }

    fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.text == text)
    }

    /// Where these tokens stand one after the other.
    pub fn find(&self, words: &[&str]) -> Vec<usize> {
        let found = |at: &usize| words.iter().enumerate().all(|(offset, word)| self.is(at + offset, word));
        (0..self.tokens.len()).filter(found).collect()
    }

    /// The same, written as it is in source (`thread::spawn`, `.unwrap()`).
    pub fn find_source(&self, source: &str) -> Vec<usize> {
        let file = File { path: source.into(), text: source.into() };
        let wanted = Code::of(&file);
        let words: Vec<&str> = wanted.tokens.iter().map(|token| token.text.as_str()).collect();
        self.find(&words)
    }

    pub fn line(&self, at: usize) -> usize {
        self.tokens[at].line
    }

    /// The text of a token, or nothing beyond the last.
    pub fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    pub fn in_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// Every attribute, as the range of the tokens between its brackets.
    pub fn attributes(&self) -> Vec<Range<usize>> {
        self.find(&["#", "["]).into_iter().map(|at| at + 2..self.close_of(at + 1)).collect()
    }

    /// Every function with a body: its name, the line of its name, the lines of its body.
    pub fn functions(&self) -> Vec<(&str, usize, usize)> {
        let mut found = Vec::new();
        for at in self.find(&["fn"]) {
            if matches!(self.text(at + 1), "(" | "" | "$") {
                continue; // the type of a function, or a macro's pattern
            }
            let mut body = at + 2;
            while !matches!(self.text(body), "{" | ";" | "}" | "") {
                body = if matches!(self.text(body), "(" | "[") { self.close_of(body) } else { body } + 1;
            }
            if self.is(body, "{") {
                let lines = self.line(self.close_of(body)) + 1 - self.line(body);
                found.push((self.text(at + 1), self.line(at + 1), lines));
            }
        }
        found
    }

    /// The lines of comments that are not documentation, with their numbers and without their slashes.
    pub fn comments<'a>(&self, text: &'a str) -> Vec<(usize, &'a str)> {
        let mut found = Vec::new();
        let mut from = 0;
        let end = text.len()..text.len();
        for bytes in self.tokens.iter().map(|token| &token.bytes).chain([&end]) {
            // All tokens of a doc comment stand on the comment as a whole.
            if bytes.start > from {
                let first = text[..from].matches('\n').count() + 1;
                for (offset, line) in text[from..bytes.start].lines().enumerate() {
                    let line = line.trim().trim_start_matches(['/', '*']).trim_start();
                    if !line.is_empty() {
                        found.push((first + offset, line));
                    }
                }
            }
            from = from.max(bytes.end);
        }
        found
    }
}
