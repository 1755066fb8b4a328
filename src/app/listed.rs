//! Asks each venue once whether it has the configured symbols: some venues accept a subscription to anything and then
//! send nothing, for ever.
//!
//! It changes nothing about the feeds: a venue whose REST API is away may still stream.

use std::time::Duration;

use super::board::Board;
use super::plan::VenuePlan;
use crate::feed::instruments::instruments;

/// The largest list takes a few seconds on a slow line.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Looks the symbols of these venues up; what is not there is said on the board and in the log.
pub(super) async fn look_up(venues: Vec<VenuePlan>, board: &Board) {
    for venue in venues {
        let profile = venue.exchange.profile();
        let name = profile.name;
        // Frames from elsewhere (a simulation, a proxy) with the venue's own REST API: nothing there speaks of them.
        if venue.ws_url != profile.ws_url && venue.rest_url == profile.rest_url {
            continue;
        }
        match instruments(venue.exchange, &venue.rest_url, TIMEOUT).await {
            Ok(listed) => {
                for (_, instrument) in &venue.instruments {
                    let symbol = &instrument.symbol;
                    match listed.iter().find(|one| one.venue_symbol == instrument.venue_symbol) {
                        Some(one) if one.trading => {}
                        // A halt ends, and trades come with its end: nothing is wrong with us.
                        Some(_) => tracing::warn!(exchange = name, %symbol, "the venue does not trade it now"),
                        None => {
                            let text = format!("{name}: {symbol} is not among the venue's instruments");
                            tracing::error!(exchange = name, %symbol, "{text}; `data-manager symbols` lists them");
                            board.miss(text);
                        }
                    }
                }
            }
            Err(error) => tracing::warn!(exchange = name, err = %error, "the symbols could not be looked up"),
        }
    }
}
