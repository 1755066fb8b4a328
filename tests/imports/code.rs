//! Rust source as the rules see it: comments and the contents of literals blanked, everything else in its place.
//!
//! Not a parser: it knows comments, strings, characters, braces and inline modules, all that the rules ask for.

/// A source file in the three views that the rules need. All have the same lines and columns.
pub(crate) struct Code {
    /// Path from the root of the crate, `src/feed/session.rs`.
    pub(crate) path: String,
    /// As written.
    pub(crate) text: String,
    /// Comments blanked.
    pub(crate) bare: String,
    /// Comments and the contents of literals blanked.
    pub(crate) code: String,
    /// Byte ranges of `#[cfg(test)]` items.
    tests: Vec<std::ops::Range<usize>>,
}

/// What a byte belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Code {
    /// Reads a file's text.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let kinds = kinds(text.as_bytes());
        let bare = blank(text, &kinds, |kind| kind == Kind::Comment);
        let code = blank(text, &kinds, |kind| kind != Kind::Code);
        let tests = test_items(&code);
        Self { path: path.to_owned(), text: text.to_owned(), bare, code, tests }
    }

    /// Whether a byte lies in test code: a `#[cfg(test)]` item, or a file of tests.
    pub(crate) fn in_tests(&self, at: usize) -> bool {
        !self.path.starts_with("src/")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.tests.iter().any(|range| range.contains(&at))
    }

    /// 1-based line of a byte.
    pub(crate) fn line(&self, at: usize) -> usize {
        1 + self.code.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
    }

    /// Whether a 0-based line ends in a literal, but for what closes a statement: formatters cannot break those.
    pub(crate) fn ends_in_literal(&self, line: usize) -> bool {
        let end = |view: &str| view.lines().nth(line).unwrap_or("").trim_end_matches([' ', ',', ';', ')']).len();
        end(&self.bare) > end(&self.code)
    }

    /// Where a path such as `tokio::spawn` or a word such as `unsafe` stands as a whole, in the code.
    pub(crate) fn find(&self, word: &str) -> Vec<usize> {
        whole_words(&self.code, word)
    }

    /// The module path of the file within the crate: `["feed", "session"]`, empty for `lib.rs` and `main.rs`.
    pub(crate) fn module(&self) -> Vec<String> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let mut parts: Vec<String> = inner.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            parts.pop();
        }
        parts
    }

    /// The module path at a byte, inline modules included.
    pub(crate) fn module_at(&self, at: usize) -> Vec<String> {
        let mut path = self.module();
        let mut open: Vec<Option<String>> = Vec::new();
        let mut head = 0;
        for (index, byte) in self.code.bytes().enumerate().take(at) {
            match byte {
                b'{' => {
                    open.push(inline_module(self.code.get(head..index).unwrap_or("")));
                    head = index + 1;
                }
                b'}' => {
                    open.pop();
                    head = index + 1;
                }
                b';' => head = index + 1,
                _ => {}
            }
        }
        path.extend(open.into_iter().flatten());
        path
    }

    /// Functions as (byte of `fn`, name, lines of the body that hold code).
    pub(crate) fn functions(&self) -> Vec<(usize, String, usize)> {
        let mut found = Vec::new();
        for at in self.find("fn") {
            let rest = self.code.get(at + 2..).unwrap_or("");
            let name: String = rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if name.is_empty() {
                continue; // a function pointer type
            }
            let Some(open) = body_start(rest) else { continue };
            let body = balanced(rest, open);
            let lines = body.lines().skip(1).filter(|line| !line.trim().is_empty()).count().saturating_sub(1);
            found.push((at, name, lines));
        }
        found
    }
}

/// Whole occurrences of `word`: not part of a longer identifier or path segment.
pub(crate) fn whole_words(text: &str, word: &str) -> Vec<usize> {
    let is_name = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = text.as_bytes();
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| !(at.checked_sub(1).is_some_and(|before| is_name(bytes.get(before)))))
        .filter(|at| !is_name(bytes.get(at + word.len())))
        .collect()
}

/// From `open` (a `{`) to its matching brace.
fn balanced(text: &str, open: usize) -> &str {
    let mut depth = 0_usize;
    for (index, byte) in text.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return text.get(open..=index).unwrap_or("");
                }
            }
            _ => {}
        }
    }
    text.get(open..).unwrap_or("")
}

/// The `{` of a function's body behind its signature; `None` for a declaration.
fn body_start(rest: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (index, byte) in rest.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(index),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The name of a module when `head`, the text before a `{`, declares one.
fn inline_module(head: &str) -> Option<String> {
    let mut words = head.split_whitespace().rev();
    let name = words.next()?;
    (words.next() == Some("mod")).then(|| name.to_owned())
}

/// Byte ranges of the items behind `#[cfg(test)]`.
fn test_items(code: &str) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let rest = code.get(at..).unwrap_or("");
        let end = match body_start(rest) {
            Some(open) => open + balanced(rest, open).len(),
            None => rest.find(';').unwrap_or(rest.len()),
        };
        ranges.push(at..at + end);
    }
    ranges
}

/// The text with the bytes of some kinds replaced by blanks; newlines stay.
fn blank(text: &str, kinds: &[Kind], hide: impl Fn(Kind) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if c == '\n' || !kinds.get(at).is_some_and(|kind| hide(*kind)) {
            out.push(c);
        } else {
            // One blank a byte, so that positions are the same in every view.
            out.extend(std::iter::repeat_n(' ', c.len_utf8()));
        }
    }
    out
}

/// What each byte of a source belongs to.
fn kinds(text: &[u8]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Code; text.len()];
    let mut at = 0;
    while at < text.len() {
        let rest = text.get(at..).unwrap_or(&[]);
        let before = at.checked_sub(1).and_then(|index| text.get(index)).copied().unwrap_or(b' ');
        let (kind, length) = token(rest, before);
        for slot in kinds.iter_mut().skip(at).take(length) {
            *slot = kind;
        }
        at += length.max(1);
    }
    kinds
}

/// The kind and length of what `rest` begins with; `before` is the byte in front of it.
fn token(rest: &[u8], before: u8) -> (Kind, usize) {
    match rest {
        [b'/', b'/', ..] => (Kind::Comment, rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => (Kind::Comment, block_comment(rest)),
        [b'"', ..] => (Kind::Literal, quoted(rest)),
        [b'r', b'"' | b'#', ..] if !(before.is_ascii_alphanumeric() && before != b'b') && before != b'_' => {
            raw_string(rest).map_or((Kind::Code, 1), |length| (Kind::Literal, length))
        }
        [b'\'', ..] => character(rest).map_or((Kind::Code, 1), |length| (Kind::Literal, length)),
        _ => (Kind::Code, 1),
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match rest.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") if depth == 1 => return at + 2,
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.iter().skip(1).take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None; // a raw identifier
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let start = hashes + 2;
    let body = rest.get(start..)?;
    let found = body.windows(end.len()).position(|window| window == end.as_slice());
    Some(found.map_or(rest.len(), |index| start + index + end.len()))
}

/// The length of a character literal; `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|byte| *byte == b'\'')?;
        return Some(close + 4);
    }
    let text = std::str::from_utf8(rest.get(1..rest.len().min(6))?)
        .or_else(|error| std::str::from_utf8(rest.get(1..1 + error.valid_up_to()).unwrap_or(&[])));
    let length = text.ok()?.chars().next()?.len_utf8();
    (rest.get(1 + length) == Some(&b'\'')).then_some(length + 2)
}
