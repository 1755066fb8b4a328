//! DBN recordings, by the format's own encoder: schema `trades`, and only what it holds exactly.
//!
//! Nothing is rounded: a record that does not fit is left out, and counted by its reason. Its flags but the side have
//! no field there and are dropped, which is counted; nor has its place.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::fs::File;
use std::io::BufWriter;
use std::num::NonZeroU64;

use dbn::encode::EncodeRecord as _;
use dbn::encode::dbn::Encoder;
use dbn::{FlagSet, MappingInterval, Metadata, RecordHeader, SType, Schema, SymbolMapping};
use time::{Date, Duration, OffsetDateTime};

use super::{Refused, Row};
use crate::market::{Record, Side, TradeMsg};

/// Decimal places of its prices.
const PRICE_SCALE: u8 = 9;
/// What stands as the data set: 16 bytes at most.
const DATASET: &str = "DATA-MANAGER";

/// Gathers a file: its beginning lists the instruments of all of it.
pub(crate) struct Writer {
    file: File,
    trades: Vec<dbn::TradeMsg>,
    /// Instruments by their ids.
    names: BTreeMap<u32, String>,
    refused: Refused,
}

impl Writer {
    pub(super) const fn new(file: File) -> Self {
        Self {
            file,
            trades: Vec::new(),
            names: BTreeMap::new(),
            refused: Refused { records: BTreeMap::new(), flags: 0 },
        }
    }

    pub(super) fn push(&mut self, row: &Row) {
        let name = format!("{}:{}", row.exchange, row.symbol);
        let fits = if name.len() < dbn::SYMBOL_CSTR_LEN { trade(&row.record) } else { Err("a name beyond 70 bytes") };
        let fits = fits.and_then(|trade| {
            // Ids are hashes of names.
            let known = self.names.entry(trade.hd.instrument_id).or_insert_with(|| name.clone());
            if *known == name { Ok(trade) } else { Err("an instrument id that another one of the file has") }
        });
        match fits {
            Ok(trade) => {
                self.refused.flags +=
                    u64::from(matches!(&row.record, Record::Trade(trade) if trade.flags != trade.side() as u8));
                self.trades.push(trade);
            }
            Err(why) => *self.refused.records.entry(why.to_owned()).or_default() += 1,
        }
    }

    pub(super) fn finish(self) -> Result<(File, Refused), String> {
        let times = || self.trades.iter().map(|trade| trade.ts_recv);
        let (start, end) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        let (first, last) = (date(start)?, date(end)?);
        let end_date = last.checked_add(Duration::DAY).ok_or("a time beyond the calendar")?;
        let mapping = |(id, name): (&u32, &String)| SymbolMapping {
            raw_symbol: name.clone(),
            intervals: vec![MappingInterval { start_date: first, end_date, symbol: id.to_string() }],
        };
        let metadata = Metadata::builder()
            .dataset(DATASET.to_owned())
            .schema(Some(Schema::Trades))
            .start(start)
            .end(NonZeroU64::new(end.saturating_add(1)))
            .stype_in(Some(SType::RawSymbol))
            .stype_out(SType::InstrumentId)
            .symbols(self.names.values().cloned().collect())
            .mappings(self.names.iter().map(mapping).collect())
            .build();
        let mut out = BufWriter::new(self.file);
        let encoded = Encoder::new(&mut out, &metadata).and_then(|mut encoder| encoder.encode_records(&self.trades));
        encoded.map_err(|error| error.to_string())?;
        let file = out.into_inner().map_err(|error| error.to_string())?;
        Ok((file, self.refused))
    }
}

/// The day of a time.
fn date(ns: u64) -> Result<Date, String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns));
    time.map(OffsetDateTime::date).map_err(|error| error.to_string())
}

/// A trade as DBN has it, or why it has it not.
fn trade(record: &Record) -> Result<dbn::TradeMsg, &'static str> {
    let Record::Trade(trade) = record else { return Err("a gap") };
    if [trade.ts_event, trade.ts_recv].contains(&dbn::UNDEF_TIMESTAMP) {
        return Err("a time that means none");
    }
    let side = match trade.side() {
        Side::Buy => dbn::Side::Bid,
        Side::Sell => dbn::Side::Ask,
        Side::None => dbn::Side::None,
    };
    Ok(dbn::TradeMsg {
        hd: RecordHeader::new::<dbn::TradeMsg>(dbn::rtype::MBP_0, 0, trade.instrument_id, trade.ts_event),
        price: price(trade).ok_or("a price that is not whole at 1e-9 in 64 bits")?,
        size: size(trade).ok_or("a size that is no whole number of 32 bits")?,
        action: letter(dbn::Action::Trade as u8),
        side: letter(side as u8),
        flags: FlagSet::empty(),
        depth: 0,
        ts_recv: trade.ts_recv,
        ts_in_delta: 0,
        sequence: u32::try_from(trade.trade_id).map_err(|_| "an id beyond 32 bits")?,
    })
}

/// A letter, which is signed on some processors.
fn letter(letter: u8) -> c_char {
    c_char::try_from(letter).unwrap_or_default()
}

fn price(trade: &TradeMsg) -> Option<i64> {
    let price = match PRICE_SCALE.checked_sub(trade.price_scale) {
        Some(more) => trade.price.checked_mul(10_i64.checked_pow(u32::from(more))?)?,
        None => {
            let over = 10_i64.checked_pow(u32::from(trade.price_scale - PRICE_SCALE))?;
            (trade.price % over == 0).then_some(trade.price / over)?
        }
    };
    (price != dbn::UNDEF_PRICE).then_some(price)
}

fn size(trade: &TradeMsg) -> Option<u32> {
    let whole = 10_u64.checked_pow(u32::from(trade.size_scale))?;
    let size = trade.size.is_multiple_of(whole).then_some(trade.size / whole)?;
    u32::try_from(size).ok().filter(|size| *size != dbn::UNDEF_ORDER_SIZE)
}
