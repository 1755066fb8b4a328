//! What the fuzz targets check: properties, not only that nothing panics.
//!
//! Each target is one function over bytes, so that an input that was found can be run by anything that calls it.

pub mod configuration;
pub mod decode;
pub mod segment;
pub mod snapshot;
pub mod spool;

use std::path::PathBuf;
use std::sync::OnceLock;

/// A folder for the files of this process. `scripts/fuzz` removes it with the temporary directory that it gives.
pub fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("data-manager-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        path
    })
}

/// An input, taken apart from its start. At its end there are only zeros.
#[derive(Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether all of it is used.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Up to `count` bytes.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A number of `N` bytes, at most eight.
    pub fn number<const N: usize>(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.bytes(N);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    /// A number below `bound`, 0 where `bound` is.
    pub fn below(&mut self, bound: usize) -> usize {
        let number = usize::try_from(self.number::<2>()).expect("16 bits");
        if bound == 0 { 0 } else { number % bound }
    }
}
