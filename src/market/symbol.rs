//! Canonical symbols: upper case base and quote, no separator; XBT is BTC, XDG is DOGE.

use std::fmt;
use std::sync::Arc;

/// Longest canonical symbol, in bytes of UTF-8: what an entry of the ring's symbol table holds.
pub const SYMBOL_BYTES_MAX: usize = 56;

/// A canonical symbol such as `BTCUSDT` or `BTCUSDT-SWAP`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(Arc<str>);

/// Why a text is no symbol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolError {
    /// Nothing there.
    #[error("a symbol cannot be empty")]
    Empty,
    /// More than [`SYMBOL_BYTES_MAX`] bytes.
    #[error("symbol {text:?} is longer than {SYMBOL_BYTES_MAX} bytes")]
    TooLong {
        /// The text, cut.
        text: String,
    },
    /// White space or a control character.
    #[error("symbol {text:?} contains white space or a control character")]
    Character {
        /// The text.
        text: String,
    },
}

impl Symbol {
    /// Takes a text that is canonical already: only its length and characters are checked, lower case is raised.
    ///
    /// # Errors
    /// [`SymbolError`] when it is empty, too long, or contains white space or control characters.
    pub fn new(text: &str) -> Result<Self, SymbolError> {
        if text.is_empty() {
            return Err(SymbolError::Empty);
        }
        let upper = text.to_ascii_uppercase();
        if upper.len() > SYMBOL_BYTES_MAX {
            return Err(SymbolError::TooLong { text: upper.chars().take(SYMBOL_BYTES_MAX).collect() });
        }
        if upper.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(SymbolError::Character { text: upper });
        }
        Ok(Self(upper.into()))
    }

    /// Base and quote as a venue spells them, joined: `("xbt", "usd")` is `BTCUSD`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_pair(base: &str, quote: &str) -> Result<Self, SymbolError> {
        Self::new(&format!("{}{}", canonical_asset(base), canonical_asset(quote)))
    }

    /// A derivative: the pair, then a suffix behind a dash (`BTCUSDT-SWAP`).
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_pair_and_suffix(base: &str, quote: &str, suffix: &str) -> Result<Self, SymbolError> {
        Self::new(&format!("{}{}-{suffix}", canonical_asset(base), canonical_asset(quote)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Symbol {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// The canonical name of an asset: upper case, XBT is BTC, XDG is DOGE.
#[must_use]
pub fn canonical_asset(asset: &str) -> String {
    match asset.to_ascii_uppercase().as_str() {
        "XBT" => "BTC".to_owned(),
        "XDG" => "DOGE".to_owned(),
        other => other.to_owned(),
    }
}

/// Quote assets by which a canonical symbol without separator is split, longest first where one ends another.
const QUOTES: [&str; 34] = [
    "FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USDP", "GUSD", "PYUSD", "RLUSD", "USD1", "EURC", "EURI", "USDS", "DAI",
    "USD", "EUR", "GBP", "JPY", "KRW", "AUD", "CAD", "CHF", "TRY", "BRL", "ARS", "MXN", "ZAR", "UAH", "PLN", "SGD",
    "BTC", "ETH", "BNB", "SOL",
];

/// Splits a canonical symbol into base and quote by the longest known quote asset at its end.
///
/// It is a rule of thumb for venues whose own names need a separator; a name that splits nowhere gives `None`.
#[must_use]
pub fn split_pair(symbol: &str) -> Option<(&str, &str)> {
    QUOTES
        .iter()
        .filter(|quote| symbol.len() > quote.len() && symbol.ends_with(**quote))
        .max_by_key(|quote| quote.len())
        .map(|quote| symbol.split_at(symbol.len() - quote.len()))
}
