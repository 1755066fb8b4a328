//! Topology files to one declaration. What is wrong is told with file, line and column.
//!
//! Several files are one declaration: nothing may be declared twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::model::Topology;

/// A declaration, and which file each thing comes from.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// All files together.
    pub topology: Topology,
    /// File by place, such as `streams.TRADES`.
    files: BTreeMap<String, String>,
}

/// Why there is no declaration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no topology.
    #[error("{path}:{line}:{column}: {message}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// Two files declare the same thing.
    #[error("{place} is declared in {first} and in {second}; keep one of them")]
    Twice {
        /// Such as `streams.TRADES`.
        place: String,
        /// A file.
        first: String,
        /// The other one.
        second: String,
    },
}

impl Declared {
    /// Which file a place such as `streams.TRADES` is declared in; empty where it was not read from one.
    #[must_use]
    pub fn file(&self, place: &str) -> &str {
        self.files.get(place).map_or("", String::as_str)
    }

    /// Whether it was read from files.
    #[must_use]
    pub fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// A place as messages name it: `market.toml: streams.TRADES`.
    #[must_use]
    pub fn place(&self, place: &str) -> String {
        match self.file(place) {
            "" => place.to_owned(),
            file => format!("{file}: {place}"),
        }
    }

    fn add<T>(
        &mut self,
        table: &str,
        file: &str,
        into: impl Fn(&mut Topology) -> &mut BTreeMap<String, T>,
        from: BTreeMap<String, T>,
    ) -> Result<(), LoadError> {
        for (name, value) in from {
            self.claim(format!("{table}.{name}"), file)?;
            into(&mut self.topology).insert(name, value);
        }
        Ok(())
    }

    fn claim(&mut self, place: String, file: &str) -> Result<(), LoadError> {
        match self.files.get(&place) {
            Some(first) => Err(LoadError::Twice { first: first.clone(), second: file.to_owned(), place }),
            None => {
                self.files.insert(place, file.to_owned());
                Ok(())
            }
        }
    }
}

impl From<Topology> for Declared {
    fn from(topology: Topology) -> Self {
        Self { topology, files: BTreeMap::new() }
    }
}

/// Reads files as one declaration.
///
/// # Errors
/// [`LoadError`], naming file and place.
pub fn load(paths: &[impl AsRef<Path>]) -> Result<Declared, LoadError> {
    let mut all = Declared::default();
    for path in paths {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        let one = parse(path, &text)?;
        let file = path.display().to_string();
        if one.server != Default::default() {
            all.claim("server".to_owned(), &file)?;
            all.topology.server = one.server;
        }
        all.add("accounts", &file, |all| &mut all.accounts, one.accounts)?;
        all.add("users", &file, |all| &mut all.users, one.users)?;
        all.add("streams", &file, |all| &mut all.streams, one.streams)?;
        all.add("buckets", &file, |all| &mut all.buckets, one.buckets)?;
    }
    Ok(all)
}

/// Reads one text; `path` is only named in errors.
///
/// # Errors
/// [`LoadError::Parse`].
pub fn parse(path: &Path, text: &str) -> Result<Topology, LoadError> {
    toml::from_str(text).map_err(|error| {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
        LoadError::Parse {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
            message: error.message().replace('\n', " "),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_told_with_its_place() {
        let text = "[streams.A]\nsubjects = [\"a.>\"]\nmax_agee = \"1h\"\n";
        let error = parse(Path::new("a.toml"), text).unwrap_err().to_string();
        assert!(error.starts_with("a.toml:3:1: ") && error.contains("max_agee"), "{error}");
        let error = parse(Path::new("a.toml"), "[streams.A]\nmax_age = \"1 parsec\"\n").unwrap_err().to_string();
        assert!(error.starts_with("a.toml:2:11: ") && error.contains("no duration"), "{error}");
    }

    #[test]
    fn two_files_declare_nothing_twice() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let a = write("a.toml", "[streams.A]\nsubjects = [\"a\"]\n");
        let b = write("b.toml", "[streams.B]\nsubjects = [\"b\"]\n");
        let both = load(&[&a, &b]).unwrap();
        assert_eq!(both.topology.streams.len(), 2);
        assert!(both.place("streams.B").ends_with("b.toml: streams.B"));
        let error = load(&[&a, &b, &a]).unwrap_err().to_string();
        assert!(error.starts_with("streams.A is declared in ") && error.ends_with("keep one of them"), "{error}");
    }
}
