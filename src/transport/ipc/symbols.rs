//! The symbol table: how an entry is spelled, and how a reader keeps up with a table that grows.

use std::collections::HashMap;
use std::sync::atomic::{Ordering, fence};

use super::layout::LINE_WORDS;
use super::segment::Segment;
use crate::market::Symbol;

/// Why a symbol cannot join the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolTableError {
    /// The table is full.
    #[error("no room for symbol {symbol}: the table holds {symbols_max}; raise transport.ipc.symbols_max")]
    Full {
        /// The symbol that found no room.
        symbol: Symbol,
        /// The table's capacity.
        symbols_max: u32,
    },
    /// Its instrument id is taken.
    #[error("{symbol} has the instrument id {id}, which is {owner}'s: a reader could not tell them apart")]
    Taken {
        /// The symbol that came second.
        symbol: Symbol,
        /// The symbol that has the id.
        owner: Symbol,
        /// The id of both.
        id: u32,
    },
}

/// The symbol table as far as it has been read.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    pub(super) by_id: HashMap<u32, Symbol>,
    /// Entries read; entries below the writer's count never change.
    entries: u32,
}

impl Symbols {
    /// Reads what the writer has added since the last time.
    pub(super) fn grow(&mut self, segment: &Segment) {
        let count = segment.symbols().load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        while self.entries < count {
            // A count beyond the table is a lie; what the table holds is read all the same.
            let Some(entry) = segment.symbol_entry(self.entries) else { return };
            let words: [u64; LINE_WORDS] = std::array::from_fn(|i| entry[i].load(Ordering::Relaxed));
            if let Some((id, symbol)) = read_symbol(words) {
                self.by_id.insert(id, symbol);
            }
            self.entries += 1;
        }
    }
}

fn read_symbol(words: [u64; LINE_WORDS]) -> Option<(u32, Symbol)> {
    let bytes: [u8; LINE_WORDS * 8] = bytemuck::cast(words);
    let (head, text) = bytes.split_at(8);
    let id = u32::from_le_bytes(head.get(..4)?.try_into().ok()?);
    let text = text.get(..usize::from(*head.get(4)?))?;
    Some((id, Symbol::new(std::str::from_utf8(text).ok()?).ok()?))
}

/// An entry of the symbol table as words: id, length, three reserved bytes, text.
pub(super) fn symbol_words(id: u32, symbol: &Symbol) -> [u64; LINE_WORDS] {
    let text = symbol.as_str().as_bytes();
    let mut bytes = [0; LINE_WORDS * 8];
    bytes[..4].copy_from_slice(&id.to_le_bytes());
    // A `Symbol` has at most 56 bytes, which is what is left here.
    bytes[4] = u8::try_from(text.len()).unwrap_or(u8::MAX);
    bytes[8..8 + text.len()].copy_from_slice(text);
    bytemuck::cast(bytes)
}
