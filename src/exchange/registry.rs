//! The venues of this build: one line each.

use super::Exchange;
use super::{binance::Binance, coinbase::Coinbase, okx::Okx};

static REGISTRY: [&dyn Exchange; 3] = [&Binance, &Coinbase, &Okx];

/// Every venue of this build, in the order in which help lists them.
#[must_use]
pub fn all() -> &'static [&'static dyn Exchange] {
    &REGISTRY
}

/// The venue of a token such as `binance`.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static dyn Exchange> {
    all().iter().copied().find(|exchange| exchange.profile().name == name)
}

/// The tokens of all venues.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().iter().map(|exchange| exchange.profile().name)
}
