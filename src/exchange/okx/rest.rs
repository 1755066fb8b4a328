//! The REST API of OKX v5, as far as it is read: instruments, and trades newest first, fill by fill.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Okx, PROFILE, Trade, wire};
use crate::exchange::wire::parse;
use crate::exchange::{DecodeError, Exchange as _, ExchangeError, InstrumentInfo, Page, Refused, Reply, Trades, Want};

/// Rows of a page of the history.
const PAGE_ROWS: u64 = 100;

/// "Rate limit reached."
const CODE_LIMITED: &str = "50011";

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(borrow, default)]
    msg: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Product<'a> {
    #[serde(borrow)]
    inst_id: Cow<'a, str>,
    #[serde(borrow, default)]
    tick_sz: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    lot_sz: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    state: Cow<'a, str>,
}

pub(super) fn instruments_paths() -> Vec<String> {
    ["SPOT", "SWAP", "FUTURES"].map(|kind| format!("/api/v5/public/instruments?instType={kind}")).into()
}

pub(super) fn instruments(venue: &Okx, body: &str) -> Result<Vec<InstrumentInfo>, ExchangeError> {
    let answer = |message: String| ExchangeError::Answer { exchange: PROFILE.name, message };
    let envelope: Envelope<'_> = serde_json::from_str(body).map_err(|error| answer(error.to_string()))?;
    if envelope.code != "0" {
        return Err(answer(format!("{} (code {})", envelope.msg, envelope.code)));
    }
    let info = |row: &&RawValue| {
        let product: Product<'_> = serde_json::from_str(row.get()).map_err(|error| answer(error.to_string()))?;
        Ok(InstrumentInfo {
            symbol: venue.canonical(&product.inst_id).map_err(|error| answer(error.to_string()))?,
            venue_symbol: product.inst_id.into_owned(),
            tick_size: wire::step(product.tick_sz.as_deref()),
            lot_size: wire::step(product.lot_sz.as_deref()),
            trading: product.state == "live",
        })
    };
    envelope.data.iter().map(info).collect()
}

/// `after` is older than the id; `type=1` pages by id.
pub(super) fn history_path(venue_symbol: &str, want: Want) -> Option<String> {
    match want {
        Want::Latest => Some(format!("/api/v5/market/trades?instId={venue_symbol}&limit=1")),
        Want::Range { first, last } => {
            let rows = last.saturating_sub(first).saturating_add(1).min(PAGE_ROWS);
            let after = last.saturating_add(1);
            Some(format!("/api/v5/market/history-trades?instId={venue_symbol}&type=1&after={after}&limit={rows}"))
        }
        Want::Since(_) => None,
    }
}

pub(super) fn history(venue_symbol: &str, reply: &Reply, out: &mut Trades) -> Result<Page, Refused> {
    // Errors come with a body that says more than the status.
    let envelope: Result<Envelope<'_>, DecodeError> = parse(&reply.body);
    if let Ok(refused) = &envelope
        && refused.code != "0"
    {
        let words = format!("{} (code {})", refused.msg, refused.code);
        return Err(if refused.code == CODE_LIMITED { Refused::Limited(words) } else { Refused::Words(words) });
    }
    reply.success()?;
    for row in envelope?.data {
        let row: Trade<'_> = parse(wire::object(row.get())?)?;
        row.push(venue_symbol, out)?;
    }
    Ok(Page::default())
}
